"""kNN on the CPU: every way to search gives the same integers, with every instruction set, on the hard inputs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from clouds import CLOUDS, cloud
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neighbor_paths import assert_equal, random, search
from torch import Tensor

import pointkernels
from pointkernels import reference
from pointkernels._library import set_knn_path


def assert_paths_agree(points: Tensor, k: int, **options: Tensor | bool | None) -> None:
    assert_equal(search("leaves", points, k, **options), search("brute", points, k, **options))


def with_strange_points(count: int, every: int) -> Tensor:
    """Points of which some have a NaN, an infinity, or both."""
    points = random(2, count, 3)
    points[:, ::every, 1] = torch.nan
    points[:, 1::every, 0] = torch.inf
    points[1, 2::every] = -torch.inf
    points[0, 3::every, 2] = torch.inf
    points[0, 3::every, 0] = torch.nan
    return points


HARD = {
    "cube": lambda: torch.rand(1, 3000, 3, generator=torch.Generator().manual_seed(0)),
    "sphere": lambda: torch.nn.functional.normalize(random(1, 2500, 3), dim=2),
    "plane": lambda: torch.cat([random(1, 2200, 2), torch.zeros(1, 2200, 2)], dim=2),
    "line": lambda: torch.arange(2200.0)[None, :, None] * torch.tensor([0.0, 2.0, -1.0]),
    "one_coordinate": lambda: random(2, 2000, 1),
    "lattice": lambda: torch.cartesian_prod(*[torch.arange(14.0)] * 3)[torch.randperm(14**3)][None],
    "identical": lambda: torch.full((1, 2600, 3), 0.3),
    "few_places": lambda: random(1, 7, 3)[:, torch.randint(7, (2500,))],
    "pairs": lambda: random(1, 1500, 3).repeat(1, 2, 1),
    "one_far_away": lambda: torch.cat([random(1, 2500, 3), torch.full((1, 1, 3), 1e30)], dim=1),
    "far_from_origin": lambda: random(1, 2200, 3) + 1e6,
    "overflow": lambda: random(1, 1200, 3) * 1e25,
    "both_ends": lambda: random(1, 1200, 3) * 1e38,
    "denormal": lambda: random(1, 1500, 3) * 1e-42,
    "contrast": lambda: torch.cat([random(1, 2000, 3), random(1, 2000, 3) * 1e-3 + 0.5], dim=1),
    "strange": lambda: with_strange_points(1500, 7),
    "mostly_strange": lambda: with_strange_points(1200, 4),
}


@pytest.mark.parametrize("name", CLOUDS)
def test_leaves_equal_the_reference(name: str, isa: str) -> None:
    points = cloud(name)
    for k in (1, 8, min(points.shape[1], 300)):
        assert_equal(search("leaves", points, k), reference.knn(points, k))
    assert_equal(search("leaves", points, 5, include_self=False), reference.knn(points, 5, include_self=False))
    query = torch.cat([points[:, :9], torch.randn_like(points[:, :6])], dim=1)
    assert_equal(search("leaves", points, 7, query=query), reference.knn(points, 7, query=query))


@pytest.mark.parametrize("name", HARD)
def test_paths_agree_on_larger_hard_inputs(name: str, isa: str) -> None:
    torch.manual_seed(0)
    points = HARD[name]()
    if isa == "scalar":
        points = points[:, :1200]
    for k in (1, 20, 150):
        assert_paths_agree(points, k)
    assert_paths_agree(points, 9, include_self=False)
    assert_paths_agree(points, 9, query=torch.cat([random(len(points), 300, points.shape[2]), points[:, :50]], dim=1))


@pytest.mark.parametrize("name", ["cube", "few_places", "strange", "both_ends"])
def test_paths_agree_in_float64(name: str, isa: str) -> None:
    torch.manual_seed(0)
    points = HARD[name]().double()[:, :1500]
    scale = 1e270 if name == "both_ends" else 1
    assert_paths_agree(points * scale, 12)


def test_lengths_and_gaps(isa: str) -> None:
    points = with_strange_points(700, 50)
    lengths = torch.tensor([700, 130])
    assert_paths_agree(points, 6, lengths=lengths)
    assert_paths_agree(points, 6, query=random(2, 90, 3), lengths=lengths, query_lengths=torch.tensor([17, 90]))
    extents = torch.tensor([[100, 300], [450, 0], [450, 900]])
    rows = random(1400, 3)
    results = []
    for path in ("brute", "leaves"):
        set_knn_path(path)
        results.append(torch.ops.pointkernels.knn(rows, extents, None, None, 3, 5, True))
    assert_equal(results[0], results[1])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(1, 3), count=st.integers(1, 400), dims=st.integers(1, 4), k=st.integers(1, 150),
    levels=st.sampled_from([1, 2, 5, 1000, 10**7]), strange=st.booleans(), include_self=st.booleans(),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_any_cloud(
    batch: int, count: int, dims: int, k: int, levels: int, strange: bool, include_self: bool, seed: int, isa: str
) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(0, levels, (batch, count, dims), generator=generator).float()
    if strange:
        unusual = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e38, -0.0])
        chosen = torch.rand(points.shape, generator=generator) < 0.05
        points = torch.where(chosen, unusual[torch.randint(0, 5, points.shape, generator=generator)], points)
    expected = reference.knn(points, k, include_self=include_self)
    for path in ("brute", "leaves", "auto"):
        assert_equal(search(path, points, k, include_self=include_self), expected)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 1100), dims=st.integers(5, 70), k=st.integers(1, 60), levels=st.sampled_from([1, 2, 10**6]),
    offset=st.sampled_from([0.0, 1e4, 1e7]), queries=st.integers(1, 19), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_any_features(
    count: int, dims: int, k: int, levels: int, offset: float, queries: int, seed: int, isa: str
) -> None:
    """Features come in chunks of up to 1,024 and tiles of 8, and may lie far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(0, levels, (1, count, dims), generator=generator).float() / levels + offset
    query = points[:, torch.randint(0, count, (queries,), generator=generator)]
    assert_equal(pointkernels.knn(points, k, query=query, return_distance=True), reference.knn(points, k, query=query))


