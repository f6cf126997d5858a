import math
import signal
from typing import Any

import pytest
import torch

from crosspoint.config.output import OutputConfig
from crosspoint.engine.distributed import World
from crosspoint.engine.interrupt import Interrupted
from crosspoint.engine.loop import run_steps


class Run:
    """The loop on a fake step that counts, and what it did in which order."""

    def __init__(self, *, losses: dict[int, float] | None = None, signals: dict[int, signal.Signals] | None = None):
        self.done = 0
        self.events: list[Any] = []
        self.values: dict[int, dict[str, float]] = {}
        self._losses = losses or {}
        self._signals = signals or {}

    def step(self, batch: Any) -> torch.Tensor:
        self.done += 1
        self.events.append(("step", batch))
        if self.done in self._signals:
            signal.raise_signal(self._signals[self.done])
        return torch.tensor([self._losses.get(self.done, 3.0), 1.0, 2.0])

    def report(self, step: int, values: dict[str, float]) -> None:
        self.events.append(("report", step))
        self.values[step] = values

    def go(self, total: int, start: int = 0, **output: Any) -> None:
        self.done = start
        run_steps(
            range(start, total),  # type: ignore[arg-type]
            self.step,
            start_step=start,
            total_steps=total,
            objects_per_step=8,
            learning_rate=lambda: 1.0 - self.done / total,
            save=lambda: self.events.append(("save", self.done)),
            report=self.report,
            output=OutputConfig(**({"checkpoint_steps": 100, "checkpoint_seconds": 0.0} | output)),
            world=World(0, 1, torch.device("cpu")),
        )

    def steps_of(self, kind: str) -> list[int]:
        return [step for event, step in self.events if event == kind]


def test_saves_every_so_many_steps_and_at_the_end() -> None:
    run = Run()
    run.go(7, checkpoint_steps=3)
    assert run.steps_of("step") == list(range(7))
    assert run.steps_of("save") == [3, 6, 7]


def test_saves_after_so_many_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    monkeypatch.setattr("time.monotonic", lambda: 10.0 * run.done)  # each step takes ten seconds
    run.go(7, checkpoint_seconds=25.0)
    assert run.steps_of("save") == [3, 6, 7]


def test_reports_what_the_step_used() -> None:
    run = Run(losses={2: 5.0})
    run.go(4, log_steps=2)
    assert run.steps_of("report") == [2, 4]
    assert run.values[2] == {
        "loss": 5.0,
        "intra": 1.0,
        "cross": 2.0,
        "learning_rate": 0.75,  # that of step 2, set after step 1
        "objects_per_second": run.values[2]["objects_per_second"],
    }
    assert run.values[2]["objects_per_second"] > 0


def test_throughput_counts_the_steps_since_the_last_report(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    monkeypatch.setattr("time.monotonic", lambda: 2.0 * run.done)
    run.go(9, log_steps=3)
    assert [values["objects_per_second"] for values in run.values.values()] == [4.0, 4.0, 4.0]


def test_continues_from_a_step() -> None:
    run = Run()
    run.go(7, start=4, checkpoint_steps=3)
    assert run.steps_of("report") == [5, 6, 7]
    assert run.steps_of("save") == [6, 7]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_saves_and_stops(number: signal.Signals) -> None:
    run = Run(signals={2: number})
    with pytest.raises(Interrupted, match=rf"^stopped by {number.name} after step 2 of 5$") as stop:
        run.go(5, log_steps=100)
    assert (stop.value.number, stop.value.step) == (number, 2)
    assert run.events == [("step", 0), ("step", 1), ("report", 2), ("save", 2)]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_never_saved(loss: float) -> None:
    run = Run(losses={3: loss})
    with pytest.raises(FloatingPointError, match=rf"^the loss must stay finite, got {loss} at step 3$"):
        run.go(5, checkpoint_steps=3, log_steps=100)
    assert run.steps_of("save") == []
