"""The parts of the report. Each takes the context and its seconds, runs commands, and says what it found."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpu import floors, processes, programs, sanitizer
from gpu.alternatives import alternatives
from gpu.constants import sifted
from gpu.findings import Finding, Report
from gpu.processes import Finished

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
RESTARTS = 5  # of a worker whose device failed
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
    """

    dry_run: bool
    work: Path
    report: Report
    capability: str | None

    def run(self, name: str, command: Sequence[str], seconds: float, **environment: str) -> Finished:
        """Run a command in the repository's folder; its output is kept under its name."""
        return processes.run(
            command, seconds=seconds, log=self.work / f"{name}.log", folder=ROOT, environment=environment
        )


def missing(modules: Sequence[str]) -> list[str]:
    """Those of the modules that are not installed; nothing is imported."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def finding(part: str, done: Finished, ok: bool, note: str = "", command: Sequence[str] = (), **found: Any) -> Finding:
    """What came of one command; a log only where something is wrong."""
    status = "timed out" if done.code is None else "ok" if ok else "failed"
    return Finding(part, status, done.seconds, note, (" ".join(command),), found, "" if status == "ok" else done.tail)


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


def suite(context: Context, seconds: float) -> Finding:
    """All tests that run on a GPU."""
    lacking = missing(TEST_NEEDS)
    if "pytest" in lacking:
        return Finding("suite", "unavailable", note="pytest is not installed")
    junit = context.work / "junit.xml"
    junit.unlink(missing_ok=True)
    where = ["tests/test_reference.py"] if context.dry_run else ["tests", "-k", "cuda"]
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
    passed = counts.get("passed", 0)
    ok = done.code == 0 and passed > 0
    if done.code in (0, 5) and passed == 0:
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
    counts["failures"] = [f"{case.get('classname')}::{case.get('name')}" for case in wrong[:50]]
    return counts


def check_with_sanitizer(context: Context, seconds: float) -> Finding:
    """Every operator at small shapes under each of the tools, all four at a time."""
    started = time.monotonic()
    application = [sys.executable, str(BENCHMARKS / "gpu" / "exercise.py")]
    program = sanitizer.find()
    if context.dry_run:
        commands = tuple(
            " ".join(sanitizer.command(program or "compute-sanitizer", tool, application)) for tool in sanitizer.TOOLS
        )
        done = context.run("exercise", [*application, "--device", "cpu"], seconds)
        return Finding(
            "sanitizer", "dry run" if done.code == 0 else "failed", done.seconds, "", commands, {}, done.tail
        )
    if program is None:
        return Finding("sanitizer", "unavailable", note="there is no compute-sanitizer")

    def run(tool: str) -> tuple[str, Finished]:
        command = sanitizer.command(program, tool, application)
        return " ".join(command), context.run(tool, command, seconds, **sanitizer.environment(tool))

    with ThreadPoolExecutor(len(sanitizer.TOOLS)) as pool:
        runs = list(pool.map(run, sanitizer.TOOLS))
    found, statuses, logs = {}, [], []
    for tool, (_, done) in zip(sanitizer.TOOLS, runs, strict=True):
        verdict = sanitizer.read(done.output)
        status, note = verdict.status, verdict.note
        if done.code is None:
            status = "timed out"
        elif done.code != 0 and status == "ok":
            status, note = "failed", f"the program ended with code {done.code}"
        found[tool] = {"status": status, "note": note, "errors": list(verdict.ours[:50]), "others": verdict.others}
        statuses.append(status)
        if status != "ok":
            logs.append(f"{tool}:\n{done.tail}")
    overall = next((status for status in ("failed", "timed out", "unavailable") if status in statuses), "ok")
    note = "; ".join(f"{tool}: {outcome['note']}" for tool, outcome in found.items() if outcome["note"])
    commands = tuple(command for command, _ in runs)
    return Finding("sanitizer", overall, time.monotonic() - started, note, commands, found, "\n\n".join(logs))


def machine(context: Context, seconds: float) -> Finding:
    """The constants of the machine, by a program of our own; a dry run takes the assumed ones."""
    program = context.work / "constants"
    command = programs.compile_command("constants", program, context.capability)
    if context.dry_run:
        return Finding("machine", "dry run", 0.0, "assumed", (" ".join(command),), dict(floors.ASSUMED))
    started = time.monotonic()
    done = context.run("machine-build", command, seconds)
    if done.code == 0:
        done = context.run("machine", [str(program)], seconds - (time.monotonic() - started))
    constants, note = sifted(programs.read(done.output) if done.code == 0 else {})
    return finding("machine", done, bool(constants) and not note, note, command, **constants)


def measured(part: str) -> Callable[[Context, float], Finding]:
    """A part that a worker process measures."""

    def run(context: Context, seconds: float) -> Finding:
        started = time.monotonic()
        output = context.work / f"{part}.json"
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
BUILD = Part("build", build, 900)
PARTS = (
    Part("machine", machine, 35),
    Part("alternatives", alternatives, 15),
    Part("suite", suite, 130),
    Part("operators", measured("operators"), 110),
    Part("training", measured("training"), 30),
    Part("sanitizer", check_with_sanitizer, 90),
    Part("compiled", measured("compiled"), 80),
)
