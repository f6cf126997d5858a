"""A whole case of a benchmark: wrong, failing, slow and absent contenders, and numbers of threads."""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ball_query_bench
import edgeconv_bench
import fps_bench
import knn_bench
import neighborhood_bench
import pytest
import torch
from harness import contenders, measuring, runner, timing
from harness.contenders import Contender, LeftOut, Settings
from harness.records import Measurement
from peers import knn as knn_peers
from rich.console import Console
from torch import Tensor

from pointkernels import knn

QUICK = Settings(quick=True)
BENCHMARKS = [
    module.BENCHMARK for module in (knn_bench, fps_bench, edgeconv_bench, ball_query_bench, neighborhood_bench)
]


def measured_rows(options: dict[str, Any], **builders: Any) -> list[Measurement]:
    case = knn_bench.cases(QUICK)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn_peers, "BUILDERS", {"pointkernels": knn_peers.pointkernels_knn, **builders})
        return measuring.measure(knn_bench.BENCHMARK, case, QUICK, Console(quiet=True), with_memory=False, **options)


def measured(**builders: Any) -> dict[str, Measurement]:
    return {row.contender: row for row in measured_rows({}, **builders)}


def wrong_peer(points: Tensor, k: int, settings: Settings) -> Contender:
    return Contender("wrong peer", lambda: knn(points, k + 1)[:, :, 1:])


def failing_peer(points: Tensor, k: int, settings: Settings) -> Contender:
    def call() -> Tensor:
        raise MemoryError("too much\nand more")

    return Contender("failing peer", call)


def absent_peer(points: Tensor, k: int, settings: Settings) -> Contender:
    contenders.require("a_library_that_is_not_there")
    raise AssertionError


def test_disagreement_is_an_error_and_not_timed() -> None:
    rows = measured(wrong=wrong_peer, failing=failing_peer, absent=absent_peer, cdist=knn_peers.torch_cdist)
    assert rows["wrong peer"].status == "wrong"
    assert rows["wrong peer"].note.startswith("neighbours must be the nearest")
    assert rows["wrong peer"].median is None
    assert (rows["failing peer"].status, rows["failing peer"].note) == ("failed", "MemoryError: too much")
    assert (rows["absent"].status, rows["absent"].note) == ("left out", "not installed")
    assert (rows["pointkernels"].status, rows["pointkernels"].ratio) == ("ok", 1.0)
    cdist = rows["torch cdist+topk"]
    assert (cdist.status, cdist.rounds >= 1) == ("ok", True)
    assert 0 < cdist.lower <= cdist.median <= cdist.upper  # type: ignore[operator]


@pytest.mark.parametrize(("peer", "code"), [(wrong_peer, 1), (failing_peer, 0), (absent_peer, 0)])
def test_exit_code(peer: Any, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(knn_peers, "BUILDERS", {"pointkernels": knn_peers.pointkernels_knn, "peer": peer})
    assert runner.run(knn_bench.BENCHMARK, ["--quick", "--no-memory", "--shapes", "cube"]) == code
    printed = " ".join(capsys.readouterr().out.split())
    assert ("WRONG: wrong peer on 2x200x3 k=8 cube: neighbours" in printed) == (code == 1)
    assert ("not installed: peer" in printed) == (peer is absent_peer)


def test_numbers_of_threads_share_rounds() -> None:
    used = []

    def slow_peer(points: Tensor, k: int, settings: Settings) -> Contender:
        def call() -> Tensor:
            used.append((settings.threads, torch.get_num_threads()))
            time.sleep(0.02)
            return knn(points, k)

        return Contender("slow peer", call)

    options = {"threads": (1, 2), "fastest": 1}
    rows = {(r.contender, r.threads): r for r in measured_rows(options, slow=slow_peer, cdist=knn_peers.torch_cdist)}
    for row in (rows["pointkernels", 2], rows["torch cdist+topk", 2]):
        assert 0 < row.speedup_lower <= row.speedup <= row.speedup_upper  # type: ignore[operator]
        assert row.rounds == rows[row.contender, 1].rounds
    assert rows["pointkernels", 1].speedup is None
    assert rows["pointkernels", 2].ratio == rows["pointkernels", 1].ratio == 1.0
    assert rows["slow peer", 2].note == "slower than others with fewer threads"
    assert set(used) == {(1, 1)}
    measured_rows({"threads": (1, 2)}, slow=slow_peer)
    assert set(used) == {(1, 1), (2, 2)}


def test_slow_contenders_are_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "QUICK", replace(timing.QUICK, slow=0.0))
    rows = measured(cdist=knn_peers.torch_cdist)
    cdist = rows["torch cdist+topk"]
    assert (cdist.status, cdist.rounds, cdist.ratio is None, cdist.ratio_lower) == ("single call", 1, False, None)
    assert (rows["pointkernels"].status, rows["pointkernels"].rounds > 1) == ("ok", True)


