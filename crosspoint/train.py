"""``python -m crosspoint.train [quick|paper] [OPTIONS]``: CrossPoint pre-training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crosspoint.command import parse_preset, train
from crosspoint.config.pretrain import PRESETS, Config

if TYPE_CHECKING:
    from rich.console import Console

_PROGRAM = "python -m crosspoint.train"
_DESCRIPTION = """Pre-trains a point cloud encoder without labels (CrossPoint), then compares a linear SVM on its
features with one on the same encoder at random initialisation.

The optional first word chooses the preset that the defaults below belong to:
quick: the procedural shapes, a useful result in minutes on two CPU cores (taken when no preset is named);
paper: the published setting on ShapeNetRender, probed on ModelNet40.
Start it with torchrun for several processes.
"""


def parse(arguments: Sequence[str]) -> Config:
    """Settings from a command line; prints help or a parse error and exits where that is due."""
    return parse_preset(PRESETS, arguments, program=_PROGRAM, otherwise="quick", description=_DESCRIPTION)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 2 after a user's error, 128 + n after signal n."""
    arguments = sys.argv[1:] if arguments is None else arguments
    config = parse(arguments)

    def pretrain(console: Console) -> None:
        from crosspoint.pretraining.run import run  # not before: --help should not wait for torch

        run(config, console)

    return train("crosspoint.train", arguments, pretrain, traceback=config.traceback)


if __name__ == "__main__":
    sys.exit(main())
