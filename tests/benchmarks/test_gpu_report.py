"""The GPU report without a GPU: its command line, its order and time, what it keeps and writes, its dry run."""

from __future__ import annotations

import json
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
from gpu import findings, markdown, parts
from gpu.context import Context
from gpu.findings import Finding, Report
from gpu.parts import Part
from gpu.processes import Finished


def some_parts(monkeypatch: pytest.MonkeyPatch, seconds: float, *behaviours: Callable[..., Finding]) -> list[Finding]:
    named = [Part(f"part{n}", behaviour, 10.0) for n, behaviour in enumerate(behaviours)]
    monkeypatch.setattr(gpu_report, "PARTS", named)
    found: list[Finding] = []
    options = Namespace(skip=["build", "part1"], seconds=seconds)
    gpu_report.run_parts(options, Context(False, Path(), Report({}), "9.0"), found.append)
    return found


@pytest.fixture
def _on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_report, "gpu", lambda: {"name": "A GPU", "compute_cap": "9.0"})
    monkeypatch.setattr(gpu_report, "commit", str)


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
    found = some_parts(monkeypatch, 1e-9, lambda *_: Finding("a", "ok"))
    assert (found[1].status, found[1].note) == ("skipped", "no time was left")


@pytest.mark.usefixtures("_on_a_gpu")
def test_nothing_runs_behind_a_failed_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From end to end: pip fails, at once, with exit status 1 and a report that says why nothing else ran."""
    ran: list[str] = []

    def run(self: Context, name: str, *_: Any, **__: Any) -> Finished:
        ran.append(name)
        return Finished(1, 1.0, "error: no member named x")

    monkeypatch.setattr(Context, "run", run)
    assert gpu_report.main(["--output", str(tmp_path)]) == 1
    assert ran == ["build"]
    found = json.loads((tmp_path / "a-gpu.json").read_text())["findings"]
    assert {f["part"]: f["status"] for f in found if f["part"] != "build"} == {p.name: "skipped" for p in parts.PARTS}
    assert [f["part"] for f in found if f["note"] == "the build failed"] == [part.name for part in parts.FIRST]
    ran.clear()
    assert gpu_report.main(["--output", str(tmp_path), "--skip", "build", "machine"]) == 1  # asked for: parts run
    assert ("build" in ran, "suite" in ran) == (False, True)


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
    gpu_report.run_parts(Namespace(skip=[], seconds=330.0), Context(False, Path(), Report({}), "9.0"), lambda _: None)
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


@pytest.mark.usefixtures("_on_a_gpu")
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
    monkeypatch.setattr(gpu_report, "PARTS", [part("machine", machine), part("suite", *suites)])
    commits = iter(["first", "second"])
    monkeypatch.setattr(gpu_report, "commit", lambda: next(commits))
    where = ["--output", str(tmp_path)]
    assert gpu_report.main(["--only", "machine", "suite", *where]) == 1
    assert gpu_report.main(["--only", "suite", *where]) == 0
    assert seen["suite"] == machine.found
    found = {f["part"]: f for f in json.loads((tmp_path / "a-gpu.json").read_text())["findings"]}
    assert {name: (f["status"], f["made"].split()[-1]) for name, f in found.items() if name != "build"} == {
        "machine": ("ok", "first"), "suite": ("ok", "second"),
    }  # fmt: skip
    assert " first | " in (tmp_path / "a-gpu.md").read_text()
    (tmp_path / "a-gpu.json").write_text('{"findings": [{"part": 1}]}')  # of something else: a new report
    assert findings.earlier(tmp_path / "a-gpu.json") == []


def test_the_report_in_markdown() -> None:
    call = [1e-5, 2e-5, 3e-5]
    row = {"contender": "pointkernels", "ours": True, "status": "ok", "note": "", "call": call, "device": [1e-5] * 3}
    other = {"contender": "torch | x", "ours": False, "status": "failed", "note": "OutOfMemoryError: 40 GB"}
    case = {"case": "knn a", "floor": 5e-6, "floor_by": "memory", "target": 1e-5, "rows": [row, other], "note": "n"}
    step = {
        "case": "step",
        "shape": "s",
        "rows": [{"contender": "pointkernels", "call": call, "peak_memory": 5_000_000}],
    }
    outcome = {"status": "failed", "note": "a", "errors": ["e"], "others": 0}
    text = markdown.render(Report({"GPU": "One", "not installed": ""}, [
        Finding("machine", "ok", found={"copy_bandwidth": 4.3e12, "cluster_barrier": 0.0, "name": "One"}),
        Finding("suite", "failed", 3.0, "a note", (), {"passed": 1, "failed": 1, "skipped": 0, "failures": ["t::x"]}),
        Finding("operators", "ok", found={"cases": [case, {"case": "knn b", "rows": [], "error": "E: x"}]}),
        Finding("training", "ok", found={"cases": [step]}),
        Finding("sanitizer", "failed", found={"racecheck": outcome}),
    ]))  # fmt: skip
    for line in (
        "- GPU: One",
        "| suite | failed | 3 | a note |",
        "| copy, read and written | 4.3 TB/s |",
        "| knn a | pointkernels | 20 | 10 | 1x | 1x | 5 (memory) | 2x | n |",
        "| knn a | torch / x |  |  |  |  |  |  | failed: OutOfMemoryError: 40 GB |",
        "| knn b |  |  |  |  |  |  |  | E: x |",
        "| pointkernels | 20 | 1x | 5 |",
        "- t::x",
        "| racecheck | failed | 1 | a |",
    ):
        assert line in text
    assert "cluster" not in text
    assert markdown.render(Report({})).startswith("# GPU report")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
    """From end to end, with one worker; other tests run the others in this process."""
    command = [sys.executable, gpu_report.__file__, "--dry-run", "--output", str(tmp_path)]
    done = subprocess.run([*command, "--only", "machine", "training"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {f["part"]: f["status"] for f in json.loads((tmp_path / "dry-run.json").read_text())["findings"]}
    skipped = dict.fromkeys(["build", *(part.name for part in parts.PARTS)], "skipped")
    assert found == {**skipped, "machine": "dry run", "training": "dry run"}
    assert (tmp_path / "dry-run.md").read_text() in done.stdout
    assert str(tmp_path.resolve() / "dry-run.json") in done.stdout.splitlines()[-1]


def test_the_two_calls_are_all_parts() -> None:
    def chosen(*arguments: str) -> list[str]:
        skip = gpu_report.parse_arguments(list(arguments)).skip
        return [part.name for part in (parts.BUILD, *parts.PARTS) if part.name not in skip]

    assert chosen() + chosen("--second") == chosen("--dry-run")
    assert chosen("--skip", "build", "suite") == ["machine", "alternatives", "kernels", "operators", "training"]
