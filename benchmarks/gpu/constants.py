"""The part "machine": its constants, by a program of our own, and whether they can be true."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

from gpu import floors
from gpu.context import BENCHMARKS, Context, finding
from gpu.findings import Finding

# Wide: between a laptop of compute capability 7.5 and what may come. What lies outside is an error of the program, such
# as a loop that the compiler left out. In seconds, and bytes or operations a second; 0 says that the GPU has no such
# thing.
RANGES: dict[str, tuple[float, float]] = {
    "copy_bandwidth": (5e10, 5e13),
    "memcpy_bandwidth": (5e10, 5e13),
    "l2_bandwidth": (1e11, 1e14),
    "multiply_adds": (5e11, 1e15),
    "tensor_operations": (1e12, 1e16),
    "launch": (2e-7, 1e-4),
    "graph_launch": (1e-7, 1e-4),
    "grid_barrier": (2e-7, 1e-4),
    "warp_maximum": (2e-9, 1e-6),
}
LATENCY = (1e-9, 1e-5)  # of anything within a multiprocessor, and of a barrier of a cluster


def implausible(constants: dict[str, Any]) -> dict[str, str]:
    """The constants that cannot be true, each with a sentence."""
    wrong = {}
    for name, value in constants.items():
        if not isinstance(value, (int, float)) or name in ("multiprocessors", "l2_bytes", "memory_bytes"):
            continue
        low, high = RANGES.get(name, LATENCY)
        absent = name == "cluster_barrier" and value == 0
        if not (low <= value <= high or absent):
            wrong[name] = f"{name} must lie in [{low:g}, {high:g}], got {value:g}"
    return wrong


def machine(context: Context, seconds: float) -> Finding:
    """The constants of the machine, by a program of our own; a dry run takes the assumed ones."""
    source, program = BENCHMARKS / "machine" / "constants.cu", context.work / "constants"
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    target = (context.capability or "9.0").replace(".", "")
    command = [nvcc, "-std=c++17", "-O3", "-gencode", f"arch=compute_{target},code=sm_{target}", str(source)]
    command += ["-o", str(program)]
    if context.dry_run:
        return Finding("machine", "dry run", 0.0, "assumed", (" ".join(command),), dict(floors.ASSUMED))
    started = time.monotonic()
    done = context.run("machine-build", command, seconds)
    if done.code == 0:
        done = context.run("machine", [str(program)], seconds - (time.monotonic() - started))
    try:
        constants = json.loads(done.output) if done.code == 0 else {}
    except ValueError:
        constants = {}
    doubtful = implausible(constants)
    # What is out of its range is no constant: floors would be computed from it.
    sound = {name: value for name, value in constants.items() if name not in doubtful}
    return finding("machine", done, bool(constants) and not doubtful, "; ".join(doubtful.values()), command, **sound)
