"""Ball query on the CPU: every way to search gives the same integers, on hard inputs and every instruction set."""

from __future__ import annotations

import pytest
import torch
from clouds import CLOUDS, cloud
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neighbor_paths import random
from torch import Tensor

import pointkernels
from pointkernels import reference
from pointkernels._library import build_info, set_knn_path


def search(path: str, points: Tensor, radius: float, k: int, **options: Tensor | bool) -> tuple[Tensor, Tensor]:
    set_knn_path(path)
    try:
        return pointkernels.ball_query(points, radius, k, return_distance=True, **options)
    finally:
        set_knn_path("auto")


def assert_equal(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[0], expected[0])


def assert_paths_agree(points: Tensor, radius: float, k: int, **options: Tensor | bool) -> Tensor:
    expected = search("brute", points, radius, k, **options)
    for path in ("leaves", "auto"):
        assert_equal(search(path, points, radius, k, **options), expected)
    return expected[1]


def radii(points: Tensor) -> list[float]:
    """Some that hold few points, about half of them, and all."""
    pairs = reference.squared_distances(points[0].double(), points[0, :9].double()).sqrt()
    finite = pairs[pairs.isfinite() & (pairs > 0)]
    quantiles = finite.quantile(torch.tensor([0.02, 0.5], dtype=torch.float64)).tolist() if len(finite) else []
    return [*quantiles, float("inf")]


@pytest.mark.parametrize("name", [name for name in CLOUDS if cloud(name).shape[2] <= 4])
def test_leaves_equal_the_reference(name: str, isa: str) -> None:
    points = cloud(name)[:, :300]
    for radius in radii(points):
        expected = reference.ball_query(points, radius, 6)
        assert_equal(search("leaves", points, radius, 6), expected)
    expected = reference.ball_query(points, radius, 400, include_self=False)
    assert_equal(search("leaves", points, radius, 400, include_self=False), expected)
    query = torch.cat([points[:, :9], torch.randn_like(points[:, :6])], dim=1)
    expected = reference.ball_query(points, radii(points)[0], 5, query=query)
    assert_equal(search("leaves", points, radii(points)[0], 5, query=query), expected)


HARD = {
    "cube": lambda: torch.rand(1, 3000, 3, generator=torch.Generator().manual_seed(0)),
    "lattice": lambda: torch.cartesian_prod(*[torch.arange(13.0)] * 3)[torch.randperm(13**3)][None],
    "few_places": lambda: random(1, 7, 3)[:, torch.randint(7, (2500,))],
    "identical": lambda: torch.full((1, 2600, 3), 0.3),
    "contrast": lambda: torch.cat([random(1, 2000, 3), random(1, 2000, 3) * 1e-3 + 0.5], dim=1),
    "line": lambda: random(2, 1500, 1),
    "in_order": lambda: torch.rand(1, 3000, 3, generator=torch.Generator().manual_seed(0)).sort(dim=1).values,
    "four_coordinates": lambda: random(2, 1500, 4),
    "both_ends": lambda: random(1, 1200, 3) * 1e38,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", HARD)
def test_paths_agree_on_larger_hard_inputs(name: str, dtype: torch.dtype, isa: str) -> None:
    """Balls that hold few, some and all points, so that a leaf's queries scan, walk and reduce what they collect."""
    torch.manual_seed(0)
    points = HARD[name]().to(dtype)
    if isa != build_info()["isas_usable"][-1]:
        points = points[:, :700]
    for radius in radii(points):
        for k in (1, 20, 300):
            assert_paths_agree(points, radius, k)
        assert_paths_agree(points, radius, 7, include_self=False)
    query = torch.cat([random(len(points), 200, points.shape[2]).to(dtype), points[:, :50]], dim=1)
    assert_paths_agree(points, radii(points)[0], 9, query=query)


def test_many_neighbors_are_reduced_to_the_lowest_indices(isa: str) -> None:
    """The list of leaves is short, but what they hold is more than is kept: no scan succeeds."""
    near = 0.01 * random(1, 1000, 3)
    points = torch.cat([near + 50, near], dim=1)  # the scan of a query of the second half fails in the first
    indices = assert_paths_agree(points, 1.0, 30)
    assert torch.equal(indices[0, 1000:], torch.arange(1000, 1030).expand(1000, 30))


def test_lengths_and_gaps(isa: str) -> None:
    points = random(2, 700, 3)
    points[0, ::50, 1] = torch.nan
    points[1, 3] = torch.inf
    lengths = torch.tensor([700, 130])
    assert_paths_agree(points, 0.5, 6, lengths=lengths)
    assert_paths_agree(points, 0.5, 6, query=random(2, 90, 3), lengths=lengths, query_lengths=torch.tensor([17, 90]))
    extents, query_extents = torch.tensor([[100, 300], [450, 0], [450, 900]]), torch.tensor([[9, 80], [90, 3], [93, 7]])
    rows, results = random(1400, 3), []
    for path in ("brute", "leaves"):
        set_knn_path(path)
        results.append(torch.ops.pointkernels.ball_query(rows, extents, None, None, 3, 0.1, 5, False))
        results.append(torch.ops.pointkernels.ball_query(rows, extents, rows[:120], query_extents, 3, 0.1, 5, False))
    set_knn_path("auto")
    assert_equal(results[0], results[2])
    assert_equal(results[1], results[3])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(1, 3), count=st.integers(1, 300), dims=st.integers(1, 7), k=st.integers(1, 150),
    levels=st.sampled_from([1, 2, 5, 1000]), part=st.floats(0, 1.5), strange=st.booleans(), include_self=st.booleans(),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_any_cloud(
    batch: int, count: int, dims: int, k: int, levels: int, part: float, strange: bool, include_self: bool, seed: int,
    isa: str,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(0, levels, (batch, count, dims), generator=generator).float()
    if strange:
        unusual = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e38, -0.0])
        chosen = torch.rand(points.shape, generator=generator) < 0.05
        points = torch.where(chosen, unusual[torch.randint(0, 5, points.shape, generator=generator)], points)
    radius = part * levels
    expected = reference.ball_query(points, radius, k, include_self=include_self)
    for path in ("brute", "leaves", "auto"):
        assert_equal(search(path, points, radius, k, include_self=include_self), expected)


def test_threads_change_nothing_in_leaves() -> None:
    points, threads = random(1, 20_000, 3), torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(search("leaves", points, 0.1, 12))
    finally:
        torch.set_num_threads(threads)
    assert_equal(results[1], results[0])
    assert_equal(results[2], results[0])
