"""Interleaved timing: every round has a turn of every contender, so what disturbs the machine disturbs them all."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from harness.contenders import Contender


@dataclass(frozen=True)
class Budget:
    """How long to measure.

    Attributes:
        rounds: at least so many rounds.
        seconds: rounds go on until the contenders have run for so long on average.
        most_seconds: a contender that has run for so long takes no further part, whatever its rounds.
        most_rounds: at most so many rounds.
        slow: a contender that takes longer than this for one call is not called again.
        warm_up: seconds that a contender has run before its first timed call.
        turn: a contender's turn in a round is a first call and, back to back, more calls until so many seconds have
            passed; 0 for the first call alone.
        steady: no more calls after a first one of at least so many seconds: there they differ by less than the noise.
    """

    rounds: int = 7
    seconds: float = 1.0
    most_seconds: float = 5.0
    most_rounds: int = 200
    slow: float = 3.0
    warm_up: float = 0.1
    turn: float = 0.0
    steady: float = 0.1


TURN = 0.01  # of what runs on a CPU; the clock of CUDA empties the cache before each call

QUICK = Budget(rounds=3, seconds=0.02, most_seconds=1.0, most_rounds=5, warm_up=0.0)


class Clock(Protocol):
    """Times one call."""

    def time(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds, and what the call returned."""


class CpuClock:
    """The wall clock of this process."""

    def time(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds, and what the call returned."""
        start = time.perf_counter()
        value = call()
        return time.perf_counter() - start, value


class CudaClock:
    """CUDA events around the call, with a cold L2 cache.

    Writing a buffer of twice the cache's size before each call drives the inputs out. That write also keeps the device
    busy while the call's first kernel is being launched, so the launch cost of a call of one kernel is mostly hidden;
    what is timed is the device's work and the gaps between kernels that the host cannot fill in time.
    """

    def __init__(self) -> None:
        cache = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
        self._flush = torch.empty(max(2 * cache, 1 << 20), dtype=torch.uint8, device="cuda")

    def time(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds, and what the call returned."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        self._flush.zero_()
        start.record()
        value = call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3, value


@dataclass
class Times:
    """What a contender took in each round.

    Attributes:
        first: seconds of a turn's first call by round: others have used the caches, and threads may have gone to sleep.
        repeated: seconds of a call of those that follow it back to back, on average; of the first where none follow.
        spent: seconds of all its calls.
    """

    first: dict[int, float] = field(default_factory=dict)
    repeated: dict[int, float] = field(default_factory=dict)
    spent: float = 0.0


def interleave(
    contenders: Sequence[Contender],
    clock: Clock,
    budget: Budget,
    *,
    warm: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, Times]:
    """Measure contenders in rounds.

    A round gives everyone who still takes part a turn, in an order drawn anew: whoever runs after a contender that
    emptied the caches or heated the core is another one each time. Turns of all have the same length, so nobody is
    warmer than the others.

    Args:
        contenders: who takes part; their names differ.
        clock: times a call.
        budget: how long.
        warm: seconds that contenders have just run for, by name; they need no warm-up beyond `budget.warm_up`.
        seed: of the orders.

    Returns:
        The times by each contender's name.
    """
    times = {contender.name: Times() for contender in contenders}
    generator = random.Random(seed)
    for contender in contenders:
        _warm_up(contender, clock, budget.warm_up - (warm or {}).get(contender.name, 0.0))
    active = list(contenders)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for index in range(budget.most_rounds):
            for contender in generator.sample(active, len(active)):
                _turn(contender, clock, budget, times[contender.name], index)
            active = [c for c in active if times[c.name].spent < budget.most_seconds]
            spent = sum(found.spent for found in times.values())
            if not active or (index + 1 >= budget.rounds and spent >= budget.seconds * len(contenders)):
                break
    finally:
        if collecting:
            gc.enable()
    return times


def _turn(contender: Contender, clock: Clock, budget: Budget, times: Times, index: int) -> None:
    if contender.before is not None:
        contender.before()
    first = _seconds(contender, clock)
    passed, more = first, []
    while passed < budget.turn or (budget.turn > 0 and not more and first < budget.steady):
        more.append(_seconds(contender, clock))
        passed += more[-1]
    times.first[index] = first
    times.repeated[index] = statistics.fmean(more) if more else first
    times.spent += passed


def _seconds(contender: Contender, clock: Clock) -> float:
    return clock.time(contender.call)[0]  # what it returned is freed here, outside of the timing


def _warm_up(contender: Contender, clock: Clock, seconds: float) -> None:
    if seconds > 0 and contender.before is not None:
        contender.before()
    while seconds > 0:
        seconds -= _seconds(contender, clock)


@dataclass(frozen=True)
class Quartiles:
    """A median between the quartiles below and above."""

    lower: float
    median: float
    upper: float


def quartiles(values: Sequence[float]) -> Quartiles:
    """The quartiles of at least one value, linearly interpolated."""
    if not values:
        raise ValueError("quartiles must be taken of at least one value, got none")
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Quartiles(lower, median, upper)


def ratio(theirs: dict[int, float], ours: dict[int, float]) -> Quartiles:
    """How many times longer they take: median and quartiles of the ratios within a round.

    Only rounds in which both took part count, and only within a round have both seen the same machine: one that is
    slower for some rounds makes a ratio of medians one of different rounds.
    """
    shared = sorted(theirs.keys() & ours.keys())
    if not shared:
        raise ValueError("a ratio must have rounds that both took part in, got none")
    return quartiles([theirs[index] / ours[index] for index in shared])
