"""``python -m crosspoint.train [quick|paper] [OPTIONS]``: CrossPoint pre-training."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tyro

from crosspoint.command import exit_status, resume_command
from crosspoint.config import PRESETS, Config

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
    preset, options = "quick", list(arguments)
    if options and options[0] in PRESETS:
        preset = options.pop(0)
    return tyro.cli(
        Config,
        args=options,
        default=PRESETS[preset],
        prog=f"{_PROGRAM} [{'|'.join(PRESETS)}]",
        description=_DESCRIPTION,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 2 after a user's error, 128 + n after signal n."""
    arguments = sys.argv[1:] if arguments is None else arguments
    config = parse(arguments)

    def train() -> None:
        # Not before: --help should not wait for torch.
        from rich.console import Console

        from crosspoint.engine.allocator import keep_freed_memory
        from crosspoint.evaluation.pretraining import run

        keep_freed_memory()
        run(config, Console())

    resume = resume_command("crosspoint.train", arguments)
    return exit_status(
        train,
        go_on=resume,
        start_again=f"if there is a checkpoint, continue with: {resume}",
        traceback=config.traceback,
    )


if __name__ == "__main__":
    sys.exit(main())
