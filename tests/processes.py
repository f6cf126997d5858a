"""Programs in processes of their own, without the seconds that each would spend importing torch and transformers.

A server with the imports done forks for every program. What a program sees is as in a fresh process: its arguments,
environment, folder, standard streams and signals; it has one thread, so results do not depend on the machine's cores.
"""

import importlib
import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NamedTuple

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["crosspoint.train", "crosspoint.engine.run", "crosspoint.pretraining.run"])


class Finished(NamedTuple):
    """How a program ended; the return code is minus the signal that killed it."""

    returncode: int
    stdout: str
    stderr: str


class Program:
    """A program that runs in a fork of the server.

    Args:
        command: What would follow `python`: `-m`, a module that has a `main(arguments)`, and its arguments, or a script
            and its arguments.
        environment: Variables to set on top of this process's.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._streams = [tempfile.NamedTemporaryFile("r", prefix="stream-") for _ in range(2)]  # noqa: SIM115
        paths = [stream.name for stream in self._streams]
        self._process: ForkServerProcess = CONTEXT.Process(
            target=_run, args=(list(command), {**os.environ, **(environment or {})}, paths)
        )
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"  # read by the libraries that the server imports
        try:
            forkserver.ensure_running()
        finally:
            os.environ.pop("OMP_NUM_THREADS")
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before
        self._process.start()

    def poll(self) -> int | None:
        """The return code, or None while the program runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal to the program."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End the program, if it still runs."""
        self._process.kill()

    def finish(self, timeout: float = 300) -> Finished:
        """Wait until the program has ended."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            self.kill()
            raise TimeoutError(f"the program must end within {timeout} s")
        output, errors = (Path(stream.name).read_text() for stream in self._streams)
        return Finished(code, output, errors)


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Finished:
    """Run a program to its end."""
    return Program(command, environment).finish()


def run_together(command: Sequence[str], size: int) -> list[Finished]:
    """Run a program in several processes that find each other as those of torchrun do."""
    meeting = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    places = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]
    programs = [Program(command, {**meeting, **place}) for place in places]
    return [program.finish() for program in programs]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(command: list[str], environment: dict[str, str], streams: list[str]) -> None:
    """Become the program (in the fork)."""
    for number, path in enumerate(streams, start=1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    # A forkserver's children would start their own the same way; a program starts them in the platform's.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(tempfile.gettempdir())  # not the repository, whose sources could hide the installed package
    if command[0] == "-m":
        sys.argv = command[1:]
        sys.exit(importlib.import_module(command[1]).main(command[2:]))
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
