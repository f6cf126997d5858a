"""Runs commands with a time limit, their output in a file; nothing that they started outlives them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TAIL_LINES = 40
TAIL_CHARACTERS = 6000
GRACE = 3.0  # seconds between the polite and the other signal


@dataclass(frozen=True)
class Finished:
    """How a command ended: its exit code (None when it was stopped for its time), seconds, and all it printed."""

    code: int | None
    seconds: float
    output: str

    @property
    def tail(self) -> str:
        """The last lines of the output."""
        return "\n".join(self.output[-TAIL_CHARACTERS:].splitlines()[-TAIL_LINES:])


def run(
    command: Sequence[str], *, seconds: float, log: Path, folder: Path, environment: Mapping[str, str] | None = None
) -> Finished:
    """Run a command in a session of its own and stop all of it when the time is over.

    Args:
        command: program and arguments.
        seconds: how long it may take.
        log: file for its output, written while it runs.
        folder: where it runs.
        environment: variables in addition to those of this process.
    """
    started = time.monotonic()
    with log.open("wb") as file:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return Finished(127, time.monotonic() - started, f"{command[0]} must be a program, got: {error}")
        try:
            code: int | None = process.wait(timeout=max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            code = None
        finally:  # also when this process is interrupted, and for what the command left running
            _stop(process)
    return Finished(code, time.monotonic() - started, log.read_text(errors="replace"))


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break  # nothing of it is left
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE)
        if number == signal.SIGTERM and process.returncode is not None:
            time.sleep(0.05)  # its children were told, too
