"""``python -m crosspoint.align [small|paper] [OPTIONS]``: a model in which images, clouds and class names meet."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tyro

from crosspoint.alignment.config import PRESETS, AlignConfig
from crosspoint.command import exit_status, resume_command

_PROGRAM = "python -m crosspoint.align"
_DESCRIPTION = """Aligns clouds, images and class names (ULIP), which is what crosspoint.selftrain starts from.

The optional first word chooses the preset that the defaults below belong to:
small: all from scratch on the procedural shapes, minutes on a CPU core (taken when no preset is named);
paper: Point-BERT aligned with frozen CLIP ViT-B/16 on ShapeNetRender.
Start it with torchrun for several processes.
"""


def parse(arguments: Sequence[str]) -> AlignConfig:
    """Settings from a command line; prints help or a parse error and exits where that is due."""
    preset, options = "small", list(arguments)
    if options and options[0] in PRESETS:
        preset = options.pop(0)
    return tyro.cli(
        AlignConfig,
        args=options,
        default=PRESETS[preset],
        prog=f"{_PROGRAM} [{'|'.join(PRESETS)}]",
        description=_DESCRIPTION,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 2 after a user's error, 128 + n after signal n."""
    arguments = sys.argv[1:] if arguments is None else arguments
    config = parse(arguments)

    def align() -> None:
        # Not before: --help should not wait for torch.
        from rich.console import Console

        from crosspoint.alignment.run import run
        from crosspoint.engine.allocator import keep_freed_memory

        keep_freed_memory()
        run(config, Console())

    resume = resume_command("crosspoint.align", arguments)
    return exit_status(
        align,
        go_on=resume,
        start_again=f"if there is a checkpoint, continue with: {resume}",
        traceback=config.traceback,
    )


if __name__ == "__main__":
    sys.exit(main())
