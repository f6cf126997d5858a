"""The GPU report without a GPU: processes, parts, parsers, floors, tables; and its dry run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fps_bench
import gpu_report
import pytest
import timing
from contenders import Settings
from gpu import cases, exercise, findings, floors, markdown, operators, parts, processes, sanitizer, training, worker
from gpu.findings import Finding, Report
from gpu.parts import Context, Part
from gpu.processes import Finished

CPU = operators.plan("cpu", compiled=False)


# ---- processes


def state(pid: int) -> str:
    """Of a process: "" when it is gone, "Z" when it only waits to be counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_command_that_takes_too_long_is_stopped_with_all_it_started(tmp_path: Path) -> None:
    command = ["sh", "-c", "sleep 60 & echo $!; echo waiting; wait"]
    done = processes.run(command, seconds=0.3, log=tmp_path / "log", folder=tmp_path)
    assert done.code is None
    child, text = done.output.split()
    assert text == "waiting"
    until = time.monotonic() + 5
    while state(int(child)) not in ("", "Z") and time.monotonic() < until:
        time.sleep(0.01)
    assert state(int(child)) in ("", "Z")


def test_commands_end_with_their_code_and_output(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os, sys; print(os.environ['COLOUR']); print('x' * 9000); sys.exit(7)"]
    done = processes.run(command, seconds=20, log=tmp_path / "log", folder=tmp_path, environment={"COLOUR": "red"})
    assert done.code == 7
    assert done.output.startswith("red\n")
    assert len(done.tail) <= processes.TAIL_CHARACTERS
    missing = processes.run(["./none"], seconds=1, log=tmp_path / "log", folder=tmp_path)
    assert (missing.code, missing.output[:25]) == (127, "./none must be a program,")


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


# ---- floors


def test_floors_are_those_of_the_design() -> None:
    """The design study's table, whose numbers are rounded and count bytes a little differently."""
    small = floors.knn(32, 1024, 3, 20, floors.ASSUMED)
    assert small.limit == "arithmetic"
    assert small.seconds == pytest.approx(6.0e-6, rel=0.1)
    assert floors.knn(32, 1024, 64, 20, floors.ASSUMED).seconds == pytest.approx(8.7e-6, rel=0.02)
    large = floors.knn(1, 1_000_000, 3, 16, floors.ASSUMED)
    assert (large.limit, large.seconds) == ("memory", pytest.approx(47e-6, rel=0.1))
    samples = floors.farthest_point_sampling(32, 1024, 512, floors.ASSUMED)
    assert (samples.limit, samples.seconds) == ("chain of samples", pytest.approx(23e-6, rel=0.02))
    layer = floors.edge_conv(32, 1024, 20, 64, 64, False, floors.ASSUMED)
    assert (layer.limit, layer.seconds) == ("arithmetic", pytest.approx(8e-6, rel=0.1))


def test_every_case_has_a_floor_and_a_name_of_its_own() -> None:
    every = cases.cases(dry_run=False)
    assert len({timed.label for timed in every}) == len(every) == 19
    assert all(timed.target is not None for timed in every)
    for timed in every:
        floor = timed.floor(floors.ASSUMED)
        assert 0 < floor.seconds < timed.target, timed.label


# ---- measuring


@pytest.mark.parametrize("timed", cases.cases(dry_run=True), ids=lambda timed: timed.label)
def test_operators_are_measured(timed: cases.Timed) -> None:
    found = operators.measure(timed, CPU, floors.ASSUMED)
    assert [row["status"] for row in found["rows"]] == ["ok"] * len(found["rows"])
    assert len(found["rows"]) >= 2
    assert found["rows"][0]["ours"]
    for row in found["rows"]:
        lower, median, upper = row["call"]
        assert 0 < lower <= median <= upper


def test_copies_take_turns() -> None:
    called: list[int] = []
    contenders = [operators.Contender("a", lambda n=n: called.append(n)) for n in range(3)]  # type: ignore[misc]
    contender = operators.rotated(contenders)
    for _ in range(5):
        contender.call()
    assert called == [0, 1, 2, 0, 1]


class FixedClock:
    """Every call takes so long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def time(self, call: Callable[[], Any]) -> tuple[float, Any]:
        return self.seconds, call()


def test_a_long_sampling_is_timed_in_part() -> None:
    timed = cases.Timed(fps_bench.BENCHMARK, fps_bench.Case("cube", 1, 3000, 2000), 1.0)
    assert operators.shortened(timed, Settings(), FixedClock(0.001)) == (timed, 1.0)
    shorter, scale = operators.shortened(timed, Settings(), FixedClock(0.1))  # 20 samples: 2000 would take 10 s
    assert (shorter.case.samples, scale) == (100, 20.0)
    plan = replace(CPU, clock=FixedClock(0.1), budget=replace(timing.QUICK, slow=9.0))
    found = operators.measure(timed, plan, floors.ASSUMED)
    assert found["note"].startswith("timed with 100 samples, times 20")
    assert found["rows"][0]["call"][1] == pytest.approx(2.0)


def test_training_step_is_that_of_plain_layers() -> None:
    found = training.measure(CPU)
    assert found["losses_agree"], found["losses"]
    assert [row["contender"] for row in found["rows"]] == ["pointkernels", "plain PyTorch"]


def test_the_sanitizers_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exercise.exercise("cpu")
    assert capsys.readouterr().out.endswith(exercise.DONE + "\n")


# ---- workers


def task(output: Path, **values: Any) -> worker.Task:
    return worker.Task(
        **{"part": "operators", "device": "cpu", "output": output, "seconds": 60.0, "machine": {}} | values
    )


def test_a_worker_goes_on_behind_the_case_that_broke_the_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    labels = [timed.label for timed in cases.cases(dry_run=True)]
    measured: list[str] = []

    def measure(timed: cases.Timed, *_: Any) -> dict[str, Any]:
        measured.append(timed.label)
        if timed.label == labels[1]:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")
        return {"rows": []}

    monkeypatch.setattr(worker, "measure", measure)
    monkeypatch.setattr(worker, "device_works", lambda _: measured[-1] != labels[1])
    output = tmp_path / "found.json"
    assert worker.work(task(output)) == worker.BROKEN
    assert worker.work(task(output)) == 0
    assert measured == labels
    found = json.loads(output.read_text())["cases"]
    assert [case["case"] for case in found] == labels
    assert found[1]["error"] == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert "error" not in found[2]


def test_a_worker_whose_process_dies_leaves_the_name_of_the_case(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def die(*_: Any) -> None:
        raise SystemExit(9)

    monkeypatch.setattr(worker, "measure", die)
    with pytest.raises(SystemExit):
        worker.work(task(tmp_path / "found.json"))
    (case,) = json.loads((tmp_path / "found.json").read_text())["cases"]
    assert case["error"] == "the process ended in this case"


def test_a_worker_without_time_says_so(tmp_path: Path) -> None:
    assert worker.work(task(tmp_path / "found.json", seconds=-1.0)) == 0
    found = json.loads((tmp_path / "found.json").read_text())["cases"]
    assert {case["note"] for case in found} == {"no time was left"}


# ---- parts


def context(folder: Path, dry_run: bool = False) -> Context:
    return Context(dry_run, folder, Report({}), "9.0")


def test_a_broken_worker_is_started_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = {"contender": "pointkernels", "ours": True, "status": "wrong", "note": "other neighbours"}
    contents = [[{"case": "a", "rows": [], "error": "E: broken"}]]
    contents.append([*contents[0], {"case": "b", "rows": [row]}])
    names: list[str] = []

    def run(self: Context, name: str, command: list[str], seconds: float) -> Finished:
        (tmp_path / "operators.json").write_text(json.dumps({"cases": contents[len(names)]}))
        names.append(name)
        assert float(command[-1]) <= seconds
        return Finished(worker.BROKEN if len(names) == 1 else 0, 1.0, "some log")

    monkeypatch.setattr(Context, "run", run)
    found = parts.measured("operators")(context(tmp_path), 60)
    assert names == ["operators-0", "operators-1"]
    assert (found.status, found.note) == ("failed", "a: E: broken; pointkernels on b: other neighbours")
    assert found.log == "some log"


def test_a_worker_that_never_starts_is_not_tried_forever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names: list[str] = []

    def run(self: Context, name: str, command: list[str], seconds: float) -> Finished:
        names.append(name)
        return Finished(1, 1.0, "ModuleNotFoundError: rich")

    monkeypatch.setattr(Context, "run", run)
    assert parts.measured("training")(context(tmp_path), 60).status == "failed"
    assert names == ["training-0"]


def test_what_the_sanitizer_finds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    logs = {"memcheck": CLEAN, "racecheck": RACE, "initcheck": CLEAN, "synccheck": CLEAN}

    def run(self: Context, name: str, command: list[str], seconds: float, **environment: str) -> Finished:
        return Finished(None if name == "synccheck" else 0, 1.0, logs[name])

    monkeypatch.setattr(Context, "run", run)
    monkeypatch.setattr(sanitizer, "find", lambda: "cs")
    found = parts.check_with_sanitizer(context(tmp_path), 60)
    assert found.status == "failed"
    assert {tool: outcome["status"] for tool, outcome in found.found.items()} == {
        "memcheck": "ok", "racecheck": "failed", "initcheck": "ok", "synccheck": "timed out",
    }  # fmt: skip
    monkeypatch.setattr(sanitizer, "find", lambda: None)
    assert parts.check_with_sanitizer(context(tmp_path), 60).status == "unavailable"


def test_machine_constants_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outputs = iter(["", '{"copy_bandwidth": 4e12}', "", "oops"])
    monkeypatch.setattr(Context, "run", lambda *_: Finished(0, 1.0, next(outputs)))
    found = parts.machine(context(tmp_path), 60)
    assert (found.status, found.found) == ("ok", {"copy_bandwidth": 4e12})
    assert parts.machine(context(tmp_path), 60).status == "failed"


JUNIT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="tests.test_knn" name="test_a[cuda]"/>
<testcase classname="tests.test_knn" name="test_b[cuda]"><failure message="x"/></testcase>
<testcase classname="" name="tests.test_c"><error message="collection failure"/></testcase>
<testcase classname="tests.test_knn" name="test_d[cuda]"><skipped/></testcase>
</testsuite></testsuites>"""


def test_results_of_the_tests(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text(JUNIT)
    assert parts.read_junit(tmp_path / "junit.xml") == {
        "failed": 2, "skipped": 1, "passed": 1, "failures": ["tests.test_knn::test_b[cuda]", "::tests.test_c"],
    }  # fmt: skip
    assert parts.read_junit(tmp_path / "none.xml") == {}


def test_no_test_on_the_gpu_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Context, "run", lambda *_, **__: Finished(5, 1.0, "no tests ran"))
    found = parts.suite(context(tmp_path), 60)
    assert found.status == "failed"
    assert "no test ran on the GPU" in found.note


@pytest.mark.parametrize(
    ("info", "status", "note"),
    [
        ({"available": True, "cuda": "13.0", "works": True}, "ok", ""),
        ({"available": True, "cuda": "", "file": "/old/_C.so"}, "failed", "pointkernels was imported from /old/_C.so"),
        ({"available": False, "cuda": "13.0"}, "failed", "torch finds no GPU"),
        ({"available": True, "cuda": "13.0", "works": False}, "failed", "kNN on the GPU is not that of the CPU"),
        (None, "failed", "the build cannot be imported"),
    ],
)
def test_a_build_is_looked_at(
    info: dict[str, Any] | None, status: str, note: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: dict[str, dict[str, str]] = {}

    def run(self: Context, name: str, command: list[str], seconds: float, **environment: str) -> Finished:
        ran[name] = environment
        return Finished(0, 1.0, "" if info is None else f"noise\nfound:{json.dumps(info)}\n")

    monkeypatch.setattr(Context, "run", run)
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    found = parts.build(context(tmp_path), 60)
    assert found.status == status
    assert found.note.startswith(note)
    assert ran["build"]["TORCH_CUDA_ARCH_LIST"] == "9.0"
    assert list(ran) == ["build", "verify"]


# ---- the report


def some_parts(monkeypatch: pytest.MonkeyPatch, seconds: float, *behaviours: Callable[..., Finding]) -> list[Finding]:
    named = [Part(f"part{n}", behaviour, 10.0) for n, behaviour in enumerate(behaviours)]
    monkeypatch.setattr(gpu_report, "PARTS", named)
    found: list[Finding] = []
    options = Namespace(skip=["build", "part1"], seconds=seconds)
    gpu_report.run_parts(options, context(Path()), found.append)
    return found


def test_a_part_that_fails_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[float] = []

    def good(_: Context, seconds: float) -> Finding:
        times.append(seconds)
        return Finding("good", "ok")

    def bad(*_: Any) -> Finding:
        raise KeyError("rows")

    found = some_parts(monkeypatch, 480.0, bad, good, good, good)
    assert [f.status for f in found] == ["skipped", "failed", "skipped", "ok", "ok"]
    assert found[1].note == "KeyError: 'rows'"
    assert "in bad" in found[1].log
    assert times == [pytest.approx(470, abs=5), pytest.approx(480, abs=5)]  # what others do not need


def test_no_part_begins_without_time(monkeypatch: pytest.MonkeyPatch) -> None:
    found = some_parts(monkeypatch, 0.001, lambda *_: time.sleep(0.05) or Finding("a", "ok"))  # type: ignore[func-returns-value]
    assert [f.status for f in found] == ["skipped", "ok"]
    found = some_parts(monkeypatch, 1e-9, lambda *_: Finding("a", "ok"))
    assert (found[1].status, found[1].note) == ("skipped", "no time was left")


def full_report() -> Report:
    call = [1e-5, 2e-5, 3e-5]
    row = {"contender": "pointkernels", "ours": True, "status": "ok", "note": "", "call": call, "device": [1e-5] * 3}
    other = {"contender": "torch | x", "ours": False, "status": "failed", "note": "OutOfMemoryError: 40 GB"}
    case = {"case": "knn a", "floor": 5e-6, "floor_by": "memory", "target": 1e-5, "rows": [row, other], "note": "n"}
    empty = {"case": "knn b", "rows": [], "error": "E: x"}
    step = {
        "case": "step",
        "shape": "s",
        "rows": [{"contender": "pointkernels", "call": call, "peak_memory": 5_000_000}],
    }
    outcome = {"status": "failed", "note": "a", "errors": ["e"], "others": 0}
    return Report({"GPU": "One", "not installed": ""}, [
        Finding("machine", "ok", found={"copy_bandwidth": 4.3e12, "cluster_barrier": 0.0, "name": "One"}),
        Finding("suite", "failed", 3.0, "a note", (), {"passed": 1, "failed": 1, "skipped": 0, "failures": ["t::x"]}),
        Finding("operators", "ok", found={"cases": [case, empty]}),
        Finding("training", "ok", found={"cases": [step]}),
        Finding("sanitizer", "failed", found={"racecheck": outcome}),
    ])  # fmt: skip


def test_the_report_in_markdown() -> None:
    text = markdown.render(full_report())
    assert "- GPU: One" in text
    assert "not installed" not in text
    assert "| suite | failed | 3 | a note |" in text
    assert "| copy, read and written | 4.3 TB/s |" in text
    assert "cluster" not in text
    assert "| knn a | pointkernels | 20 | 10 | 1x | 1x | 5 (memory) | 2x | n |" in text
    assert "| knn a | torch / x |  |  |  |  |  |  | failed: OutOfMemoryError: 40 GB |" in text
    assert "| knn b |  |  |  |  |  |  |  | E: x |" in text
    assert "| pointkernels | 20 | 1x | 5 |" in text
    assert "- t::x" in text
    assert "| racecheck | failed | 1 | a |" in text
    assert markdown.render(Report({})).startswith("# GPU report")


def test_the_report_in_json(tmp_path: Path) -> None:
    report = Report({}, [Finding("a", "ok", found={"x": [math.inf, 1.0]})])
    findings.write(tmp_path / "new" / "report.json", report.as_json())
    content = json.loads((tmp_path / "new" / "report.json").read_text())
    assert content["findings"][0]["found"] == {"x": ["inf", 1.0]}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--skip", "nonsense"], "invalid choice: 'nonsense'"),
        (["--seconds", "0"], "--seconds must be positive, got 0"),
        (["--output", __file__], "--output must be a folder, got "),
    ],
)
def test_wrong_arguments_of_the_report(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_report.parse_arguments(arguments)
    assert message in capsys.readouterr().err


def test_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu_report, "gpu", dict)
    assert gpu_report.main([]) == 1
    assert "must find a GPU, found none (--dry-run needs none)" in capsys.readouterr().err


def test_the_report_starts_without_torch() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import gpu_report; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, str(Path(gpu_report.__file__).parent)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def test_dry_run(tmp_path: Path) -> None:
    """From end to end, with one worker; the tests above run the others in this process."""
    command = [sys.executable, gpu_report.__file__, "--dry-run", "--output", str(tmp_path)]
    done = subprocess.run([*command, "--only", "machine", "training"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {f["part"]: f["status"] for f in json.loads((tmp_path / "dry-run.json").read_text())["findings"]}
    skipped = dict.fromkeys(["build", *(part.name for part in parts.PARTS)], "skipped")
    assert found == {**skipped, "machine": "dry run", "training": "dry run"}
    assert (tmp_path / "dry-run.md").read_text() in done.stdout
