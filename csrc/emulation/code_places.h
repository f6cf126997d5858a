// Names places in the code.
#pragma once

#include <string>

namespace emulation {

// The line of source that the instruction before `place` belongs to: "csrc/cuda/knn.cu:61", with the line that an
// inlined function was called from behind it; or the library and the offset in it where binutils are not installed.
std::string file_and_line(const void* place);

// The name of the function that begins at an address, with its template arguments, without namespaces and parameters.
std::string function_name(const void* function);

}  // namespace emulation
