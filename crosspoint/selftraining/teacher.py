"""The teacher: an exponential moving average of the student."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


class Teacher(Generic[Model]):
    r"""A copy of a network that follows it slowly, in evaluation mode and without gradients.

    After the student's step number t, counted from 0,

    .. math:: \theta_T \leftarrow m_t \theta_T + (1 - m_t) \theta_S, \quad
              m_t = m_0 + (m_1 - m_0) \min(1, t / R)

    for all parameters and all floating point buffers, so the running statistics of BatchNorm follow too; integer
    buffers are copied.

    Source: MUST (Li et al., ICLR 2023); Cross-MoST (Dharmasiri et al., 2024), where the momentum rises from 0.99 to
    0.9998 over 400 steps.

    (``torch.optim.swa_utils.AveragedModel`` becomes a copy of the student at its first update, and knows no ramp.)

    Args:
        student: What is copied; its device and values are the teacher's first ones.
        start: m_0, in [0, 1].
        end: m_1, in [0, 1].
        ramp_steps: R, at least 0; with 0 the momentum is m_1 from the first step on.

    Attributes:
        model: The teacher's network.
        updates: How often it has followed.

    Raises:
        ValueError: If a momentum or the ramp is out of range.
    """

    def __init__(self, student: Model, *, start: float = 0.99, end: float = 0.9998, ramp_steps: int = 400) -> None:
        for name, momentum in (("start", start), ("end", end)):
            if not 0 <= momentum <= 1:
                raise ValueError(f"the teacher's momentum must lie in [0, 1], got {momentum} at its {name}")
        if ramp_steps < 0:
            raise ValueError(f"ramp_steps must be at least 0, got {ramp_steps}")
        self.model: Model = copy.deepcopy(student).requires_grad_(False).eval()
        self.updates = 0
        self._start, self._end, self._ramp_steps = start, end, ramp_steps

    @property
    def momentum(self) -> float:
        """What the next update keeps of the teacher."""
        done = min(1.0, self.updates / self._ramp_steps) if self._ramp_steps else 1.0
        return self._start + (self._end - self._start) * done

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Follows the student by one step.

        Args:
            student: The network that was copied, not its wrapper for several processes.

        Raises:
            ValueError: If it has other parameters or buffers.
        """
        ours, theirs = _tensors(self.model), _tensors(student)
        if [(name, value.shape) for name, value in ours] != [(name, value.shape) for name, value in theirs]:
            raise ValueError("the student must have the teacher's parameters and buffers, got a network with others")
        momentum = self.momentum
        followers, followed = [], []
        for (_, mine), (_, value) in zip(ours, theirs, strict=True):
            if mine.is_floating_point():
                followers.append(mine)
                followed.append(value)
            else:
                mine.copy_(value)
        if followers:
            torch._foreach_mul_(followers, momentum)
            torch._foreach_add_(followers, followed, alpha=1 - momentum)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the network's state and the number of updates."""
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what :meth:`state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]


def _tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    # Each tensor once, whatever names it goes by.
    return [*model.named_parameters(), *model.named_buffers()]
