"""The parts of the report. Each takes the context and its seconds, runs commands, and says what it found."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gpu import floors
from gpu.alternatives import alternatives
from gpu.context import BENCHMARKS, BUILD_NEEDS, Context, finding, missing
from gpu.findings import Finding
from gpu.machine import machine
from gpu.ncu import counters
from gpu.sanitizing import check_with_sanitizer
from gpu.suite import suite

RESTARTS = 5  # of a worker whose device failed


VERIFY = """
import json, torch, pointkernels
from pointkernels import _C, build_info
info = dict(build_info(), file=_C.__file__, running=torch.__version__, available=torch.cuda.is_available())
if torch.cuda.is_available() and info["cuda"]:
    points = torch.rand(2, 300, 3)
    info["works"] = torch.equal(pointkernels.knn(points.cuda(), 8).cpu(), pointkernels.knn(points, 8))
print("found:" + json.dumps(info, default=str))
"""


def build(context: Context, seconds: float) -> Finding:
    """Installs the project for this GPU, and lets a new process say that what it finds is that build."""
    command = [sys.executable, "-m", "pip", "install", "-v", "--no-build-isolation", "--no-deps", "."]
    environment = {"POINTKERNELS_CUDA": "1", "MAX_JOBS": os.environ.get("MAX_JOBS", str(os.cpu_count() or 1))}
    if context.capability is not None and "TORCH_CUDA_ARCH_LIST" not in os.environ:
        environment["TORCH_CUDA_ARCH_LIST"] = context.capability  # the other architectures would only take time
    line = " ".join([*(f"{name}={value}" for name, value in environment.items()), *command])
    if not context.dry_run:
        done = context.run("build", command, seconds, **environment)
        if done.code != 0:
            lacking = missing(BUILD_NEEDS)
            return finding("build", done, False, f"missing: {', '.join(lacking)}" if lacking else "", [line])
    # As pytest will: from the repository's folder, where an older build in place would hide the new one.
    verify = context.run("verify", [sys.executable, "-c", VERIFY], 60)
    text = next((line for line in verify.output.splitlines() if line.startswith("found:")), None)
    info: dict[str, Any] = {} if text is None else json.loads(text.removeprefix("found:"))
    if context.dry_run:
        return Finding("build", "dry run" if info else "failed", verify.seconds, "", (line,), info, verify.tail)
    if not info:
        note = "the build cannot be imported"
    elif not info["available"]:
        note = "torch finds no GPU"
    elif not info["cuda"]:
        note = f"pointkernels was imported from {info['file']}, which has no CUDA; remove it if it is an older build"
    elif not info["works"]:
        note = "kNN on the GPU is not that of the CPU"
    else:
        note = ""
    return finding("build", verify, not note, note, [line], **info)


def measured(part: str) -> Callable[[Context, float], Finding]:
    """A part that a worker process measures."""

    def run(context: Context, seconds: float) -> Finding:
        started = time.monotonic()
        # What an earlier call found stays until this one has come to its end.
        output = context.file(f"{part}-running")
        output.unlink(missing_ok=True)
        constants = {**floors.ASSUMED, **context.report.found("machine")}
        command = [
            sys.executable, str(BENCHMARKS / "gpu_report.py"), "--worker", part, "--worker-output", str(output),
            "--worker-device", "cpu" if context.dry_run else "cuda", "--worker-machine", json.dumps(constants),
        ]  # fmt: skip
        known = 0
        for attempt in range(1 + RESTARTS):
            left = seconds - (time.monotonic() - started)
            # A case that has begun should come to its end.
            line = [*command, "--worker-seconds", f"{max(left - 20, left / 2):.0f}"]
            done = context.run(f"{part}-{attempt}", line, left)
            found = json.loads(output.read_text()) if output.exists() else {}
            cases = found.get("cases", [])
            # Going on is of use when the last process got as far as a case.
            if done.code in (0, None) or len(cases) == known:
                break
            known = len(cases)
        if output.exists():
            output.replace(context.file(part))
        wrong = [f"{case['case']}: {case['error']}" for case in cases if "error" in case]
        for case in cases:
            wrong += [
                f"{row['contender']} on {case['case']}: {row['note']}"
                for row in case["rows"]
                if row.get("ours") and row["status"] in ("wrong", "failed")
            ]
            if case.get("losses_agree") is False:
                wrong.append(f"first losses must agree, got {case['losses']}")
        ok = done.code == 0 and not wrong and bool(cases)
        outcome = finding(part, done, ok, "; ".join(wrong), command, **found)
        status = "dry run" if context.dry_run and ok else outcome.status
        return replace(outcome, status=status, seconds=time.monotonic() - started)

    return run


@dataclass(frozen=True)
class Part:
    """A part: its name, how to run it, and how many seconds it may take."""

    name: str
    run: Callable[[Context, float], Finding]
    seconds: float


# What is most likely to be wanted comes first, what most likely takes its whole time last. Time that a part does not
# need goes to those behind it.
BUILD = Part("build", build, 150)
# One call: with the build it fits into 330 s.
FIRST = (
    Part("machine", machine, 30),
    Part("alternatives", alternatives, 15),
    Part("suite", suite, 55),
    Part("kernels", measured("kernels"), 15),
    Part("operators", measured("operators"), 45),
    Part("training", measured("training"), 20),
)
# Another one, on the same machine, where the build still is.
SECOND = (
    Part("sanitizer", check_with_sanitizer, 150),
    Part("ncu", counters, 40),
    Part("compiled", measured("compiled"), 120),
)
PARTS = (*FIRST, *SECOND)
