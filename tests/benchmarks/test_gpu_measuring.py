"""What the workers of the GPU report measure, without a GPU: floors, operators, graphs, a training step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fps_bench
import pytest
from gpu import cases, floors, operators, training, worker
from harness import timing
from harness.contenders import Settings, Verdict

CPU = operators.plan("cpu", compiled=False)


# ---- floors


def test_floors_are_those_of_the_design() -> None:
    """The design study's table, whose numbers are rounded and count bytes a little differently."""
    machine = floors.ASSUMED
    for floor, limit, seconds, within in [
        (floors.knn(32, 1024, 3, 20, machine), "arithmetic", 6.0e-6, 0.1),
        (floors.knn(32, 1024, 64, 20, machine), "tensor cores", 8.7e-6, 0.02),
        (floors.knn(1, 1_000_000, 3, 16, machine), "comparisons", 215e-6, 0.01),
        (floors.farthest_point_sampling(32, 1024, 512, machine), "chain of samples", 23e-6, 0.02),
        (floors.edge_conv(32, 1024, 20, 64, 64, False, machine), "arithmetic", 8e-6, 0.1),
    ]:
        assert (floor.limit, floor.seconds) == (limit, pytest.approx(seconds, rel=within))
    layer, both = (floors.edge_conv_two_layer(32, 2048, 40, (64, 64, 64), way, machine) for way in (False, True))
    assert (layer.limit, both.seconds) == ("tensor cores", pytest.approx(3 * layer.seconds))
    for floor in (
        floors.gather(32, 1024, 1024, 16, 64, False, machine),
        floors.chamfer(1, 16384, 16384, machine),
        floors.ball_query(32, 1024, 512, 32, machine),
    ):
        assert floor.limit == "memory"


def test_every_case_has_a_floor_and_a_name_of_its_own() -> None:
    every = cases.cases(dry_run=False)
    assert len({timed.label for timed in every}) == len(every) == 28
    for timed in every:
        floor = timed.floor(floors.ASSUMED)
        assert 0 < floor.seconds < (timed.target or 1.0), timed.label


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


@pytest.mark.parametrize("failing", ["", "pointkernels"])
def test_time_on_the_device_is_that_of_graphs(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and those that can be captured are timed as graphs, too; a failed capture spoils the process."""

    def captured(contender: operators.Contender, calls: list[Callable[[], Any]]) -> operators.Contender:
        assert len(calls) == CPU.copies
        if contender.name == failing:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
        return replace(contender, name=contender.name + operators.GRAPH)

    monkeypatch.setattr(operators, "captured", captured)
    names = ("pointkernels", "torch cdist+topk", "reference that waits")
    contenders = [operators.Contender(name, lambda: None, "torch") for name in names]
    problem = operators.Problem(contenders, lambda *_: Verdict(), {"torch loop": "too long", "faiss": "absent"})
    timed = cases.cases(dry_run=True)[0]
    timed = replace(timed, benchmark=replace(timed.benchmark, problem=lambda *_: problem))
    found = operators.measure(timed, replace(CPU, clock=FixedClock(0.1), graphs=True), floors.ASSUMED)
    rows = {row["contender"]: row for row in found["rows"]}
    if failing:  # nothing that this process measures from here on could be trusted
        assert found["unusable"]
        text = "cannot be captured in a CUDA graph: CUDA error: operation not permitted when stream is capturing"
        assert (rows["pointkernels"]["status"], rows["pointkernels"]["note"]) == ("failed", text)
    else:
        assert found["note"] == "torch loop: too long"
        assert ["device" in row for row in rows.values()] == [True, True, False]
        assert all("call" in row for row in rows.values())


def test_training_step_is_that_of_plain_layers() -> None:
    found = training.measure(CPU)
    assert found["losses_agree"], found["losses"]
    assert [row["contender"] for row in found["rows"]] == ["pointkernels", "plain PyTorch"]


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