def test_no_peer_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = ("scipy", "sklearn", "pykdtree", "pynanoflann", "faiss", "pykeops", "torch_cluster", "pytorch3d",
             "fpsample", "torch_fpsample", "torch_quickfps", "torch_geometric")  # fmt: skip
    for name in [n for n in sys.modules if n.split(".")[0] in peers]:
        monkeypatch.delitem(sys.modules, name)
    for name in peers:
        monkeypatch.setitem(sys.modules, name, None)
    for benchmark in BENCHMARKS:
        problem = benchmark.problem(benchmark.cases(QUICK)[0], QUICK)
        assert {c.package for c in problem.contenders} == {"pointkernels", "torch"}
        assert set(problem.left_out.values()) <= {"not installed", "asked for with --compile", "runs on cuda only"}


def test_reasons_to_leave_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_peer.py").write_text("raise OSError('undefined symbol\\nmore')")
    (tmp_path / "needy_peer.py").write_text("import a_library_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LeftOut, match=r"^installed, but does not load: OSError: undefined symbol$"):
        contenders.require("broken_peer")
    with pytest.raises(LeftOut, match=r"^installed, but needs a_library_that_is_not_there, which is not$"):
        contenders.require("needy_peer")
    with pytest.raises(LeftOut, match=r"its matrices of all pairs would take 68\.7 GB"):
        knn_peers.torch_cdist(torch.empty(1, 1, 3).expand(1, 131072, 3), 20, Settings())
    monkeypatch.setenv("POINTKERNELS_SHARED", str(tmp_path))
    with pytest.raises(LeftOut, match="needs the real scans; set POINTKERNELS_SHARED"):
        knn_bench.problem(knn_bench.Case("stanford_bunny", 1, 100, 3, 4), QUICK)


def test_cases_have_names_and_are_made_alike_every_time() -> None:
    """The memory of a contender is measured on a problem that another process finds by its label and makes anew."""
    for benchmark in BENCHMARKS:
        for settings in (QUICK, Settings(), Settings(large=True)):
            labels = [case.label for case in benchmark.cases(settings)]
            assert len(set(labels)) == len(labels) > 0
    for benchmark in (knn_bench.BENCHMARK, fps_bench.BENCHMARK, ball_query_bench.BENCHMARK):
        for case in benchmark.cases(QUICK):
            first, second = (benchmark.problem(case, QUICK).contenders[0].call() for _ in range(2))
            assert torch.equal(first, second)


def test_a_reference_in_chunks_is_that_of_all_queries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.rand(2, 50, 3)
    settings = Settings(device="cuda")  # which it is for; the points are on the CPU here
    with pytest.raises(LeftOut, match="all queries at once fit"):
        knn_peers.torch_in_chunks(points, 5, settings)
    monkeypatch.setattr(knn_peers, "MEMORY_LIMIT", 2 * 50 * 4 * 2 * 7)  # seven queries at a time
    assert torch.equal(knn_peers.torch_in_chunks(points, 5, settings).call(), knn(points, 5))


def test_every_module_can_be_imported() -> None:
    """Also those that only a GPU machine or a person runs."""
    folder = Path(knn_bench.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        importlib.import_module(".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__"))
