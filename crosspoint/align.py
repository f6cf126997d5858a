"""``python -m crosspoint.align [small|paper] [OPTIONS]``: a model in which images, clouds and class names meet."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crosspoint.command import parse_preset, train
from crosspoint.config.align import PRESETS, AlignConfig

if TYPE_CHECKING:
    from rich.console import Console

_PROGRAM = "python -m crosspoint.align"
_DESCRIPTION = """Aligns clouds, images and class names (ULIP), which is what crosspoint.selftrain starts from.

The optional first word chooses the preset that the defaults below belong to:
small: all from scratch on the procedural shapes, minutes on a CPU core (taken when no preset is named);
paper: Point-BERT aligned with frozen CLIP ViT-B/16 on ShapeNetRender.
Start it with torchrun for several processes.
"""


def parse(arguments: Sequence[str]) -> AlignConfig:
    """Settings from a command line; prints help or a parse error and exits where that is due."""
    return parse_preset(PRESETS, arguments, program=_PROGRAM, otherwise="small", description=_DESCRIPTION)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 2 after a user's error, 128 + n after signal n."""
    arguments = sys.argv[1:] if arguments is None else arguments
    config = parse(arguments)

    def align(console: Console) -> None:
        from crosspoint.alignment.run import run  # not before: --help should not wait for torch

        run(config, console)

    return train("crosspoint.align", arguments, align, traceback=config.traceback)


if __name__ == "__main__":
    sys.exit(main())
