"""The operators of csrc/cuda, called directly on each machine that is emulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import emulated
import torch


@dataclass(frozen=True)
class Machine:
    """An architecture, which chooses paths of csrc/cuda/arch.cuh and limits of shared memory; a check; a schedule."""

    architecture: int
    check: str
    schedule: str

    def __str__(self) -> str:
        return f"sm{self.architecture}-{self.check}-{self.schedule}"

    def run(self, operator: str, *arguments: Any) -> Any:
        """The result of torch.ops.pointkernels.<operator>."""
        with emulated.device(self.schedule, self.architecture, self.check):
            return getattr(torch.ops.pointkernels, operator)(*arguments)


MACHINES = [
    Machine(90, "none", "forward"),
    Machine(90, "none", "reverse"),
    Machine(90, "none", "random-1"),
    Machine(75, "none", "random-2"),
    Machine(90, "races", "random-1"),
]
# In a process that emulated.run_checked() has started.
if emulated.CHECK != "none":
    MACHINES = [Machine(90, emulated.CHECK, schedule) for schedule in ("forward", "reverse", "random-1")]
