"""How the C library keeps memory between the steps of a training on a CPU."""

from __future__ import annotations

import ctypes

# mallopt's names for its settings (glibc, malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_MOST = 2**31 - 1  # of an int


def keep_freed_memory() -> bool:
    """Lets this process keep what it frees for its next allocations, where the C library is glibc.

    By default glibc takes large blocks from the system and gives them back at once, and the system clears every page of
    them anew: a quarter of the time of a training step whose activations are tens of megabytes. Values do not change.

    Returns:
        Whether the C library took the settings.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _MOST))