def test_many_chunks_of_features(isa: str) -> None:
    points = torch.cat([random(1, 2500, 6), torch.zeros(1, 1500, 6)], dim=1)
    query = points[:, ::97]
    assert_equal(
        pointkernels.knn(points, 40, query=query, return_distance=True), reference.knn(points, 40, query=query)
    )


@pytest.mark.parametrize("kind", ["leaves", "brute", "features"])
def test_threads_change_nothing(kind: str) -> None:
    """Units are claimed by whoever comes first; enough work that all threads are started (threads_worth)."""
    if kind == "leaves":
        points = torch.cat([random(1, 9000, 3), torch.zeros(1, 500, 3)], dim=1)
    else:
        points = random(3, 1500, 3 if kind == "brute" else 20)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(search("leaves" if kind == "leaves" else "brute", points, 12))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert_equal(result, results[0])


def test_many_tiny_clouds() -> None:
    points = random(4096, 32, 3)
    indices = pointkernels.knn(points, 8)
    assert torch.equal(indices[::512], reference.knn(points[::512], 8)[1])


def test_coinciding_points_are_found_in_few_leaves() -> None:
    """Half a million of them: without the order of ids every query would look at every leaf."""
    points = torch.full((1, 500_000, 3), 0.1)
    indices = search("leaves", points, 4)[1]
    assert torch.equal(indices, torch.arange(4).expand(1, 500_000, 4))


def test_an_environment_variable_chooses_the_path() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import pointkernels; print(pointkernels.build_info()['knn_path'])"],
        env={**os.environ, "POINTKERNELS_KNN_PATH": "leaves"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "leaves"
    with pytest.raises(ValueError, match="must be auto, brute, leaves or projected, got 'tree'"):
        set_knn_path("tree")


def compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


@pytest.mark.skipif(compiler() is None or shutil.which("nm") is None, reason="needs a compiler and nm")
@pytest.mark.parametrize("name", ["scalar", "avx2", "avx512"])
def test_code_for_an_instruction_set_exports_nothing_that_others_may_link(name: str, tmp_path: Path) -> None:
    """A weak symbol compiled for AVX-512 may become the copy that every machine runs."""
    source = Path(__file__).parent.parent / "csrc" / "cpu" / "builds" / f"isa_{name}.cpp"
    unoptimised = [str(compiler()), "-std=c++17", "-O0", "-w", "-c", str(source), "-o", str(tmp_path / "object.o")]
    subprocess.run(unoptimised, check=True)
    symbols = subprocess.run(["nm", "-C", tmp_path / "object.o"], capture_output=True, text=True, check=True).stdout
    assert "pointkernels::k" in symbols or os.uname().machine != "x86_64"
    assert [line for line in symbols.splitlines() if " W " in line or " V " in line] == []
