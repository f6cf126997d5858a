"""The part "suite": all tests that run on a GPU, and how many of them did."""

from __future__ import annotations

import os
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu.context import TEST_NEEDS, TRAINING_NEEDS, Context, finding, missing
from gpu.findings import Finding

# tests/conftest.py marks what takes the fixture `device` as "cuda".
ON_GPU = "cuda and not slow"


def is_on_gpu(name: str) -> bool:
    """Whether a test ran on the GPU: its parameters name the device, as in "test_knn[random-cuda]".

    A name alone says nothing: there are tests of the build for CUDA and of code for CUDA that need no GPU.
    """
    _, bracket, parameters = name.partition("[")
    return bool(bracket) and "cuda" in parameters.rstrip("]").split("-")


def suite(context: Context, seconds: float) -> Finding:
    """All tests that run on a GPU."""
    lacking = missing(TEST_NEEDS)
    if "pytest" in lacking:
        return Finding("suite", "unavailable", note="pytest is not installed")
    junit = context.work / "junit.xml"
    junit.unlink(missing_ok=True)
    where = ["tests/test_reference.py"] if context.dry_run else ["tests", "-m", ON_GPU]
    # No plugins but those that are needed: others may be installed, and some warn, which our tests take for an error.
    # For the same reason warnings are no errors here; it is the kernels that this is about.
    command = [sys.executable, "-m", "pytest", *where, "-q", "--tb=short", "-W", "default", f"--junitxml={junit}"]
    command += ["-p", "no:cacheprovider"]
    if "pytest_timeout" not in lacking:
        command += ["-p", "pytest_timeout"]
    notes = [f"missing: {', '.join(lacking)}"] if lacking else []
    without = missing(TRAINING_NEEDS)
    if without:
        command += ["--ignore=tests/training"]
        notes.append(f"without tests/training, which need {', '.join(without)}")
    if not context.dry_run and not missing(("xdist",)):
        command += ["-p", "xdist.plugin", "-n", str(min(8, os.cpu_count() or 1))]
    done = context.run("suite", command, seconds, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    counts = read_junit(junit)
    # A dry run has none on a GPU: there it is enough that pytest and the reading of its results work.
    ran = counts.get("passed" if context.dry_run else "on_gpu", 0)
    ok = done.code == 0 and ran > 0
    if done.code in (0, 5) and ran == 0:
        notes.append("no test ran on the GPU")
    outcome = finding("suite", done, ok, "; ".join(notes), command, **counts)
    return replace(outcome, status="dry run") if context.dry_run and ok else outcome


def read_junit(path: Path) -> dict[str, Any]:
    """Numbers of tests by outcome, and which failed."""
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return {}
    outcomes = {"failed": ("failure", "error"), "skipped": ("skipped",)}
    counts: dict[str, Any] = {
        name: sum(any(case.find(tag) is not None for tag in tags) for case in cases) for name, tags in outcomes.items()
    }
    wrong = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    counts["passed"] = len(cases) - counts["failed"] - counts["skipped"]
    passing = [case for case in cases if all(case.find(tag) is None for tags in outcomes.values() for tag in tags)]
    counts["on_gpu"] = sum(is_on_gpu(case.get("name", "")) for case in passing)
    counts["failures"] = [f"{case.get('classname')}::{case.get('name')}" for case in wrong[:50]]
    return counts
