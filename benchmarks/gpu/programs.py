"""The measuring programs of benchmarks/machine: how they are compiled, and what they print."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "machine"


def nvcc() -> str | None:
    """The compiler, where there is one."""
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def compile_command(name: str, program: Path, capability: str | None) -> list[str]:
    """Compiles benchmarks/machine/<name>.cu for a GPU of this capability ("9.0"; None: not known, so the newest)."""
    target = (capability or "9.0").replace(".", "")
    command = [nvcc() or "nvcc", "-std=c++17", "-O3", "--fmad=false"]
    command += ["-gencode", f"arch=compute_{target},code=sm_{target}", str(FOLDER / f"{name}.cu")]
    return [*command, "-o", str(program)]


def read(output: str) -> dict[str, Any]:
    """The JSON object that a program printed; empty where it did not."""
    try:
        found = json.loads(output)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
