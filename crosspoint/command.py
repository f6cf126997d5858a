"""How the commands of this package end: an exit status, and one line for whatever went wrong."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence

_USER_ERROR = 2
_SIGNAL_BASE = 128  # the shell's convention for "ended by a signal"


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
