"""Launches of kernels, and how long they take on an H200 by their machine code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from prediction import machine
from prediction.regions import Part, Region

# Between two instructions of a warp that need each other.
_DEPENDENT = 4


@dataclass(frozen=True)
class Launch:
    """A kernel with its sizes.

    Attributes:
        source: name of its file.
        kernel: name with template arguments.
        root: its regions.
        blocks: of all launches together.
        threads: of a block.
        waits: cycles that a block waits for memory, barriers and the like with nothing else of it to do.
        bytes: from and to device memory.
        l2_bytes: from and to the L2 cache.
        dynamic_shared: bytes of a block.
        times: launches that the work is cut into.
    """

    source: str
    kernel: str
    root: Region
    blocks: int
    threads: int
    waits: float = 0
    bytes: float = 0
    l2_bytes: float = 0
    dynamic_shared: int = 0
    times: int = 1


@dataclass(frozen=True)
class Time:
    """Seconds without any stall and at the usual rate, and what sets the latter."""

    least: float
    usual: float
    limit: str


def time(launch: Launch, parts: Sequence[Part], resident: int) -> Time:
    """How long all launches take; `resident` blocks run on a multiprocessor at a time."""
    one = machine.demand(parts)
    warps = launch.threads / 32
    share = launch.blocks / machine.MULTIPROCESSORS
    # The last round of few blocks leaves multiprocessors without work.
    most = share if share > 4 * resident else math.ceil(share)
    rounds = math.ceil(share / resident)
    pipe, pipe_cycles = one.busiest
    traffic = launch.bytes / machine.COPY_BANDWIDTH, launch.l2_bytes / machine.L2_BANDWIDTH

    def at(issue: float) -> dict[str, float]:
        together = min(most, resident) * warps
        rate = min(issue, machine.SCHEDULERS, max(together, warps) / _DEPENDENT)
        alone = max(one.slots * warps / rate, pipe_cycles * warps) + launch.waits
        return {
            "instructions": most * warps * one.slots / rate / machine.CLOCK,
            pipe: most * warps * pipe_cycles / machine.CLOCK,
            "waiting": rounds * alone / machine.CLOCK if launch.waits else 0.0,
            "device memory": traffic[0],
            "L2 cache": traffic[1],
        }

    usual = at(machine.USUAL_ISSUE)
    limit = max(usual, key=lambda name: usual[name])
    return Time(max(at(machine.SCHEDULERS).values()), usual[limit], limit)
