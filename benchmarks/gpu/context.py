"""What all parts of the report share: the context, commands, and the finding that comes of a command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from gpu import processes
from gpu.findings import Finding, Report, write
from gpu.processes import Finished

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
# What the tests in tests/training import beyond torch.
TRAINING_NEEDS = ("h5py", "matplotlib", "PIL", "rich", "sklearn", "tensorboard", "transformers", "trimesh", "tyro")
TEST_NEEDS = ("pytest", "hypothesis", "pytest_timeout", "rich")
BUILD_NEEDS = ("pip", "setuptools", "pybind11", "ninja", "torch")


@dataclass(frozen=True)
class Context:
    """What all parts share.

    Attributes:
        dry_run: no GPU: small shapes on the CPU, and command lines instead of what needs one.
        work: folder for logs and files in between.
        report: the findings so far.
        capability: of the GPU, as in "9.0"; None where nvidia-smi does not tell.
        kept: folder for what must survive when this program is killed; `work` where there is none.
    """

    dry_run: bool
    work: Path
    report: Report
    capability: str | None
    kept: Path | None = None

    def file(self, part: str) -> Path:
        """Where a part writes its numbers while it runs."""
        return (self.kept or self.work) / f"{part}.json"

    def keep(self, part: str, found: dict[str, Any]) -> None:
        """Write what a part found so far."""
        write(self.file(part), json.dumps(found, default=str))

    def run(self, name: str, command: Sequence[str], seconds: float, **environment: str) -> Finished:
        """Run a command in the repository's folder; its output is kept under its name."""
        return processes.run(
            command, seconds=seconds, log=self.work / f"{name}.log", folder=ROOT, environment=environment
        )


def missing(modules: Sequence[str]) -> list[str]:
    """Those of the modules that are not installed; nothing is imported."""
    # On the path alone: a finder that setuptools puts before it warns when it is asked for pip late.
    return [name for name in modules if PathFinder.find_spec(name) is None]


def finding(part: str, done: Finished, ok: bool, note: str = "", command: Sequence[str] = (), **found: Any) -> Finding:
    """What came of one command; a log only where something is wrong."""
    status = "timed out" if done.code is None else "ok" if ok else "failed"
    return Finding(part, status, done.seconds, note, (" ".join(command),), found, "" if status == "ok" else done.tail)
