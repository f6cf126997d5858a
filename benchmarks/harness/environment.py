"""What a measurement was made with: hardware, versions, commit, and how busy the machine was."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import pointkernels
from harness.records import slug

ROOT = Path(__file__).resolve().parents[2]


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found is not None:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def load_average() -> float | None:
    """Mean number of runnable processes over the last minute; None where the system does not count them."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def commit() -> str | None:
    """The commit of the repository, "+changes" appended where files differ from it; None outside of git."""
    try:
        revision = _git("rev-parse", "HEAD")
        return revision + ("+changes" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of the installed among the packages, of Python and of what pointkernels was compiled with."""
    found = {"python": platform.python_version(), "torch": torch.__version__, "pointkernels": pointkernels.__version__}
    found["compiler"] = pointkernels.build_info()["compiler"]
    if torch.version.cuda is not None:
        found["cuda"] = torch.version.cuda
    for package in sorted(set(packages) - {"pointkernels"}):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


def device_name(device: str) -> str:
    """The name of the hardware."""
    return torch.cuda.get_device_name() if device == "cuda" else cpu_model()


def device_slug(device: str) -> str:
    """A short name for result files: "cpu", or that of the GPU."""
    if device == "cpu":
        return "cpu"
    return slug(torch.cuda.get_device_name())


def describe(device: str, packages: Iterable[str], arguments: list[str]) -> dict[str, Any]:
    """Everything that is recorded about a run, ready for JSON."""
    info = pointkernels.build_info()
    return {
        "device": device,
        "device_name": device_name(device),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "isa": info["isa"],
        "isas_usable": list(info["isas_usable"]),
        "cuda_architectures": info["cuda_architectures"],
        "system": platform.system(),
        "versions": versions(packages),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments]),
    }
