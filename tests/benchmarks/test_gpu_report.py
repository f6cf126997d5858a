"""The GPU report without a GPU: processes, parts, tables, the command line and its dry run."""

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

import gpu_report
import pytest
import torch
from gpu import context as shared
from gpu import findings, markdown, parts, processes, suite, worker
from gpu.context import Context
from gpu.findings import Finding, Report
from gpu.parts import Part
from gpu.processes import Finished

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


# ---- parts


def context(folder: Path, dry_run: bool = False) -> Context:
    return Context(dry_run, folder, Report({}), "9.0")


def test_a_broken_worker_is_started_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = {"contender": "pointkernels", "ours": True, "status": "wrong", "note": "other neighbours"}
    contents = [[{"case": "a", "rows": [], "error": "E: broken"}]]
    contents.append([*contents[0], {"case": "b", "rows": [row]}])
    names: list[str] = []

    def run(self: Context, name: str, command: list[str], seconds: float) -> Finished:
        (tmp_path / "operators-running.json").write_text(json.dumps({"cases": contents[len(names)]}))
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


def test_machine_constants_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outputs = iter(["", '{"copy_bandwidth": 4e12}', "", "oops", "", '{"copy_bandwidth": 4e12, "launch": 0}'])
    monkeypatch.setattr(Context, "run", lambda *_: Finished(0, 1.0, next(outputs)))
    found = parts.machine(context(tmp_path), 60)
    assert (found.status, found.found) == ("ok", {"copy_bandwidth": 4e12})
    assert parts.machine(context(tmp_path), 60).status == "failed"
    found = parts.machine(context(tmp_path), 60)
    assert (found.status, found.note[:51]) == ("failed", "constants must lie within what a GPU can have: laun")
    assert found.found == {"copy_bandwidth": 4e12}  # no floor is computed from the other


JUNIT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="tests.test_knn" name="test_a[cuda]"/>
<testcase classname="tests.test_knn" name="test_b[cuda]"><failure message="x"/></testcase>
<testcase classname="" name="tests.test_c"><error message="collection failure"/></testcase>
<testcase classname="tests.test_knn" name="test_d[cuda]"><skipped/></testcase>
</testsuite></testsuites>"""


def test_results_of_the_tests(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text(JUNIT)
    assert suite.read_junit(tmp_path / "junit.xml") == {
        "failed": 2, "skipped": 1, "passed": 1, "on_gpu": 1,
        "failures": ["tests.test_knn::test_b[cuda]", "::tests.test_c"],
    }  # fmt: skip
    assert suite.read_junit(tmp_path / "none.xml") == {}


def test_no_test_on_the_gpu_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Context, "run", lambda *_, **__: Finished(5, 1.0, "no tests ran"))
    found = suite.suite(context(tmp_path), 60)
    assert found.status == "failed"
    assert "no test ran on the GPU" in found.note


@pytest.mark.parametrize(
    ("name", "status"),
    [("test_a[cuda]", "ok"), ("test_a[random-cuda-8]", "ok"), ("test_cuda_build[cpu-avx2]", "failed"),
     ("test_as_on_cuda", "failed")],
)  # fmt: skip
def test_only_tests_on_the_gpu_count(name: str, status: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(*_: Any, **__: Any) -> Finished:
        (tmp_path / "junit.xml").write_text(f'<testsuite><testcase classname="t" name="{name}"/></testsuite>')
        return Finished(0, 1.0, "1 passed")

    monkeypatch.setattr(Context, "run", run)
    found = suite.suite(context(tmp_path), 60)
    assert (found.status, found.found["passed"]) == (status, 1)
    assert ("no test ran on the GPU" in found.note) == (status == "failed")


def test_the_marker_selects_no_test_by_its_name() -> None:
    """Without a GPU nothing is left; with one, only tests whose parameters say so."""
    command = [sys.executable, "-m", "pytest", "tests/test_knn.py", "tests/test_layers.py", "--collect-only", "-q"]
    done = subprocess.run([*command, "-m", suite.ON_GPU], cwd=shared.ROOT, capture_output=True, text=True)
    collected = [line for line in done.stdout.splitlines() if "::" in line]
    assert (done.returncode, bool(collected)) == ((0, True) if torch.cuda.is_available() else (5, False)), done.stdout
    assert all(suite.is_on_gpu(line) for line in collected)


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


def test_nothing_runs_behind_a_failed_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From end to end: pip fails, at once, with exit status 1 and a report that says why nothing else ran."""
    monkeypatch.setattr(gpu_report, "gpu", lambda: {"name": "A GPU", "compute_cap": "9.0"})
    monkeypatch.setattr(gpu_report, "commit", str)
    ran: list[str] = []

    def run(self: Context, name: str, *_: Any, **__: Any) -> Finished:
        ran.append(name)
        return Finished(1, 1.0, "error: no member named x")

    monkeypatch.setattr(Context, "run", run)
    assert gpu_report.main(["--output", str(tmp_path)]) == 1
    assert ran == ["build"]
    found = json.loads((tmp_path / "a-gpu.json").read_text())["findings"]
    first = [part.name for part in parts.FIRST]
    assert {f["part"]: f["status"] for f in found if f["part"] != "build"} == {p.name: "skipped" for p in parts.PARTS}
    assert [f["part"] for f in found if f["note"] == "the build failed"] == first
    ran.clear()
    assert gpu_report.main(["--output", str(tmp_path), "--skip", "build", "machine"]) == 1  # asked for: parts run
    assert "build" not in ran
    assert "suite" in ran


