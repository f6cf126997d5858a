"""Peak memory of a call: by torch's allocator on CUDA, by the resident set of a fresh process on a CPU.

On a CPU no allocator sees everything (the kernels and most peers allocate in C++), but the kernel of the operating
system does: Linux keeps the highest resident set of a process (VmHWM) and resets it when 5 is written to
/proc/self/clear_refs. So a process of its own makes the inputs, makes the call once, which loads code and fills caches,
returns freed memory to the system, notes the resident set, resets the mark and makes the call again. The growth of the
mark is what the call needs beyond its inputs, its results included, exact to the pages that the kernel counts late
(below 1 MB). What a library keeps between calls and uses again is not counted.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
EXIT_TIME = 5.0  # seconds for a process to end by itself once it has answered


@dataclass(frozen=True)
class Reading:
    """Peak bytes of a call, or the reason why there is no number."""

    size: int | None
    reason: str = ""


def status(key: str) -> int:
    """A value of /proc/self/status in bytes."""
    found = re.search(rf"^{key}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{STATUS} must have a line {key}, got none")
    return int(found.group(1)) * 1024


def _return_freed_memory() -> None:
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only; musl returns memory by itself
    if trim is not None:
        trim(0)


def peak_of_process(call: Callable[[], Any]) -> int:
    """Growth of this process's peak resident set during the second of two calls, in bytes.

    Raises:
        OSError: this system has no resettable peak.
    """
    call()
    _return_freed_memory()
    before = status("VmRSS")
    CLEAR_REFS.write_text("5")
    value = call()
    peak = status("VmHWM")
    del value
    return max(peak - before, 0)


def peak_can_be_reset() -> bool:
    """Whether this system lets a process set its peak back, as Linux does."""
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def peak_of_cuda(call: Callable[[], Any]) -> int:
    """Growth of the peak of torch's CUDA allocator during a call, in bytes. Other allocators are not seen."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    value = call()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    del value
    return peak - before


def _child(sender: Connection, build: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...]) -> None:
    try:
        CLEAR_REFS.write_text("5")
    except OSError as error:
        sender.send(Reading(None, f"the peak cannot be reset on this system: {error}"))
        return
    try:
        sender.send(Reading(peak_of_process(build(*arguments))))
    except Exception as error:
        sender.send(Reading(None, f"{type(error).__name__}: {error}"))


@contextlib.contextmanager
def _search_path_for_children() -> Iterator[None]:
    """Let the fork server find the modules that this process finds: before Python 3.14 it does not ask."""
    given = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    try:
        yield
    finally:
        if given is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = given


def peak_memory(
    build: Callable[..., Callable[[], Any]], *arguments: Any, preload: tuple[str, ...] = (), timeout: float = 120.0
) -> Reading:
    """Peak memory on a CPU, measured in a process of its own.

    The process is forked from a server that has imported the preloaded modules and done nothing else, so it starts in
    milliseconds and has no history.

    Args:
        build: a function of a module, called in the new process; returns the call to be measured.
        arguments: of `build`; they are pickled.
        preload: modules that the server imports once; they must not start threads.
        timeout: seconds after which the measurement is given up.
    """
    if not CLEAR_REFS.exists():
        return Reading(None, "no /proc/self/clear_refs on this system")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", *preload])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, build, arguments), daemon=True)
    with _search_path_for_children():
        process.start()
    sender.close()
    try:
        if not receiver.poll(timeout):
            process.kill()
            return Reading(None, f"took longer than {timeout:g} s")
        reading = receiver.recv()
        return reading if isinstance(reading, Reading) else Reading(None, "no reading came back")
    except EOFError:
        process.join()
        return Reading(None, f"the process ended with code {process.exitcode}, without an answer")
    finally:
        process.join(EXIT_TIME)
        process.kill()
        process.join()
        receiver.close()
