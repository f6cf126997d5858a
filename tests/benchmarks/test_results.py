"""Command line, files and pages of the benchmarks, and each of them from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ball_query_bench
import edgeconv_bench
import fps_bench
import knn_bench
import neighborhood_bench
import pytest
import report
from harness import memory, records, runner, tables
from harness.records import Measurement, Run

from pointkernels import build_info


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--shapes", "nonsense"], "--shapes must be parts of labels, got nonsense; the labels are"),
        (["--threads", "1,x"], "must be numbers of at least 1, separated by commas, got 1,x"),
        (["--seconds", "0"], "must be a positive number, got 0"),
        (["--isa", "sse9"], "--isa must name some of "),
        (["--update", "{folder}/none.json"], "--update: a result must be a JSON file of the benchmarks, got "),
        (["--output", "{folder}"], "--output must be a file, got the folder"),
        (["--output", "{folder}/file/x.json"], "--output must be a file that can be written, got "),
    ],
)
def test_wrong_arguments(arguments: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    with pytest.raises(SystemExit):
        runner.run(knn_bench.BENCHMARK, ["--quick", *arguments])
    assert error in capsys.readouterr().err


def test_pointkernels_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quick", "--no-memory", "--shapes", "cube", "--alone", "--threads", "1,2"]
    assert runner.run(knn_bench.BENCHMARK, [*arguments, "--output", str(tmp_path / "alone.json")]) == 0
    capsys.readouterr()
    found = records.load(tmp_path / "alone.json")
    assert {(r.contender, r.threads) for r in found.measurements if r.median is not None} == {
        ("pointkernels", 1),
        ("pointkernels", 2),
        (records.YARDSTICK, 1),
        (records.YARDSTICK, 2),
    }
    machine = {r.threads: r.speedup for r in found.measurements if r.yardstick}
    assert machine[1] is None
    assert machine[2] is not None
    table = tables.markdown(found)
    assert ", pointkernels alone" in table
    assert "Times faster than with 1 thread(s)" in table
    assert "fastest other" not in table


def row(contender: str, median: float | None, **values: Any) -> Measurement:
    values = {"status": "ok", "rounds": 3, "lower": median, "upper": median, "ratio": 2.0, **values}
    return Measurement("8x1 cube", {"batch": 8}, 1, contender, median=median, **values)


def some_run() -> Run:
    rows = (
        row("pointkernels", 0.001, ratio=1.0, peak_memory=2_000_000),
        replace(row("pointkernels", 0.0005, speedup=2.0, speedup_lower=1.5, speedup_upper=2.25), threads=2),
        row("tree h=3", 0.004, family="tree"),
        row("tree h=5", 0.002, family="tree", ratio_lower=1.5, ratio_upper=2.5),
        row("bad", None, status="wrong", note="indices must be right", rounds=0),
        row("gone", None, status="left out", note="not installed", rounds=0),
    )
    about = {"device": "cpu", "device_name": "A CPU", "cpu": "A CPU", "cpus": 2, "isa": "avx2", "commit": "0" * 40,
             "versions": {"torch": "2.10"}, "date": "2026-01-01T00:00:00+00:00", "command": "python x.py"}  # fmt: skip
    return Run("knn", "nearest neighbours", about, (3.5, 4.0), rows)


def test_files_give_back_what_was_saved(tmp_path: Path) -> None:
    """A line a measurement, without the fields that say nothing; with all of them a file reads the same."""
    path = tmp_path / "new" / "x.json"
    records.save(some_run(), path)
    assert records.load(path) == some_run()
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]
    lines = [line for line in path.read_text().splitlines() if "contender" in line]
    assert len(lines) == len(some_run().measurements)
    assert "null" not in path.read_text()
    path.write_text(json.dumps(asdict(some_run()), indent=1))
    assert records.load(path) == some_run()


def test_cases_that_were_measured_again_replace_the_old_ones() -> None:
    other = replace(row("pointkernels", 0.1), case="other")
    old = replace(some_run(), measurements=(*some_run().measurements, other))
    again, added = row("pointkernels", 0.2), replace(row("pointkernels", 0.3), case="added")
    new = replace(old, environment={**old.environment, "command": "python y.py"}, measurements=(added, again))
    found = records.updated(old, new)
    assert found.measurements == (again, other, added)
    assert found.environment["command"] == "python x.py && python y.py"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"measurements": [{}], "load_average": []}'])
def test_files_that_are_no_results(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(FileNotFoundError, match=r"must be a JSON file of the benchmarks, got .*x\.json, which is not"):
        records.load(path)
    path.write_text(content)
    with pytest.raises(ValueError, match=r"a result must be a JSON file of the benchmarks, got .*x\.json: "):
        records.load(path)


def test_markdown() -> None:
    text = tables.markdown(some_run())
    assert "| 8x1 cube | 1 | 1 (1 to 1) | tree h=5 | 2 (2 to 2) | 2x (1.5 to 2.5) |" in text
    assert "| case | threads | pointkernels | tree |" in text
    assert "| 8x1 cube | 1 | 2.0 |  |" in text  # MB
    assert text.count("| 8x1 cube | 2 | 2.00x (1.50 to 2.25) |") == 1
    assert "Not installed: gone." in text
    assert "**wrong**: bad on 8x1 cube: indices must be right" in text
    assert "(the machine was doing other work: trust the ratios, not the times)" in text


def test_the_pages_are_what_the_results_give() -> None:
    found = {path.name: path.read_text() for path in records.RESULTS.glob("*.md")}
    assert found == report.pages(records.load(path) for path in sorted(records.RESULTS.glob("*.json")))


@pytest.mark.parametrize("path", sorted(records.RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_committed_results_are_as_they_are_saved(path: Path, tmp_path: Path) -> None:
    records.save(records.load(path), tmp_path / "x.json")
    assert (tmp_path / "x.json").read_text() == path.read_text()


@pytest.mark.parametrize(
    ("benchmark", "reference", "extra"),
    [
        (knn_bench, "torch cdist+topk", ["--isa", ",".join(build_info()["isas_usable"])]),
        (fps_bench, "torch loop", ["--threads", "1,2"]),
        (edgeconv_bench, "Conv2d+BatchNorm2d+max (DGCNN)", []),
        (ball_query_bench, "torch cdist+topk", []),
        (neighborhood_bench, "torch indexing", []),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_benchmark(
    benchmark: Any, reference: str, extra: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    assert runner.run(benchmark.BENCHMARK, ["--quick", "--no-memory", "--output", str(path), *extra]) == 0
    found = records.load(path)
    rows = found.measurements
    assert found.environment["isa"] in build_info()["isas_usable"]
    assert {m.status for m in rows} <= {"ok", "left out"}
    assert {m.package for m in rows if m.status == "ok"} - {None} <= found.environment["versions"].keys()
    ours = [m for m in rows if m.ours]
    isas = 1 if "--isa" not in extra else len(build_info()["isas_usable"])
    threads = 1 if "--threads" not in extra else 2
    assert len(ours) == isas * threads * len({m.case for m in rows})
    for m in [*ours, *(m for m in rows if m.contender == reference)]:
        assert 0 < m.lower <= m.median <= m.upper  # type: ignore[operator]
        assert m.ratio_lower <= m.ratio <= m.ratio_upper  # type: ignore[operator]
    capsys.readouterr()
    assert report.main([str(path)]) == 0
    printed = capsys.readouterr().out
    assert all(f"| {m.case} | {m.threads} |" in printed for m in rows)


def test_a_program_from_end_to_end(tmp_path: Path) -> None:
    """As a user starts it, from elsewhere, with peak memory."""
    path = tmp_path / "result.json"
    script = Path(knn_bench.__file__)
    command = [sys.executable, "-W", "ignore", str(script), "--quick", "--shapes", "cube", "--output", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = records.load(path)
    assert "benchmarks/knn_bench.py --quick --shapes cube --output" in found.environment["command"]
    ours = next(m for m in found.measurements if m.ours)
    assert ours.case in done.stdout
    assert (ours.peak_memory is not None) == memory.peak_can_be_reset(), ours.note
