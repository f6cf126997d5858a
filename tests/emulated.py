"""The CUDA kernels run on the CPU: libraries built by tools/build_emulation.py, and the device made of them.

Within `with emulated.device("random-1")`, `pointkernels.knn(points, 20)` with points on the CPU runs csrc/cuda/knn.cu.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("POINTKERNELS_EMULATION_FOLDER", ROOT / "build" / "emulation"))

# The order in which blocks, and within a block threads, take their turns; with the seed of the random ones.
SCHEDULES = {"forward": (0, 0), "reverse": (1, 0), "random-1": (2, 1), "random-2": (2, 2)}
# Of one launch; see csrc/cuda/launch.cuh.
AS_ON_GPUS = 0
# See tools/build_emulation.py; run_sanitized() sets it for its process.
CHECK = os.environ.get("POINTKERNELS_EMULATION_CHECK", "none")


class EmulatedLibrary:
    """Kernels for one architecture, with one kind of checks."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.emulated_failure.restype = ctypes.c_char_p

    def set_schedule(self, schedule: str) -> None:
        """Choose one of SCHEDULES for all launches from now on."""
        order, seed = SCHEDULES[schedule]
        self._library.emulated_set_schedule(ctypes.c_int(order), ctypes.c_uint64(seed))

    def set_most_steps(self, steps: int) -> None:
        """Cut what needs more steps than that into several launches from now on."""
        self._library.emulated_set_most_steps(ctypes.c_int64(steps))

    def failure(self) -> str:
        """What was wrong with the last grid; empty if nothing."""
        return str(self._library.emulated_failure().decode())

    def counters(self) -> dict[str, Any]:
        """What has been counted since reset_counters(); only with the check "counters" (csrc/emulation/counters.h)."""
        self._library.emulated_counters.restype = ctypes.c_char_p
        counted: dict[str, Any] = json.loads(self._library.emulated_counters())
        return counted

    def reset_counters(self) -> None:
        """Begin to count anew."""
        self._library.emulated_reset_counters()

    def call(self, name: str, *arguments: Any) -> int:
        """Call an exported function that returns an int."""
        return int(getattr(self._library, name)(*arguments))


def missing() -> str | None:
    """Why nothing can be emulated here; None where it can."""
    if sys.platform != "linux":
        return "the emulation of CUDA needs Linux"
    compiler = os.environ.get("CXX", "g++")
    return None if shutil.which(compiler) else f"the emulation of CUDA needs {compiler}, which is not installed"


@cache
def build(architecture: int, check: str, *sources: Path) -> Path:
    """The library of these sources, or of the operators; built when first asked for and kept until a source changes."""
    command = [sys.executable, str(ROOT / "tools" / "build_emulation.py"), f"--folder={FOLDER}"]
    command += [f"--architecture={architecture}", f"--check={check}", *map(str, sources)]
    # A compiler is no place for the sanitizers of the tests.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return Path(result.stdout.strip())


@cache
def _sanitizers() -> list[str]:
    """AddressSanitizer's library, and that of C++, whose exceptions it must find there; empty where there is none."""
    found = []
    for name in ("libasan.so", "libstdc++.so"):
        command = [os.environ.get("CXX", "g++"), f"-print-file-name={name}"]
        printed = subprocess.run(command, capture_output=True, text=True).stdout.strip()
        if not Path(printed).is_absolute():  # the name itself, where there is no such file
            return []
        found.append(printed)
    return found


def run_sanitized(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with these arguments in a process with the sanitizers' libraries, which must come before all others."""
    libraries = _sanitizers()
    if not libraries:
        import pytest

        pytest.skip("the compiler has no libasan")
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        # Python and torch keep memory until the end on purpose.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "POINTKERNELS_EMULATION_CHECK": "sanitizers",
    }
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=ROOT)


@cache
def operators(architecture: int, check: str) -> EmulatedLibrary:
    """The operators of csrc/cuda."""
    return EmulatedLibrary(build(architecture, check))


@contextmanager
def device(schedule: str, architecture: int = 90, check: str = CHECK, most_steps: int = AS_ON_GPUS) -> Iterator[None]:
    """Within it, the operators run on CPU tensors as they would on a GPU of this architecture.

    Fresh tensors hold NaN or large integers, so that an element that no kernel writes shows.
    """
    import torch

    from pointkernels.ops import edge_conv, linear, running_statistics

    library = operators(architecture, check)
    library.set_schedule(schedule)
    library.set_most_steps(most_steps)
    library.call("emulated_install")
    torch.use_deterministic_algorithms(True)
    # The way that a GPU takes.
    elsewhere = [(edge_conv, "_OF_CLOUDS"), (linear, "_CENTERING"), (running_statistics, "_IN_ONE_CALL")]
    before = [getattr(module, name) for module, name in elsewhere]
    for module, name in elsewhere:
        setattr(module, name, frozenset())
    try:
        yield
    finally:
        for (module, name), devices in zip(elsewhere, before, strict=True):
            setattr(module, name, devices)
        torch.use_deterministic_algorithms(False)
        library.call("emulated_remove")
