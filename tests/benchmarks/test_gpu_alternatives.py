"""The report's part that times prototypes side by side, without a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gpu import alternatives, markdown, programs
from gpu.findings import Finding, Report
from gpu.parts import PARTS, Context
from gpu.processes import Finished

CASES: list[dict[str, Any]] = [
    {"group": "g", "name": "a", "status": "ok", "seconds": 2e-5},
    {"group": "g", "name": "b", "status": "ok", "seconds": 1e-5},
    {"group": "g", "name": "c", "status": "unavailable"},
]


def outcome(monkeypatch: pytest.MonkeyPatch, folder: Path, cases: Any, dry_run: bool = False, code: int = 0) -> Finding:
    """Of the part, when its program prints these cases."""
    monkeypatch.setattr(programs, "nvcc", lambda: "nvcc")
    printed = json.dumps({"rounds": 3, "cases": cases})
    monkeypatch.setattr(Context, "run", lambda *_: Finished(code, 1.0, printed))
    return alternatives.alternatives(Context(dry_run, folder, Report({}), "9.0"), 15)


def test_cases_are_read_and_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = outcome(monkeypatch, tmp_path, CASES)
    assert (found.status, found.note, found.found["cases"]) == ("ok", "", CASES)
    text = markdown.render(Report({}, [found]))
    assert "| g | a | 20.0 | 2.00x |" in text
    assert "| g | b | 10.0 | 1.00x |" in text
    assert "| g | c | unavailable |  |" in text


@pytest.mark.parametrize(
    ("case", "note"),
    [
        ({"status": "wrong"}, "a of g: wrong"),
        ({"status": "failed"}, "a of g: failed"),
        ({"status": "ok", "seconds": 1e-9}, "a of g must take 5e-07 to 1 s, got 1e-09"),
        ({"status": "ok"}, "a of g must take 5e-07 to 1 s, got None"),
    ],
)
def test_what_is_wrong_has_no_time(
    case: dict[str, Any], note: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = outcome(monkeypatch, tmp_path, [{"group": "g", "name": "a", **case}, CASES[1]])
    assert (found.status, found.note) == ("failed", note)
    assert ["seconds" in kept for kept in found.found["cases"]] == [False, True]


def test_no_output_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert outcome(monkeypatch, tmp_path, []).status == "failed"
    assert outcome(monkeypatch, tmp_path, CASES, code=1).found == {}


def test_a_dry_run_compiles_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = outcome(monkeypatch, tmp_path, CASES, dry_run=True)
    assert (found.status, found.note, found.found) == ("dry run", "compiled, not run", {})
    assert outcome(monkeypatch, tmp_path, CASES, dry_run=True, code=1).status == "failed"


@pytest.mark.parametrize(("dry_run", "status"), [(True, "dry run"), (False, "unavailable")])
def test_without_a_compiler_the_command_is_given(
    dry_run: bool, status: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(programs, "nvcc", lambda: None)
    found = alternatives.alternatives(Context(dry_run, tmp_path, Report({}), None), 15)
    assert found.status == status
    assert "arch=compute_90,code=sm_90" in found.commands[0]


def test_it_comes_behind_the_machine() -> None:
    names = [part.name for part in PARTS]
    assert names.index("alternatives") == names.index("machine") + 1
