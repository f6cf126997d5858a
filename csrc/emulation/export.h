// Marks what ctypes can call; everything else in an emulated library is hidden, so that several can be loaded at once.
#pragma once

#define PK_EXPORT extern "C" __attribute__((visibility("default")))
