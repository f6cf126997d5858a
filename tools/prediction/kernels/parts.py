"""Into how many launches csrc/cuda/launch.cuh cuts work that would take too long."""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path

from prediction.machine import MULTIPROCESSORS

_LAUNCH = Path(__file__).resolve().parents[3] / "csrc" / "cuda" / "launch.cuh"


@functools.lru_cache
def most_steps() -> int:
    """Of a launch, as the source has it."""
    found = re.search(r"kMostSteps = int64_t\{1\} << (\d+);", _LAUNCH.read_text())
    if found is None:
        raise ValueError(f"{_LAUNCH} must give kMostSteps as a power of two, it does not")
    return 1 << int(found[1])


def parts_of(blocks: int, steps_of_block: int) -> int:
    """The launches of launch_in_parts()."""
    most = max(most_steps() // max(steps_of_block, 1), 4 * MULTIPROCESSORS)
    return math.ceil(blocks / most)
