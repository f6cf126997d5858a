"""What other tools write, in their own formats: the profiler, Nsight Compute, compute-sanitizer."""

# ruff: noqa: E501  (their lines are as long as they are)
from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gpu import cases, exercise, kernels, markdown, ncu, operators, parts, sanitizer, sanitizing, worker
from gpu.context import Context
from gpu.findings import Report
from gpu.processes import Finished

# As torch.profiler writes it: annotations, host operations and arrows between beside what ran on the device.
TRACE = """{
 "schemaVersion": 1, "deviceProperties": [{"id": 0, "name": "NVIDIA H200", "numSms": 132}],
 "traceEvents": [
 {"ph": "X", "cat": "cpu_op", "name": "pointkernels::knn", "pid": 7, "tid": 7, "ts": 4861730.1, "dur": 41.2,
  "args": {"External id": 1, "Ev Idx": 0}},
 {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernelExC", "pid": 7, "tid": 7, "ts": 4861741.0, "dur": 6.1,
  "args": {"cbid": 430, "correlation": 9}},
 {"ph": "X", "cat": "gpu_memset", "name": "Memset (Device)", "pid": 0, "tid": 7, "ts": 4861742.5, "dur": 1.312,
  "args": {"device": 0, "stream": 7, "correlation": 8, "bytes": 32768, "memory bandwidth (GB/s)": 24.9}},
 {"ph": "X", "cat": "kernel", "pid": 0, "tid": 7, "ts": 4861749.004, "dur": 104.863,
  "name": "void pointkernels::cuda::(anonymous namespace)::knn_kernel<float, 1>(pointkernels::cuda::KnnArguments<float>, long)",
  "args": {"External id": 1, "queued": 0, "device": 0, "context": 1, "stream": 7, "correlation": 9,
   "registers per thread": 120, "shared memory": 21568, "blocks per SM": 15.5, "warps per SM": 62.1,
   "grid": [2048, 1, 1], "block": [128, 1, 1], "est. achieved occupancy %": 25}},
 {"ph": "f", "id": 9, "pid": 0, "tid": 7, "ts": 4861749.004, "cat": "ac2g", "name": "ac2g", "bp": "e"},
 {"ph": "X", "cat": "overhead", "name": "Activity Buffer Request", "pid": -1, "tid": 0, "ts": 4861700.0, "dur": 900.0},
 {"name": "process_name", "ph": "M", "ts": 4861700.0, "pid": 0, "tid": 0, "args": {"name": "python"}},
 {"name": "Iteration Start: PyTorch Profiler", "ph": "i", "s": "g", "pid": "Traces", "tid": "t", "ts": 4861700.0}
 ]}"""


def test_a_trace_file_as_the_profiler_writes_it() -> None:
    class Profiler:
        def export_chrome_trace(self, path: str) -> None:
            Path(path).write_text(TRACE)

    found = kernels.read(kernels.trace_of(Profiler()), 1)
    assert (found["launches"], found["microseconds"]) == (2, pytest.approx(106.175))
    assert [row["name"] for row in found["kernels"]] == ["Memset", "knn_kernel<float, 1>"]
    search = found["kernels"][1]
    assert (search["grid"], search["registers"], search["shared"]) == ([2048, 1, 1], 120, 21568)
    case = {"case": "knn", "rows": [], **found}
    timed = {"case": "knn", "rows": [{"ours": True, "device": [1e-4, 1.25e-4, 2e-4]}]}
    text = "\n".join(markdown._kernels({"cases": [case]}, {"cases": [timed]}))
    assert "85% of the 125 us of the graph" in text


NCU = """==PROF== Connected to process 77 (/usr/bin/python3.12)
==PROF== Profiling "knn_kernel" - 0: 0%....50%....100% - 3 passes
"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC","Section Name","Metric Name","Metric Unit","Metric Value"
"0","77","python3.12","127.0.0.1","void pointkernels::cuda::<unnamed>::knn_kernel<float, 1>(pointkernels::cuda::KnnArguments<float>, long)","1","7","(128, 1, 1)","(2048, 1, 1)","0","9.0","Command line profiler metrics","gpu__time_duration.sum","ns","104,863"
"0","77","python3.12","127.0.0.1","void pointkernels::cuda::<unnamed>::knn_kernel<float, 1>(pointkernels::cuda::KnnArguments<float>, long)","1","7","(128, 1, 1)","(2048, 1, 1)","0","9.0","Command line profiler metrics","lts__t_sector_hit_rate.pct","%","n/a"
"0","77","python3.12","127.0.0.1","void pointkernels::cuda::<unnamed>::knn_kernel<float, 1>(pointkernels::cuda::KnnArguments<float>, long)","1","7","(128, 1, 1)","(2048, 1, 1)","0","9.0","Command line profiler metrics","smsp__inst_executed.sum","inst","111,222,333"
"1","77","python3.12","127.0.0.1","void at::native::vectorized_elementwise_kernel<4>(int)","1","7","(128, 1, 1)","(8, 1, 1)","0","9.0","Command line profiler metrics","gpu__time_duration.sum","us","2.1"
==PROF== Disconnected from process 77
"""


