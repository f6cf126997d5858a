"""The parts of the GPU report without a GPU: processes, build, tests, workers, constants, prototypes."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from gpu import alternatives, floors, markdown, parts, processes, programs, suite, worker
from gpu.constants import CONSTANTS, sifted
from gpu.context import Context
from gpu.findings import Finding, Report
from gpu.processes import Finished

MIDDLE = {c.name: (c.lowest * c.highest) ** 0.5 / c.scale for c in CONSTANTS}


def context(folder: Path, dry_run: bool = False) -> Context:
    return Context(dry_run, folder, Report({}), "9.0")


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


# ---- build and tests


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


@pytest.mark.parametrize(
    ("name", "status"),
    [("test_a[cuda]", "ok"), ("test_a[random-cuda-8]", "ok"), ("test_cuda_build[cpu-avx2]", "failed"),
     ("test_as_on_cuda", "failed"), (None, "failed")],
)  # fmt: skip
def test_only_tests_on_the_gpu_count(
    name: str | None, status: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(*_: Any, **__: Any) -> Finished:
        if name is not None:
            (tmp_path / "junit.xml").write_text(f'<testsuite><testcase classname="t" name="{name}"/></testsuite>')
        return Finished(5 if name is None else 0, 1.0, "")

    monkeypatch.setattr(Context, "run", run)
    found = suite.suite(context(tmp_path), 60)
    assert found.status == status
    assert ("no test ran on the GPU" in found.note) == (status == "failed")


# ---- workers


def test_a_broken_worker_is_started_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And the cases of an earlier call stay until the new ones are whole."""
    row = {"contender": "pointkernels", "ours": True, "status": "wrong", "note": "other neighbours"}
    contents = [[{"case": "a", "rows": [], "error": "E: broken"}]]
    contents.append([*contents[0], {"case": "b", "rows": [row]}])
    names: list[str] = []
    (tmp_path / "operators.json").write_text('{"cases": []}')

    def run(self: Context, name: str, command: list[str], seconds: float) -> Finished:
        assert json.loads((tmp_path / "operators.json").read_text()) == {"cases": []}
        (tmp_path / "operators-running.json").write_text(json.dumps({"cases": contents[len(names)]}))
        names.append(name)
        assert float(command[-1]) <= seconds
        return Finished(worker.BROKEN if len(names) == 1 else 0, 1.0, "some log")

    monkeypatch.setattr(Context, "run", run)
    found = parts.measured("operators")(context(tmp_path), 60)
    assert names == ["operators-0", "operators-1"]
    assert (found.status, found.note) == ("failed", "a: E: broken; pointkernels on b: other neighbours")
    assert json.loads((tmp_path / "operators.json").read_text()) == {"cases": contents[1]}
    assert not (tmp_path / "operators-running.json").exists()


def test_a_worker_that_never_starts_is_not_tried_forever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names: list[str] = []
    monkeypatch.setattr(Context, "run", lambda self, name, *_: names.append(name) or Finished(1, 1.0, "no rich"))
    assert parts.measured("training")(context(tmp_path), 60).status == "failed"
    assert names == ["training-0"]


# ---- constants


def test_what_a_gpu_can_have_is_kept() -> None:
    assert sifted({**MIDDLE, "name": "One"}) == ({**MIDDLE, "name": "One"}, "")
    assumed = {name: value for name, value in floors.ASSUMED.items() if name in MIDDLE}
    assert sifted(assumed) == (assumed, "")
    lacking = {c.name: 0 for c in CONSTANTS if c.may_lack}
    assert "cluster_barrier" in lacking
    assert sifted(lacking) == (lacking, "")


