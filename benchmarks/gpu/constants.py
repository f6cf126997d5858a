"""The constants of a machine: what each is, its unit, and between which bounds it can be believed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Constant:
    """A number that machine/constants.cu prints.

    Attributes:
        name: its key.
        what: in words.
        unit: in which it is shown.
        scale: from the unit of the program to that one.
        lowest: in the unit shown; no GPU of the last ten years is below it, and a loop that was optimised away is.
        highest: likewise.
        may_lack: 0 where the device has no such thing.
    """

    name: str
    what: str
    unit: str
    scale: float
    lowest: float
    highest: float
    may_lack: bool = False


def _cycles(name: str, what: str, lowest: float, highest: float, may_lack: bool = False) -> Constant:
    return Constant(name, what, "cycles", 1, lowest, highest, may_lack)


CONSTANTS = (
    Constant("copy_bandwidth", "copy, read and written", "TB/s", 1e-12, 0.05, 50),
    Constant("memcpy_bandwidth", "the driver's copy, read and written", "TB/s", 1e-12, 0.05, 50),
    Constant("l2_bandwidth", "L2 cache, read", "TB/s", 1e-12, 0.1, 100),
    Constant("multiply_adds", "float32 multiply-adds", "T/s", 1e-12, 0.5, 500),
    Constant("mma_tf32", "mma.sync of TF32, a multiply-add being two", "T/s", 1e-12, 5, 5000, True),
    Constant("mma_bf16", "mma.sync of bfloat16, a multiply-add being two", "T/s", 1e-12, 10, 10000, True),
    Constant("shared_gather_bandwidth", "shared memory, rows of 128 bytes at random", "TB/s", 1e-12, 0.5, 500),
    Constant("clock_rate", "clock of the multiprocessors", "GHz", 1e-9, 0.3, 5),
    Constant("warp_maximum", "maximum over a warp and who has it", "ns", 1e9, 5, 1000),
    _cycles("warp_maximum_latency", "maximum over a warp", 5, 400),
    *(_cycles(f"warp_maximum_of_{n}_warps", f"each of those of {n} warps", 0.2, 200) for n in (4, 8, 16)),
    _cycles("shuffle_latency", "shuffle", 5, 100),
    *(_cycles(f"shuffle_of_{n}_warps", f"each of those of {n} warps", 0.2, 50) for n in (4, 8, 16)),
    *(_cycles(f"list_step_of_{n}", f"a sample from a list of {n} in a warp", 30, 2000) for n in (32, 64, 128)),
    _cycles("shared_latency", "load from shared memory", 10, 200),
    _cycles("distant_shared_latency", "load from the shared memory of another block", 50, 2000, True),
    _cycles("l2_latency", "load from the L2 cache", 80, 2000),
    *(_cycles(f"barrier_of_{n}", f"barrier of a block of {n}", 5, 1000) for n in (128, 256, 512, 1024)),
    Constant("block_barrier", "barrier of a block of 512", "ns", 1e9, 2, 1000),
    Constant("cluster_barrier", "barrier of a cluster of 8 blocks", "ns", 1e9, 20, 20000, True),
    Constant("cluster_barrier_of_16", "barrier of a cluster of 16 blocks", "ns", 1e9, 20, 20000, True),
    Constant("grid_barrier", "barrier of the grid, a block a multiprocessor", "ns", 1e9, 100, 100000),
    Constant("launch", "launch, one behind the other", "us", 1e6, 0.3, 200),
    Constant("graph_launch", "launch in a graph", "us", 1e6, 0.2, 100),
    Constant("node_gap", "from one kernel of a graph to the next", "us", 1e6, 0.1, 100),
)


def is_plausible(constant: Constant, value: Any) -> bool:
    """Whether a device can have measured this."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    return (constant.may_lack and value == 0) or constant.lowest <= value * constant.scale <= constant.highest


def sifted(found: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The constants that can be believed, and one sentence on those that cannot; "" where there are none."""
    wrong = [c for c in CONSTANTS if c.name in found and not is_plausible(c, found[c.name])]
    kept = {name: value for name, value in found.items() if name not in {c.name for c in wrong}}
    reasons = [f"{c.name} {c.lowest:g} to {c.highest:g} {c.unit}, got {_shown(c, found[c.name])}" for c in wrong]
    return kept, f"constants must lie within what a GPU can have: {'; '.join(reasons)}" if reasons else ""


def _shown(constant: Constant, value: Any) -> str:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{value * constant.scale:g}" if is_number else repr(value)
