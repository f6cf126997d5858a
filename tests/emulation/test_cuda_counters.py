"""The ceilings of what the CUDA kernels launch and touch: red for what is added, green for what is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cuda_counters
import emulated
import pytest
import torch
from prediction import selection

import pointkernels

pytestmark = pytest.mark.emulation
ROOT = Path(__file__).resolve().parents[2]


def run(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The tool in a copy of the repository, with the package that these tests use."""
    command = [sys.executable, str(root / "tools" / "cuda_counters.py"), *arguments]
    package = str(Path(pointkernels.__file__).parents[1])
    return subprocess.run(
        command, capture_output=True, text=True, cwd=root, env={**os.environ, "PYTHONPATH": package, **environment}
    )


def test_what_is_there_is_within_its_ceilings_and_the_same_in_every_run(tmp_path: Path) -> None:
    done = [run(ROOT, "--json", str(tmp_path / name)) for name in ("a", "b")]
    assert [d.returncode for d in done] == [0, 0], done[0].stdout + done[0].stderr
    assert done[0].stdout.endswith("cases: 0 counts above their ceilings\n")
    assert done[0].stdout == done[1].stdout
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


def test_a_planted_launch_and_a_planted_stride_are_found(tmp_path: Path) -> None:
    for folder in ("csrc", "tools"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "emulated.py", tmp_path / "tests")
    plant(
        tmp_path / "csrc" / "cuda" / "used_rows.cu",
        "  return launch(used_rows_kernel,",
        "  (void)launch(used_rows_kernel, 1, dim3(kThreads), 0, stream, neighbors, rows, k, cloud_size, used);\n"
        "  return launch(used_rows_kernel,",
    )
    plant(
        tmp_path / "csrc" / "cuda" / "gather_neighbors.cu",
        "task.features[row * task.channels + channel];\n    }\n    task.result[at] = value;",
        "task.features[channel * task.cloud_size + row];\n    }\n    task.result[at] = value;",
    )
    ceilings = tmp_path / "tools" / "cuda_counters.json"
    compiler, allowed = cuda_counters.load(ceilings)
    done = run(tmp_path, POINTKERNELS_EMULATION_FOLDER=str(tmp_path / "build"))
    assert done.returncode == 1, done.stdout + done.stderr
    faults = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    launches = allowed["edge_conv of 96 x 8, 3 to 16"]["used_rows_kernel"]["launches"]
    rule = f"used_rows_kernel must have at most {launches} launches, has {launches + 1} ("
    assert any(fault.startswith(f"failed: edge_conv of 96 x 8, 3 to 16: {rule}") for fault in faults), faults
    if compiler not in done.stdout:  # else the ceilings of requests are another compiler's, and not held
        case = "failed: gather_neighbors of 160 x 8 of 32 channels: gather_neighbors_kernel<float> must have at most"
        assert any(fault.startswith(case) and "global sectors" in fault for fault in faults), faults
    assert all("used_rows" in f or "edge_conv" in f or "gather_neighbors" in f for f in faults), faults


def plant(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_faults_are_said_in_words() -> None:
    kernel = {"launches": 1, "global_requests": 10, "global_sectors": 40, "atomics": 0}
    total = {"launches": 1, "memsets": 0, "torch_launches": 3, "bytes": 100}
    allowed = {"a": {"": total, "k": kernel}}
    assert cuda_counters.faults(allowed, allowed, same_compiler=True) == []
    more = {"a": {"": {**total, "torch_launches": 4}, "k": {**kernel, "global_sectors": 41}}}
    say = f" ({cuda_counters.REGENERATE} if that is argued for)"
    torch_launches = f"a must have at most 3 torch launches, has 4{say}"
    sectors = f"a: k must have at most 40 global sectors, has 41{say}"
    each = f"a: k must have at most 4.000 global sectors a request, has 4.100{say}"
    assert cuda_counters.faults(more, allowed, same_compiler=True) == [torch_launches, sectors, each]
    fewer = {"a": {"": total, "k": {**kernel, "global_requests": 5, "global_sectors": 40}}}  # of another pattern
    assert cuda_counters.faults(fewer, allowed, same_compiler=True) == [each.replace("4.100", "8.000")]
    assert cuda_counters.faults(more, allowed, same_compiler=False) == [torch_launches]
    other = cuda_counters.faults({"b": {"": total}}, allowed, same_compiler=True)
    assert other == [
        f"b must have ceilings, has none ({cuda_counters.REGENERATE})",
        f"a: the case has ceilings, but was not counted ({cuda_counters.REGENERATE})",
        f"a: k has ceilings, but was not counted ({cuda_counters.REGENERATE})",
    ]


def test_a_file_that_holds_no_ceilings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"must be a file of ceilings .+ got: 'compiler'"):
        cuda_counters.load(tmp_path / "x.json")


def test_the_model_of_the_queue_is_what_the_kernel_does() -> None:
    """With distances in random order: how many groups of 32 candidates have one that is admitted, and the merges."""
    library = emulated.operators(90, "counters")
    points = torch.rand(1, 1024, 3, generator=torch.Generator().manual_seed(0))
    with emulated.device("forward", check="counters"):
        library.reset_counters()
        pointkernels.knn(points, 20, query=points[:, :32])
    (kernel,) = library.counters()["kernels"]
    work = {what: number / 32 for what, number in kernel["work"].items()}  # of a query
    model = selection.of_random_order(1024, 20)
    assert work["groups"] == 32
    assert work["admitting_groups"] == pytest.approx(model.admitting_groups, rel=0.06)
    assert work["merges"] == pytest.approx(model.merges + 1, rel=0.06)  # the last one takes what is left
