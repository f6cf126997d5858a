"""What the GPU report measures, without a GPU: floors, operators, graphs, a training step, workers."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import fps_bench
import pytest
import torch
from gpu import cases, floors, kernels, markdown, operators, training, worker
from harness import timing
from harness.contenders import Settings, Verdict

CPU = operators.plan("cpu", compiled=False)


# ---- floors


def test_floors_are_those_of_the_design() -> None:
    """The design study's table, whose numbers are rounded and count bytes a little differently."""
    small = floors.knn(32, 1024, 3, 20, floors.ASSUMED)
    assert small.limit == "arithmetic"
    assert small.seconds == pytest.approx(6.0e-6, rel=0.1)
    assert floors.knn(32, 1024, 64, 20, floors.ASSUMED).seconds == pytest.approx(8.7e-6, rel=0.02)
    large = floors.knn(1, 1_000_000, 3, 16, floors.ASSUMED)
    assert (large.limit, large.seconds) == ("comparisons", pytest.approx(215e-6, rel=0.01))
    samples = floors.farthest_point_sampling(32, 1024, 512, floors.ASSUMED)
    assert (samples.limit, samples.seconds) == ("chain of samples", pytest.approx(23e-6, rel=0.02))
    layer = floors.edge_conv(32, 1024, 20, 64, 64, False, floors.ASSUMED)
    assert (layer.limit, layer.seconds) == ("arithmetic", pytest.approx(8e-6, rel=0.1))


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


class FakeCuda:
    """What capturing takes of torch.cuda: a graph replays the calls that were made within it."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.capturing: list[str] | None = None
        self.calls: list[str] = []

    def called(self, name: str) -> None:
        if self.capturing is None:
            self.calls.append(name)
        elif name == self.failing:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
        else:
            self.capturing.append(name)

    @contextmanager
    def graph(self, graph: Namespace) -> Iterator[None]:
        self.capturing = graph.recorded
        yield
        self.capturing = None  # not after an error

    def new_graph(self) -> Namespace:
        recorded: list[str] = []
        return Namespace(recorded=recorded, replay=lambda: self.calls.extend(f"replayed {name}" for name in recorded))

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
        stream = Namespace(wait_stream=lambda _: None)
        monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
        monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
        monkeypatch.setattr(torch.cuda, "CUDAGraph", self.new_graph)
        monkeypatch.setattr(torch.cuda, "graph", self.graph)
        return self


def test_graphs_are_captured_warm_and_replayed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda().install(monkeypatch)
    contender = operators.Contender("ours", lambda: None)
    found = operators.captured(contender, [lambda n=n: cuda.called(n) for n in ("a", "b")])  # type: ignore[misc]
    assert found.name == "ours [graph]"
    assert cuda.calls == ["a", "a", "b", "b"]
    cuda.calls.clear()
    for _ in range(3):
        found.call()
    assert cuda.calls == ["replayed a", "replayed b", "replayed a"]


@pytest.mark.parametrize("failing", ["", "pointkernels"])
def test_time_on_the_device_is_that_of_graphs(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(failing).install(monkeypatch)
    names = ("pointkernels", "torch cdist+topk", "reference that waits")
    contenders = [operators.Contender(n, lambda n=n: cuda.called(n), n.split(" ")[0]) for n in names]  # type: ignore[misc]
    contenders[2] = replace(contenders[2], package="torch")
    problem = operators.Problem(contenders, lambda *_: Verdict(), {"torch loop": "too long", "faiss": "absent"})
    timed = cases.cases(dry_run=True)[0]
    timed = replace(timed, benchmark=replace(timed.benchmark, problem=lambda *_: problem))
    plan = replace(CPU, clock=FixedClock(0.1), graphs=True)
    found = operators.measure(timed, plan, floors.ASSUMED)
    rows = {row["contender"]: row for row in found["rows"]}
    if failing:  # nothing that this process measures from here on could be trusted
        assert found["unusable"]
        assert rows["pointkernels"]["status"] == "failed"
        text = "cannot be captured in a CUDA graph: CUDA error: operation not permitted when stream is capturing"
        assert rows["pointkernels"]["note"] == text
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


def test_floors_of_what_bytes_do_not_bound() -> None:
    """Each is of the limit that its docstring names, and grows with the work."""
    machine = floors.ASSUMED
    million = floors.knn(1, 1_000_000, 3, 16, machine)
    assert million.limit == "comparisons"
    assert million.seconds == pytest.approx(1e6 * 900 * 8 / 32 / (132 * 4 * 1.98e9))
    layer = floors.edge_conv_two_layer(32, 2048, 40, (64, 64, 64), False, machine)
    assert layer.limit == "tensor cores"
    with_gradient = floors.edge_conv_two_layer(32, 2048, 40, (64, 64, 64), True, machine)
    assert with_gradient.seconds == pytest.approx(3 * layer.seconds)
    assert floors.gather(32, 1024, 1024, 16, 64, False, machine).limit == "memory"
    assert floors.chamfer(32, 1024, 1024, machine).limit == "arithmetic"
    assert floors.chamfer(1, 16384, 16384, machine).limit == "memory"
    assert floors.ball_query(32, 1024, 512, 32, machine).limit == "memory"


# ---- kernels


def event(name: str, start: float, microseconds: float, category: str = "kernel") -> dict[str, Any]:
    arguments = {"grid": [8, 1, 1], "block": [128, 1, 1], "registers per thread": 40, "shared memory": 512}
    return {"cat": category, "name": name, "ts": start, "dur": microseconds, "args": arguments}


KNN = "void pointkernels::cuda::(anonymous namespace)::knn_kernel<float, 1>(pointkernels::cuda::KnnArguments<float>)"


def test_the_launches_of_a_call_are_read_from_a_trace() -> None:
    """In the order of the call, whatever that of the trace; what the host does is no launch."""
    calls = [
        [event("Memset (Device)", 10.0 * n, 1.0, "gpu_memset"), event(KNN, 10.0 * n + 2, 5.0 + n)] for n in range(3)
    ]
    host = {"cat": "cpu_op", "name": "aten::empty", "ts": 0.0, "dur": 99.0}
    found = kernels.read([host, *calls[1], *calls[0], *calls[2]], 3)
    assert (found["launches"], found["microseconds"]) == (2, 7)
    first, second = found["kernels"]
    assert (first["name"], first["times"], first["microseconds"]) == ("Memset", 1, 1)
    assert (second["name"], second["microseconds"]) == ("knn_kernel<float, 1>", 6)
    assert (second["grid"], second["block"], second["registers"], second["shared"]) == ([8, 1, 1], [128, 1, 1], 40, 512)


def test_calls_that_differ_are_summed_by_kernel() -> None:
    found = kernels.read([event("a", 0, 1.0), event("b", 1, 2.0), event("a", 2, 3.0)], 2)
    assert found["launches"] == 1.5
    assert [(row["name"], row["times"], row["microseconds"]) for row in found["kernels"]] == [
        ("a", 1, 2),
        ("b", 0.5, 2),
    ]


def test_kernels_of_a_case_on_a_cpu() -> None:
    """Where there are none; the profiler runs all the same."""
    found = kernels.measure(cases.cases(dry_run=True)[0], operators.plan("cpu", compiled=False))
    assert (found["launches"], found["kernels"], found["rows"]) == (0, [], [])
    text = "\n".join(markdown._kernels({"cases": [found, {"case": "x", "rows": [], "error": "E"}]}, {}))
    assert "| 0 launches |" in text
    assert "| x |  |  |  |  |  | E |" in text
