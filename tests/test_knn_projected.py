"""kNN of features by projections onto a few directions: the same integers as by all coordinates, for any features."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from clouds import CLOUDS, cloud
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neighbor_paths import assert_equal, random, search
from torch import Tensor

from pointkernels import _C, reference


def assert_paths_agree(points: Tensor, k: int, **options: Tensor | bool | None) -> None:
    assert_equal(search("projected", points, k, **options), search("brute", points, k, **options))


def near_a_surface(count: int, dims: int, noise: float = 0.02, clouds: int = 1) -> Tensor:
    """Points of a sphere through a random layer, with noise in all directions."""
    points = torch.nn.functional.normalize(random(clouds, count, 3), dim=2)
    return torch.relu(points @ random(3, dims, seed=1)) + noise * random(clouds, count, dims, seed=2)


def with_row(points: Tensor, row: int, value: float) -> Tensor:
    changed = points.clone()
    changed[:, row] = value
    return changed


HARD: dict[str, Callable[[], Tensor]] = {
    "surface": lambda: near_a_surface(1300, 64, clouds=2),
    "odd_sizes": lambda: near_a_surface(1037, 37),
    "noise_only": lambda: random(1, 700, 40),
    "many_chunks": lambda: near_a_surface(2300, 200),
    "line": lambda: torch.arange(900.0)[None, :, None] * random(1, 1, 48),
    "lattice": lambda: torch.nn.functional.pad(torch.cartesian_prod(*[torch.arange(10.0)] * 3)[None], (13, 24)),
    "pairs": lambda: near_a_surface(500, 40).repeat(1, 2, 1),
    "few_places": lambda: random(1, 5, 40)[:, torch.arange(1100) % 5],
    "identical": lambda: torch.full((1, 600, 32), 0.3),
    "far_from_origin": lambda: near_a_surface(900, 48) + 1e4,
    "very_far_from_origin": lambda: near_a_surface(900, 48) + 1e7,
    "directions_without_length": lambda: with_row(torch.full((1, 24, 32), 1e7), 1, 1e7 + 1),
    "one_far_away": lambda: with_row(near_a_surface(900, 48), 450, 1e6),
    "two_far_clusters": lambda: torch.cat([near_a_surface(500, 48), near_a_surface(500, 48) + 3e4], dim=1),
    "clusters_within_clusters": lambda: (
        random(1, 10, 1, 48) + 1e-3 * random(1, 10, 10, 48, seed=1)[:, :, :, None, :] + 1e-6 * random(1, 10, 10, 9, 48)
    ).reshape(1, 900, 48),
    "tiny": lambda: near_a_surface(600, 32) * 1e-18,
    "denormal_differences": lambda: near_a_surface(600, 32).round() + 1e-22 * random(1, 600, 32),
    "squares_vanish": lambda: near_a_surface(600, 32) * 1e-24,
    "huge": lambda: near_a_surface(600, 32) * 1e14,
    "overflow": lambda: near_a_surface(600, 32) * 1e20,
    "nan": lambda: with_row(near_a_surface(600, 32, clouds=2), 17, torch.nan),
    "infinity": lambda: with_row(near_a_surface(600, 32, clouds=2), 17, torch.inf),
}


@pytest.mark.parametrize("name", [name for name in CLOUDS if name != "many_blocks"])
def test_projections_equal_the_reference(name: str, isa: str) -> None:
    points = cloud(name)
    for k in (1, 8, min(points.shape[1], 300)):
        assert_equal(search("projected", points, k), reference.knn(points, k))
    assert_equal(search("projected", points, 5, include_self=False), reference.knn(points, 5, include_self=False))
    query = torch.cat([points[:, :9], torch.randn_like(points[:, :6])], dim=1)
    assert_equal(search("projected", points, 7, query=query), reference.knn(points, 7, query=query))


@pytest.mark.parametrize("name", HARD)
def test_projections_equal_all_coordinates(name: str, isa: str) -> None:
    for dtype in (torch.float32, torch.float64):
        # Scalar loops are the same for both, and slow.
        points = HARD[name]()[:, : 700 if isa == "scalar" else None]
        check_all_coordinates(points.to(dtype), (20,) if isa == "scalar" else (1, 20, 90))


def check_all_coordinates(points: Tensor, ks: Iterable[int]) -> None:
    for k in ks:
        assert_paths_agree(points, k)
    assert_paths_agree(points, 9, include_self=False)
    query = torch.cat(
        [points[:, :50] * 1.5, points[:, 100:120], random(len(points), 30, points.shape[2]).to(points)], 1
    )
    assert_paths_agree(points, 9, query=query)
    assert_equal(search("auto", points, 20), search("brute", points, 20))


def test_lengths(isa: str) -> None:
    points = near_a_surface(900, 40, clouds=3)
    lengths = torch.tensor([900, 0, 333])
    assert_paths_agree(points, 6, lengths=lengths)
    assert_paths_agree(points, 6, query=points[:, :90] + 0.1, lengths=lengths, query_lengths=torch.tensor([17, 90, 0]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 1100), dims=st.integers(1, 90), rank=st.integers(1, 12), k=st.integers(1, 80),
    levels=st.sampled_from([1, 2, 10**6]), noise=st.sampled_from([0.0, 1e-7, 1e-3, 0.3]),
    offset=st.sampled_from([0.0, 1e4, 1e7]), queries=st.integers(1, 19), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_any_features(
    count: int,
    dims: int,
    rank: int,
    k: int,
    levels: int,
    noise: float,
    offset: float,
    queries: int,
    seed: int,
    isa: str,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(0, levels, (1, count, rank), generator=generator).float() / levels
    points = places @ torch.randn(rank, dims, generator=generator)
    points = points + noise * torch.randn(points.shape, generator=generator) + offset
    query = points[:, torch.randint(0, count, (queries,), generator=generator)]
    assert_equal(search("projected", points, k, query=query), reference.knn(points, k, query=query))


def test_threads_change_nothing() -> None:
    points = near_a_surface(1500, 64, clouds=3)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(search("auto", points, 12))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert_equal(result, results[0])


def test_features_near_a_surface_have_projections_and_others_have_none() -> None:
    assert 0 < _C.knn_projection_dims(near_a_surface(2048, 128)[0].numpy(), 20) <= 16
    assert _C.knn_projection_dims(random(2048, 128).numpy(), 20) == 0  # as far from each other in any few directions
    assert _C.knn_projection_dims(near_a_surface(2048, 128)[0].numpy(), 2000) == 0  # nothing to rule out
    assert _C.knn_projection_dims(near_a_surface(100, 128)[0].numpy(), 20) == 0
    assert _C.knn_projection_dims(with_row(near_a_surface(2048, 128), 3, torch.nan)[0].numpy(), 20) == 0
    # So few of so many that the share of a sampled probe's neighbours is less than one.
    assert _C.knn_projection_dims(random(4096, 128).numpy(), 20) == 0
    assert _C.knn_projection_dims(random(4096, 512).numpy(), 10) == 0
    assert 0 < _C.knn_projection_dims(near_a_surface(4096, 128)[0].numpy(), 20) <= 16
    with pytest.raises(ValueError, match=r"points must be \(N, D\)"):
        _C.knn_projection_dims(torch.zeros(3).numpy(), 1)
