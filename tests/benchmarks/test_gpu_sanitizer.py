"""compute-sanitizer in the GPU report: command lines, logs, the program that it watches."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from gpu import exercise, parts, sanitizer, sanitizing
from gpu.context import Context
from gpu.findings import Report
from gpu.processes import Finished

# ---- compute-sanitizer


def test_command_lines_of_the_sanitizer() -> None:
    lines = {tool: " ".join(sanitizer.command("/bin/cs", tool, ["python", "x.py"])) for tool in sanitizer.TOOLS}
    assert all(line.startswith(f"/bin/cs --tool {tool} ") for tool, line in lines.items())
    assert all(line.endswith(" python x.py") for line in lines.values())
    assert [tool for tool, line in lines.items() if "--kernel-name kns=pointkernels" in line] == [
        "racecheck",
        "synccheck",
    ]
    assert sanitizer.environment("initcheck") == {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}


OURS = "void pointkernels::cuda::<unnamed>::knn_kernel<float, 1>(pointkernels::cuda::KnnArguments<float>)+0x1a0"
THEIRS = "void at::native::vectorized_elementwise_kernel<4>(int)+0x40"
CLEAN = "========= COMPUTE-SANITIZER\nevery operator has run\n========= ERROR SUMMARY: 0 errors\n"
OUT_OF_BOUNDS = f"""========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 4 bytes
=========     at {OURS} in knn.cu:130
=========     by thread (31,0,0) in block (2,0,0)
=========     Access at 0x7f0000000400 is out of bounds
=========     Saved host backtrace up to driver entry point at kernel launch time
=========         Host Frame: pointkernels::cuda::launch_knn at launch.cuh:30
=========
========= ERROR SUMMARY: 1 error
"""
RACE = f"""========= COMPUTE-SANITIZER
========= Error: Race reported between Write access at {OURS} in knn.cu:59
=========     and Read access at {OURS} in knn.cu:61 [96 hazards]
=========
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
"""
UNINITIALISED = f"""========= COMPUTE-SANITIZER
========= Uninitialized __global__ memory read of size 4 bytes
=========     at {THEIRS}
=========     by thread (0,0,0) in block (0,0,0)
=========
========= ERROR SUMMARY: 1 error
"""
DIVERGENT = f"""========= COMPUTE-SANITIZER
========= Barrier error detected. Divergent thread(s) in block
=========     at {OURS} in knn.cu:80
=========     by thread (32,0,0) in block (0,0,0)
=========
========= ERROR SUMMARY: 1 error
"""
REFUSED = "========= COMPUTE-SANITIZER\n========= Error: Device not supported. Please refer to the list.\n"


@pytest.mark.parametrize(
    ("log", "status", "ours", "others", "note"),
    [
        (CLEAN, "ok", 0, 0, ""),
        (OUT_OF_BOUNDS, "failed", 1, 0, "1 errors in kernels of pointkernels"),
        (RACE, "failed", 1, 0, "1 errors in kernels of pointkernels"),
        (DIVERGENT, "failed", 1, 0, "1 errors in kernels of pointkernels"),
        (UNINITIALISED, "ok", 0, 1, "1 errors in kernels of others"),
        (UNINITIALISED + OUT_OF_BOUNDS, "failed", 1, 1, "1 errors in kernels of pointkernels"),
        (REFUSED, "unavailable", 0, 0, "compute-sanitizer cannot run here: Error: Device not supported. Please refer"),
        ("Traceback: no module\n", "failed", 0, 0, "the log has no summary"),
        (
            "========= Something new\n========= ERROR SUMMARY: 3 errors\n",
            "failed",
            0,
            0,
            "3 errors that are of no known",
        ),
    ],
)
def test_logs_of_the_sanitizer(log: str, status: str, ours: int, others: int, note: str) -> None:
    verdict = sanitizer.read(log)
    assert (verdict.status, len(verdict.ours), verdict.others) == (status, ours, others)
    assert verdict.note.startswith(note)


def test_an_error_says_what_and_where() -> None:
    (error,) = sanitizer.read(OUT_OF_BOUNDS).ours
    assert error.startswith("Invalid __global__ read of size 4 bytes at void pointkernels::cuda::")
    assert error.endswith(" in knn.cu:130")


def test_what_the_sanitizer_finds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    logs = {"memcheck": CLEAN, "racecheck": RACE, "initcheck": CLEAN, "synccheck": CLEAN}

    def run(self: Context, name: str, command: list[str], seconds: float, **environment: str) -> Finished:
        return Finished(None if name == "synccheck" else 0, 1.0, logs[name])

    monkeypatch.setattr(Context, "run", run)
    monkeypatch.setattr(sanitizer, "find", lambda: "cs")
    found = parts.check_with_sanitizer(Context(False, tmp_path, Report({}), "9.0"), 60)
    assert found.status == "failed"
    assert {tool: outcome["status"] for tool, outcome in found.found.items()} == {
        "memcheck": "ok", "racecheck": "failed", "initcheck": "ok", "synccheck": "timed out",
    }  # fmt: skip
    kept = json.loads((tmp_path / "sanitizer.json").read_text())
    assert kept == found.found  # written after every tool
    monkeypatch.setattr(sanitizer, "find", lambda: None)
    assert parts.check_with_sanitizer(Context(False, tmp_path, Report({}), "9.0"), 60).status == "unavailable"


def test_tools_run_one_at_a_time_and_only_with_time_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now, given = [0.0], {}

    def run(self: Context, name: str, command: list[str], seconds: float, **environment: str) -> Finished:
        assert command[-2:] == ["--clouds", "3"]
        given[name] = seconds
        now[0] += 45
        return Finished(0, 45.0, CLEAN)

    monkeypatch.setattr(Context, "run", run)
    monkeypatch.setattr(sanitizer, "find", lambda: "cs")
    monkeypatch.setattr(sanitizing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    found = parts.check_with_sanitizer(Context(False, tmp_path, Report({}), "9.0"), 100)
    assert given == {"memcheck": 50, "racecheck": 55}  # each has the device for itself
    assert found.status == "ok"
    assert [found.found[tool]["note"] for tool in ("initcheck", "synccheck")] == ["no time was left"] * 2


def test_the_sanitizers_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exercise.exercise("cpu")
    assert capsys.readouterr().out.endswith(exercise.DONE + "\n")
