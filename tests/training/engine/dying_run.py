"""Script: runs ``crosspoint.train`` in a process that dies, or is asked to stop, at an exact moment.

usage: dying_run.py MOMENT COUNT SIGNAL [TRAINING OPTIONS]
MOMENT step: when the COUNT-th step of this process has ended; save: half-way through writing its COUNT-th checkpoint;
load: when a data-loading process is asked for its COUNT-th object.
With several processes only the last one sends itself the signal.
"""

import io
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import get_worker_info

from crosspoint.data import Shapes
from crosspoint.pretraining.step import TrainingStep
from crosspoint.train import main


def after(count: int, number: int) -> Any:
    calls = iter(range(1, 1_000_000))

    def strike() -> None:
        concerned = int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1
        if next(calls) == count and concerned:
            os.kill(os.getpid(), number)

    return strike


def strike_after_steps(strike: Any) -> None:
    original = TrainingStep.__call__

    def call(self: TrainingStep, batch: Any) -> torch.Tensor:
        losses = original(self, batch)
        strike()
        return losses

    TrainingStep.__call__ = call  # type: ignore[method-assign]


def strike_within_saves(strike: Any) -> None:
    original = torch.save

    def save(content: Any, file: Any) -> None:
        if not Path(file.name).name.startswith(".checkpoint"):  # the best network so far
            original(content, file)
            return
        whole = io.BytesIO()
        original(content, whole)
        half = len(whole.getvalue()) // 2
        file.write(whole.getvalue()[:half])
        file.flush()
        strike()
        file.write(whole.getvalue()[half:])

    torch.save = save


def strike_within_loading(strike: Any) -> None:
    original = Shapes.__getitem__

    def get(self: Shapes, key: Any) -> Any:
        if get_worker_info() is not None:
            strike()
        return original(self, key)

    Shapes.__getitem__ = get  # type: ignore[method-assign]


if __name__ == "__main__":
    moment, strike = sys.argv[1], after(int(sys.argv[2]), int(sys.argv[3]))
    {"step": strike_after_steps, "save": strike_within_saves, "load": strike_within_loading}[moment](strike)
    sys.exit(main(sys.argv[4:]))