def test_the_build_is_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times: dict[str, float] = {}
    now = [0.0]

    def taking(name: str, seconds: float) -> Part:
        def run(_: Context, most: float) -> Finding:
            times[name] = most
            now[0] += seconds
            return Finding(name, "ok")

        return Part(name, run, 40.0)

    monkeypatch.setattr(gpu_report, "BUILD", replace(taking("build", 140.0), seconds=150.0))
    monkeypatch.setattr(gpu_report, "PARTS", [taking("a", 10.0), taking("b", 10.0)])
    monkeypatch.setattr(gpu_report, "time", Namespace(monotonic=lambda: now[0]))
    gpu_report.run_parts(Namespace(skip=[], seconds=330.0), context(Path()), lambda _: None)
    assert times == {"build": 150.0, "a": 330.0 - 140.0 - 40.0, "b": 330.0 - 140.0 - 10.0}
    assert parts.BUILD.seconds + sum(part.seconds for part in parts.FIRST) <= gpu_report.SECONDS
    assert sum(part.seconds for part in parts.SECOND) <= gpu_report.SECONDS


def test_a_report_that_is_killed_leaves_what_was_found(tmp_path: Path) -> None:
    """Every part's end, and every case of the part that is running, are on the disk by then."""
    command = [sys.executable, gpu_report.__file__, "--dry-run", "--only", "machine", "operators"]
    with subprocess.Popen([*command, "--output", str(tmp_path)], stdout=subprocess.DEVNULL) as process:
        cases = tmp_path / "dry-run-parts" / "operators-running.json"
        while process.poll() is None and not (cases.exists() and len(json.loads(cases.read_text())["cases"]) > 1):
            time.sleep(0.01)
        process.terminate()
    assert process.returncode == 143
    assert json.loads(cases.read_text())["cases"][0]["rows"]
    found = {f["part"]: f["status"] for f in json.loads((tmp_path / "dry-run.json").read_text())["findings"]}
    assert found["machine"] == "dry run"


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


def test_a_later_call_keeps_what_an_earlier_one_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By part, the newest first; its constants serve the later call's floors."""
    seen: dict[str, Any] = {}

    def part(name: str, *outcomes: Finding) -> Part:
        turns = iter(outcomes)

        def run(context: Context, seconds: float) -> Finding:
            seen[name] = context.report.found("machine")
            return next(turns)

        return Part(name, run, 10.0)

    machine = Finding("machine", "ok", found={"clock_rate": 1.9e9})
    suites = Finding("suite", "failed", note="old"), Finding("suite", "ok", note="new")
    late = part("sanitizer", Finding("sanitizer", "ok"))
    monkeypatch.setattr(gpu_report, "gpu", lambda: {"name": "A GPU", "compute_cap": "9.0"})
    monkeypatch.setattr(gpu_report, "PARTS", [part("machine", machine), part("suite", *suites), late])
    commits = iter(["first", "second", "third"])
    monkeypatch.setattr(gpu_report, "commit", lambda: next(commits))
    where = ["--output", str(tmp_path)]
    assert gpu_report.main(["--only", "machine", "suite", *where]) == 1
    assert gpu_report.main(["--only", "suite", *where]) == 0
    assert seen["suite"] == machine.found
    assert gpu_report.main(["--second", *where]) == 0
    found = {f["part"]: f for f in json.loads((tmp_path / "a-gpu.json").read_text())["findings"]}
    assert {name: f["status"] for name, f in found.items()} == {
        "build": "skipped", "machine": "ok", "suite": "ok", "sanitizer": "ok",
    }  # fmt: skip
    commits_of = {name: f["made"].split()[-1] for name, f in found.items() if name != "build"}
    assert commits_of == {"machine": "first", "suite": "second", "sanitizer": "third"}
    assert " first | " in (tmp_path / "a-gpu.md").read_text()
    (tmp_path / "a-gpu.json").write_text('{"findings": [{"part": 1}]}')  # of something else: a new report
    assert findings.earlier(tmp_path / "a-gpu.json") == []


def test_cases_of_an_earlier_call_stay_until_the_new_ones_are_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old, new = {"cases": [{"case": "old", "rows": []}]}, {"cases": [{"case": "new", "rows": []}]}
    (tmp_path / "operators.json").write_text(json.dumps(old))

    def run(self: Context, name: str, command: list[str], seconds: float) -> Finished:
        assert json.loads((tmp_path / "operators.json").read_text()) == old
        (tmp_path / "operators-running.json").write_text(json.dumps(new))
        return Finished(0, 1.0, "")

    monkeypatch.setattr(Context, "run", run)
    assert parts.measured("operators")(context(tmp_path), 60).status == "ok"
    assert json.loads((tmp_path / "operators.json").read_text()) == new
    assert not (tmp_path / "operators-running.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--skip", "nonsense"], "invalid choice: 'nonsense'"),
        (["--second", "--only", "suite"], "--second and --only must not be given both, got both"),
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
    first, *_, last = done.stdout.splitlines()
    assert str(tmp_path.resolve() / "dry-run.json") in first
    assert str(tmp_path.resolve() / "dry-run.json") in last


def test_the_two_calls_are_all_parts() -> None:
    def chosen(*arguments: str) -> list[str]:
        skip = gpu_report.parse_arguments(list(arguments)).skip
        return [part.name for part in (parts.BUILD, *parts.PARTS) if part.name not in skip]

    assert chosen() + chosen("--second") == chosen("--dry-run")
    assert chosen("--skip", "build", "suite") == ["machine", "alternatives", "kernels", "operators", "training"]
    assert gpu_report.parse_arguments([]).seconds == 330
