"""Everything that a run changes while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from crosspoint.engine.distributed import World, gather_objects
from crosspoint.engine.randomness import capture, restore

Model = TypeVar("Model", bound=nn.Module)


class Remembered(Protocol):
    """What can be written into a checkpoint and taken over from it."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, as tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Takes over what `state_dict` gave."""


class Schedule(Remembered, Protocol):
    """Sets the optimiser's learning rates, one step at a time."""

    def step(self) -> None:
        """Moves on after an optimiser step."""

    def get_last_lr(self) -> Sequence[Any]:
        """The rates of the coming step, one for each of the optimiser's groups."""


@dataclass
class TrainingState(Generic[Model]):
    """The network, its optimiser and schedule, the augmentations' random numbers, and the steps done."""

    model: Model
    optimiser: Optimizer
    schedule: Schedule
    augmentation: torch.Generator
    step: int = 0
    teacher: Remembered | None = None
    """A second network that follows the first one, where the method has one."""
    patience: Remembered | None = None
    """How long there has been nothing to learn from, where the method stops for that."""

    def capture(self, world: World) -> dict[str, Any]:
        """The entries of a checkpoint that belong to this state; every process must call it."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "randomness": gather_objects(capture(self.augmentation), world),
            "step": self.step,
            **({} if self.teacher is None else {"teacher": self.teacher.state_dict()}),
            **({} if self.patience is None else {"patience": self.patience.state_dict()}),
        }

    def restore(self, checkpoint: Mapping[str, Any], world: World) -> None:
        """Takes over the state that a checkpoint holds."""
        self.model.load_state_dict(checkpoint["model"])
        self.optimiser.load_state_dict(checkpoint["optimiser"])
        self.schedule.load_state_dict(checkpoint["schedule"])
        if self.teacher is not None:
            self.teacher.load_state_dict(checkpoint["teacher"])
        if self.patience is not None and "patience" in checkpoint:  # older checkpoints have none
            self.patience.load_state_dict(checkpoint["patience"])
        restore(checkpoint["randomness"][world.rank], self.augmentation)
        self.step = checkpoint["step"]
