"""How the benchmarks measure: statistics, interleaving, memory."""

from __future__ import annotations

import math
import operator
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import measuring, memory, timing
from harness.contenders import Contender, Settings

MEGABYTE = 1 << 20
needs_proc = pytest.mark.skipif(not memory.peak_can_be_reset(), reason="needs /proc/self/clear_refs, of Linux")


def test_quartiles() -> None:
    for values, expected in [([3.0], (3.0, 3.0, 3.0)), ([5.0, 1.0, 3.0, 2.0, 4.0], (2.0, 3.0, 4.0)),
                             ([1.0, 1.0, 1.0, 100.0], (1.0, 1.0, 25.75))]:  # fmt: skip
        found = timing.quartiles(values)
        assert (found.lower, found.median, found.upper) == pytest.approx(expected)
    with pytest.raises(ValueError, match="quartiles must be taken of at least one value, got none"):
        timing.quartiles([])


def test_ratio_counts_shared_rounds_only() -> None:
    ours = {0: 1.0, 1: 2.0, 2: 4.0, 3: 100.0}
    found = timing.ratio({0: 3.0, 1: 10.0, 2: 16.0}, ours)
    assert (found.lower, found.median, found.upper) == pytest.approx((3.5, 4.0, 4.5))  # of 3, 5, 4
    with pytest.raises(ValueError, match="must have rounds that both took part in, got none"):
        timing.ratio({7: 1.0}, ours)


class ScriptedClock:
    """Every contender's call returns its own duration."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def time(self, call: Callable[[], Any]) -> tuple[float, Any]:
        self.calls.append(call())
        return self.calls[-1], None


def scripted(**seconds: float) -> list[Contender]:
    return [Contender(name, lambda duration=duration: duration) for name, duration in seconds.items()]  # type: ignore[misc]


def test_every_round_calls_everyone_once_in_changing_order() -> None:
    clock = ScriptedClock()
    budget = timing.Budget(rounds=8, seconds=0.0, warm_up=0.0)
    found = timing.interleave(scripted(a=0.1, b=0.2, c=0.3), clock, budget)
    rounds = [tuple(clock.calls[i : i + 3]) for i in range(0, len(clock.calls), 3)]
    assert len(rounds) == 8
    assert all(sorted(order) == [0.1, 0.2, 0.3] for order in rounds)
    assert len(set(rounds)) > 2
    assert {name: list(times.repeated) for name, times in found.items()} == {name: list(range(8)) for name in "abc"}
    assert found["b"].repeated[5] == found["b"].first[5] == 0.2


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"a": 0.125, "b": 0.25}, {"a": 6, "b": 6}),  # until one second on average
        ({"a": 0.001, "b": 0.5, "c": 2.5}, {"a": 5, "b": 5, "c": 3}),  # enough rounds, but for one too slow for them
        ({"a": 0.001, "b": 0.002}, {"a": 30, "b": 30}),
        ({"a": 7.0, "b": 8.0}, {"a": 1, "b": 1}),
        ({}, {}),
    ],
)
def test_budget(seconds: dict[str, float], expected: dict[str, int]) -> None:
    budget = timing.Budget(rounds=5, seconds=1.0, most_seconds=6.0, most_rounds=30, warm_up=0.0)
    found = timing.interleave(scripted(**seconds), ScriptedClock(), budget)
    assert {name: len(times.repeated) for name, times in found.items()} == expected


def test_warm_up_is_not_recorded() -> None:
    clock = ScriptedClock()
    budget = timing.Budget(rounds=2, seconds=0.0, warm_up=0.5)
    found = timing.interleave(scripted(cold=0.2, warm=0.25), clock, budget, warm={"warm": 0.6})
    assert clock.calls[:3] == [0.2, 0.2, 0.2]
    assert len(found["cold"].first) == len(found["warm"].first) == 2


def test_a_turn_is_a_first_call_and_those_that_fill_its_time() -> None:
    seconds = iter([4.0, 1.0, 2.0, 3.0, 20.0, 16.0, 40.0])  # three turns
    events: list[str] = []
    contender = Contender("a", lambda: next(seconds), before=lambda: events.append("before"))
    budget = timing.Budget(rounds=3, seconds=0.0, most_seconds=100.0, warm_up=0.0, turn=10.0, steady=30.0)
    found = timing.interleave([contender], ScriptedClock(), budget)["a"]
    assert found.first == {0: 4.0, 1: 20.0, 2: 40.0}
    assert found.repeated == {0: 2.0, 1: 16.0, 2: 40.0}
    assert events == ["before"] * 3


@needs_proc
@pytest.mark.parametrize(
    ("allocate", "arguments"),
    [
        (np.ones, lambda size: (size, np.uint8)),
        (torch.ones, lambda size: (size // 4,)),
        (operator.mul, lambda size: (b"x", size)),  # bytes of Python: the allocator of the C library
    ],
)
def test_memory_meter_sees_every_allocator(
    allocate: Callable[..., Any], arguments: Callable[[int], tuple[Any, ...]]
) -> None:
    for megabytes in (0, 64):
        reading = memory.peak_memory(partial, allocate, *arguments(megabytes * MEGABYTE))
        assert reading.size is not None, reading.reason
        assert reading.size / MEGABYTE == pytest.approx(megabytes, rel=0.03, abs=1.0)


@needs_proc
@pytest.mark.parametrize(
    ("call", "argument", "reason"),
    [
        (math.sqrt, -1.0, "ValueError: "),
        (os._exit, 3, "the process ended with code 3, "),
        (time.sleep, 60, "took longer than 0.5 s"),
    ],
)
def test_memory_meter_gives_reasons(call: Callable[[Any], Any], argument: Any, reason: str) -> None:
    reading = memory.peak_memory(partial, call, argument, timeout=0.5 if call is time.sleep else 60.0)
    assert reading.size is None
    assert reading.reason.startswith(reason)


def test_memory_is_not_guessed_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "CLEAR_REFS", tmp_path / "clear_refs")
    reading = memory.peak_memory(partial, np.ones, 1)
    assert reading == memory.Reading(None, "no /proc/self/clear_refs on this system")


@needs_proc
def test_edge_conv_needs_a_tenth_of_the_memory() -> None:
    """The meter and the operator together; the edge features alone take 84 MB."""
    label = "8x1024 k=20 64->64 forward+backward"
    peaks = {}
    for name in ("pointkernels", "Conv2d+BatchNorm2d+max (DGCNN)"):
        reading = memory.peak_memory(measuring.contender_call, "edgeconv_bench", label, Settings(), name)
        assert reading.size is not None, reading.reason
        peaks[name] = reading.size
    assert peaks["Conv2d+BatchNorm2d+max (DGCNN)"] > 2 * 84e6
    assert peaks["pointkernels"] <= peaks["Conv2d+BatchNorm2d+max (DGCNN)"] / 10
