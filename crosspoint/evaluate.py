"""``python -m crosspoint.evaluate TASK [OPTIONS]``: what a pre-trained encoder is worth downstream."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from crosspoint.command import exit_status
from crosspoint.config.evaluate import (
    FewShot,
    Finetune,
    Linear,
    PartSeg,
    Retrieval,
    Robustness,
    ZeroShot,
)

_PROGRAM = "python -m crosspoint.evaluate"

Task = (
    Annotated[Linear, tyro.conf.subcommand("linear")]
    | Annotated[FewShot, tyro.conf.subcommand("few-shot")]
    | Annotated[Finetune, tyro.conf.subcommand("finetune")]
    | Annotated[PartSeg, tyro.conf.subcommand("part-seg")]
    | Annotated[Retrieval, tyro.conf.subcommand("retrieval")]
    | Annotated[Robustness, tyro.conf.subcommand("robustness")]
    | Annotated[ZeroShot, tyro.conf.subcommand("zero-shot")]
)
_MODULES: dict[type, str] = {
    Linear: "linear",
    FewShot: "few_shot",
    Finetune: "finetune",
    PartSeg: "part_segmentation",
    Retrieval: "retrieval",
    Robustness: "robustness",
    ZeroShot: "zero_shot",
}


def parse(arguments: Sequence[str]) -> Task:
    """Settings of a task from a command line; prints help or a parse error and exits where that is due."""
    return tyro.cli(
        Task,
        args=arguments,
        prog=_PROGRAM,
        description="Evaluates an encoder beside the same encoder with random weights; results go to the run's folder.",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 2 after a user's error, 128 + n after signal n."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = shlex.join([*_PROGRAM.split(), *arguments])
    task = parse(arguments)

    def evaluate() -> None:
        # Not before: --help should not wait for torch.
        from rich.console import Console

        from crosspoint.engine.allocator import keep_freed_memory

        keep_freed_memory()
        importlib.import_module(f"crosspoint.evaluation.{_MODULES[type(task)]}").evaluate(task, Console())

    return exit_status(evaluate, go_on=command, start_again=f"start again with: {command}", traceback=task.traceback)


if __name__ == "__main__":
    sys.exit(main())
