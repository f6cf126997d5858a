"""Settings of what a run writes, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crosspoint.config.checks import require_at_least, require_non_negative


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Where results go, and how often."""

    directory: Path = Path("runs/quick")
    """Folder of this run: checkpoints, logs, figure, results."""
    checkpoint_steps: int = 100
    """Write a checkpoint after this many steps."""
    checkpoint_seconds: float = 60.0
    """Write a checkpoint after this many seconds as well; 0 counts steps only."""
    log_steps: int = 1
    """Log the losses every so many steps."""
    tensorboard: bool = True
    """Write TensorBoard event files beside the JSONL log."""
    embedding: Literal["pca", "tsne"] = "tsne"
    """Method that draws the held-out features in two dimensions."""

    def __post_init__(self) -> None:
        require_at_least("output.checkpoint_steps", self.checkpoint_steps, 1)
        require_non_negative("output.checkpoint_seconds", self.checkpoint_seconds)
        require_at_least("output.log_steps", self.log_steps, 1)
