"""``python -m crosspoint.selftrain [experiment|fixed|as-code] [OPTIONS]``: Cross-MoST, classifying without labels."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import tyro

from crosspoint.command import train
from crosspoint.config.experiment import ExperimentConfig
from crosspoint.config.selftrain import METHODS, SelfTrainConfig

if TYPE_CHECKING:
    from rich.console import Console

_PROGRAM = "python -m crosspoint.selftrain"
_EXPERIMENT, _PRESET = "experiment", "fixed"
_DESCRIPTION = """Self-trains a model that has images, clouds and class names in one space on unlabelled pairs.

The optional first word chooses what is done, and which defaults the options below have:
experiment: align on one domain, self-train on another one, compare with single modalities and with true labels, in
minutes on a CPU core (taken when no --init is given);
fixed: self-train on --data from --init as the paper means it (taken when --init is given);
as-code: the same as the paper's code does it, but that the contrast of clouds and images sees all processes' objects.
Start it with torchrun for several processes.
"""


def parse(arguments: Sequence[str]) -> ExperimentConfig | SelfTrainConfig:
    """Settings from a command line; prints help or a parse error and exits where that is due."""
    words, options = (_EXPERIMENT, *METHODS), list(arguments)
    if options and options[0] in words:
        word = options.pop(0)
    else:
        given = any(option.split("=")[0] == "--init" for option in options)
        word = _PRESET if given else _EXPERIMENT
    program = f"{_PROGRAM} [{'|'.join(words)}]"
    if word == _EXPERIMENT:
        return tyro.cli(ExperimentConfig, args=options, prog=program, description=_DESCRIPTION)
    default = SelfTrainConfig(init=tyro.MISSING, method=METHODS[word])
    return tyro.cli(SelfTrainConfig, args=options, default=default, prog=program, description=_DESCRIPTION)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 2 after a user's error, 128 + n after signal n."""
    arguments = sys.argv[1:] if arguments is None else arguments
    config = parse(arguments)

    def self_train(console: Console) -> None:
        from crosspoint.selftraining.experiment import run, run_experiment  # not before: --help should not wait

        if isinstance(config, ExperimentConfig):
            run_experiment(config, console)
        else:
            run(config, console)

    return train("crosspoint.selftrain", arguments, self_train, traceback=config.traceback)


if __name__ == "__main__":
    sys.exit(main())
