"""How the commands of this package begin and end: settings, an exit status, and one line for whatever went wrong."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import tyro

if TYPE_CHECKING:
    from rich.console import Console

_Settings = TypeVar("_Settings")
_USER_ERROR = 2
_SIGNAL_BASE = 128  # the shell's convention for "ended by a signal"


def parse_preset(
    presets: Mapping[str, _Settings], arguments: Sequence[str], *, program: str, otherwise: str, description: str
) -> _Settings:
    """Settings from a command line whose first word may name a preset; exits after help or a parse error.

    Args:
        presets: Settings of one type by name.
        arguments: The command line.
        program: What runs it, for the help.
        otherwise: The preset that is taken when none is named.
        description: For the help.
    """
    options = list(arguments)
    named = bool(options) and options[0] in presets
    default = presets[options.pop(0) if named else otherwise]
    return tyro.cli(
        type(default),
        args=options,
        default=default,
        prog=f"{program} [{'|'.join(presets)}]",
        description=description,
    )


def exit_status(
    action: Callable[[], object], *, go_on: str = "", start_again: str = "", traceback: bool = False
) -> int:
    """Runs a command and says on one line why it did not come to its end, if it did not.

    Args:
        action: The command.
        go_on: The command line that continues it where it was saved; shown when it was saved.
        start_again: What to say of another try after Ctrl-C before that.
        traceback: Whether to let a user's error through instead.

    Returns:
        0, 2 after a user's error, 128 + n after signal n.
    """
    # Not before: --help should not wait for torch.
    from crosspoint.engine.interrupt import Interrupted
    from crosspoint.engine.loading import LoadingFailed

    try:
        action()
    except Interrupted as stop:
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"{stop}; continue with: {go_on}", flush=True)
        return _SIGNAL_BASE + stop.number
    except KeyboardInterrupt:  # outside the training loop, so the last checkpoint is complete
        print(f"interrupted{start_again and '; '}{start_again}", flush=True)
        return _SIGNAL_BASE + signal.SIGINT
    except (ValueError, OSError, FloatingPointError) as error:
        if traceback:
            raise
        rest = f"; continue with: {go_on}" if isinstance(error, LoadingFailed) else ""
        print(f"error: {' '.join(str(error).split())}{rest}", file=sys.stderr)
        return _USER_ERROR
    return 0


def train(module: str, arguments: Sequence[str], run: Callable[[Console], object], *, traceback: bool) -> int:
    """The exit status of a command that saves what it has learnt, and continues with ``--resume``.

    Args:
        module: What ``python -m`` runs.
        arguments: Its arguments.
        run: The command, given where to print.
        traceback: Whether to let a user's error through.
    """

    def action() -> None:
        # Not before: --help should not wait for torch.
        from rich.console import Console

        from crosspoint.engine.allocator import keep_freed_memory

        keep_freed_memory()
        run(Console())

    resume = resume_command(module, arguments)
    return exit_status(
        action, go_on=resume, start_again=f"if there is a checkpoint, continue with: {resume}", traceback=traceback
    )


def resume_command(module: str, arguments: Sequence[str]) -> str:
    """The command line that continues a run: the same one, by as many processes, with ``--resume``.

    Args:
        module: What ``python -m`` runs.
        arguments: Its arguments.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    start = "python" if processes == 1 else f"torchrun --nproc-per-node {processes}"
    options = (word for word in arguments if word != "--resume")
    return shlex.join([*start.split(), "-m", module, *options, "--resume"])