def test_what_nsight_compute_prints_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (kernel,) = ncu.read(NCU)
    assert kernel["name"] == "knn_kernel<float, 1>"
    assert kernel["gpu__time_duration.sum"] == pytest.approx(104.863)
    assert kernel["smsp__inst_executed.sum"] == 111222333
    assert "lts__t_sector_hit_rate.pct" not in kernel
    assert "| knn_kernel<float, 1> | 105 |  | 111222333 |" in "\n".join(markdown._counters({"kernels": [kernel]}))
    assert ncu.read("==ERROR== nothing") == []
    monkeypatch.setattr(ncu, "find", lambda: "ncu")
    for output, status in ((NCU, "ok"), ("==ERROR== ERR_NVGPUCTRPERM - The user", "unavailable"), ("", "failed")):
        monkeypatch.setattr(Context, "run", lambda *_, output=output, **__: Finished(0, 1.0, output))
        assert ncu.counters(Context(False, tmp_path, Report({}), "9.0"), 40).status == status
    monkeypatch.setattr(ncu, "find", lambda: None)
    found = ncu.counters(Context(False, tmp_path, Report({}), "9.0"), 40)
    assert (found.status, found.note) == ("unavailable", "there is no ncu")


def test_one_call_of_each_for_a_program_that_watches(tmp_path: Path) -> None:
    task = worker.Task("once", "cpu", tmp_path / "once.json", 60.0, {})
    assert worker.work(task) == 0
    assert len(json.loads((tmp_path / "once.json").read_text())["cases"]) == 2


def test_several_calls_are_read_in_their_order_or_summed_by_kernel() -> None:
    def event(name: str, start: float, microseconds: float) -> dict[str, Any]:
        arguments = {"grid": [8, 1, 1], "block": [128, 1, 1], "registers per thread": 40, "shared memory": 512}
        return {"cat": "kernel", "name": name, "ts": start, "dur": microseconds, "args": arguments}

    def read(*events: dict[str, Any], calls: int) -> list[tuple[Any, ...]]:
        return [(r["name"], r["times"], r["microseconds"]) for r in kernels.read([*events], calls)["kernels"]]

    alike = [[event("b", 10.0 * n, 1.0), event("a", 10.0 * n + 2, 5.0 + n)] for n in range(3)]
    assert read(*alike[1], *alike[0], *alike[2], calls=3) == [("b", 1, 1), ("a", 1, 6)]
    different = event("a", 0, 1.0), event("b", 1, 2.0), event("a", 2, 3.0)
    assert read(*different, calls=2) == [("a", 1, 2), ("b", 0.5, 2)]


def test_kernels_of_a_case_on_a_cpu() -> None:
    """Where there are none; the profiler runs all the same."""
    found = kernels.measure(cases.cases(dry_run=True)[0], operators.plan("cpu", compiled=False))
    assert (found["launches"], found["kernels"], found["rows"]) == (0, [], [])
    text = "\n".join(markdown._kernels({"cases": [found, {"case": "x", "rows": [], "error": "E"}]}, {}))
    assert "| 0 launches |" in text
    assert "| x |  |  |  |  |  | E |" in text


# ---- compute-sanitizer

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
REFUSED = "========= COMPUTE-SANITIZER\n========= Error: Device not supported. Please refer to the list.\n"


@pytest.mark.parametrize(
    ("log", "status", "ours", "others", "note"),
    [
        (CLEAN, "ok", 0, 0, ""),
        (OUT_OF_BOUNDS, "failed", 1, 0, "1 errors in kernels of pointkernels"),
        (RACE, "failed", 1, 0, "1 errors in kernels of pointkernels"),
        (UNINITIALISED, "ok", 0, 1, "1 errors in kernels of others"),
        (UNINITIALISED + OUT_OF_BOUNDS, "failed", 1, 1, "1 errors in kernels of pointkernels"),
        (REFUSED, "unavailable", 0, 0, "compute-sanitizer cannot run here: Error: Device not supported. Please refer"),
        ("Traceback: no module\n", "failed", 0, 0, "the log has no summary"),
        ("========= New\n========= ERROR SUMMARY: 3 errors\n", "failed", 0, 0, "3 errors that are of no known"),
    ],
)
def test_logs_of_the_sanitizer(log: str, status: str, ours: int, others: int, note: str) -> None:
    verdict = sanitizer.read(log)
    assert (verdict.status, len(verdict.ours), verdict.others) == (status, ours, others)
    assert verdict.note.startswith(note)


def test_what_the_sanitizer_is_told_and_says() -> None:
    for tool in sanitizer.TOOLS:
        line = " ".join(sanitizer.command("/bin/cs", tool, ["python", "x.py"]))
        assert re.fullmatch(f"/bin/cs --tool {tool} .* python x.py", line)
        assert ("--kernel-name kns=pointkernels" in line) == (tool in ("racecheck", "synccheck"))
    assert sanitizer.environment("initcheck") == {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
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