@pytest.mark.parametrize(
    ("name", "value", "got"),
    [
        ("l2_latency", 3, "80 to 2000 cycles, got 3"),
        ("node_gap", -1e-6, "0.1 to 100 us, got -1"),
        ("copy_bandwidth", 1e15, "0.05 to 50 TB/s, got 1000"),
        ("clock_rate", float("nan"), "0.3 to 5 GHz, got nan"),
        ("launch", "fast", "0.3 to 200 us, got 'fast'"),
    ],
)
def test_what_no_gpu_has_is_refused(name: str, value: Any, got: str) -> None:
    kept, note = sifted({**MIDDLE, name: value})
    assert note == f"constants must lie within what a GPU can have: {name} {got}"
    assert kept == {other: number for other, number in MIDDLE.items() if other != name}


def test_machine_constants_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No floor is computed from an implausible one."""
    outputs = iter(["", '{"copy_bandwidth": 4e12}', "", "oops", "", '{"copy_bandwidth": 4e12, "launch": 0}'])
    monkeypatch.setattr(Context, "run", lambda *_: Finished(0, 1.0, next(outputs)))
    good, none, partly = (parts.machine(context(tmp_path), 60) for _ in range(3))
    assert (good.status, good.found) == ("ok", {"copy_bandwidth": 4e12})
    assert none.status == "failed"
    assert (partly.status, partly.found) == ("failed", {"copy_bandwidth": 4e12})


def test_the_program_prints_every_constant() -> None:
    source = (programs.FOLDER / "constants.cu").read_text()
    printed = set(re.findall(r'\\"(\w+)\\":', source))
    for name in ("warp_maximum", "shuffle"):
        assert f'(watch, "{name}", result)' in source
        printed |= {f"{name}_latency", *(f"{name}_of_{n}_warps" for n in (4, 8, 16))}
    printed |= {f"barrier_of_{n}" for n in (128, 256, 512, 1024)}
    assert {c.name for c in CONSTANTS} <= printed


# ---- prototypes

CASES: list[dict[str, Any]] = [
    {"group": "g", "name": "a", "status": "ok", "seconds": 2e-5},
    {"group": "g", "name": "b", "status": "ok", "seconds": 1e-5},
    {"group": "g", "name": "c", "status": "unavailable"},
]


def prototypes(monkeypatch: pytest.MonkeyPatch, folder: Path, cases: Any, dry_run: bool = False) -> Finding:
    """The part, when its program prints these cases."""
    monkeypatch.setattr(programs, "nvcc", lambda: "nvcc")
    printed = json.dumps({"rounds": 3, "cases": cases})
    monkeypatch.setattr(Context, "run", lambda *_: Finished(0, 1.0, printed))
    return alternatives.alternatives(context(folder, dry_run), 15)


def test_prototypes_are_read_and_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = prototypes(monkeypatch, tmp_path, CASES)
    assert (found.status, found.note, found.found["cases"]) == ("ok", "", CASES)
    text = markdown.render(Report({}, [found]))
    for line in ("| g | a | 20.0 | 2.00x |", "| g | b | 10.0 | 1.00x |", "| g | c | unavailable |  |"):
        assert line in text
    assert prototypes(monkeypatch, tmp_path, []).status == "failed"
    found = prototypes(monkeypatch, tmp_path, CASES, dry_run=True)
    assert (found.status, found.note, found.found) == ("dry run", "compiled, not run", {})


def test_a_wrong_prototype_has_no_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for case, note in [
        ({"status": "wrong"}, "a of g: wrong"),
        ({"status": "ok", "seconds": 1e-9}, "a of g must take 5e-07 to 1 s, got 1e-09"),
        ({"status": "ok"}, "a of g must take 5e-07 to 1 s, got None"),
    ]:
        found = prototypes(monkeypatch, tmp_path, [{"group": "g", "name": "a", **case}, CASES[1]])
        assert (found.status, found.note) == ("failed", note)
        assert ["seconds" in kept for kept in found.found["cases"]] == [False, True]


def test_without_a_compiler_the_command_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(programs, "nvcc", lambda: None)
    for dry_run, status in [(True, "dry run"), (False, "unavailable")]:
        found = alternatives.alternatives(Context(dry_run, tmp_path, Report({}), None), 15)
        assert found.status == status
        assert "arch=compute_90,code=sm_90" in found.commands[0]
