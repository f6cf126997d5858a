"""The same calls of `pointkernels.compat.torch_cluster` and of torch_cluster itself, where that is installed.

Where nothing is tied the edges are equal, in the same order. Where distances are equal torch_cluster chooses as its
tree happens to lie, so distances are compared. What it gets wrong is asserted too, so that what the documentation of
our face says stays true: duplicates, clouds without points.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import CLOUDS
from torch import Tensor

from pointkernels.compat import torch_cluster as ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its import
    theirs = pytest.importorskip("torch_cluster", reason="torch_cluster is not installed; it builds for ten minutes")

Batches = tuple[Tensor | None, Tensor | None]
BATCHES: dict[str, Batches] = {
    "one": (None, None),
    "dense": (torch.tensor([0] * 10 + [1] * 11 + [2] * 3), torch.tensor([0] * 4 + [1] * 5 + [2] * 2)),
    "holes": (torch.tensor([0] * 10 + [2] * 11 + [3] * 3), torch.tensor([0] * 4 + [2] * 5 + [3] * 2)),
}
TIED = ["lattice", "duplicates", "identical"]
FREE = ["random", "far", "features"]


def points(name: str) -> Tensor:
    if name == "features":
        return torch.randn(24, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return CLOUDS[name][0]


def queries(name: str) -> Tensor:
    if name == "features":
        return torch.randn(11, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return CLOUDS[name][1, :11]


def both(call: Callable[[Any], Tensor]) -> tuple[Tensor, Tensor]:
    return call(ours), call(theirs)


def sorted_edges(edges: Tensor) -> list[tuple[int, int]]:
    return sorted((int(row), int(column)) for row, column in edges.t())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("name", FREE)
def test_equal_where_nothing_is_tied(name: str, batches: str, dtype: torch.dtype) -> None:
    x, y, (bx, by) = points(name).to(dtype), queries(name).to(dtype), BATCHES[batches]
    r = 2e5 if name == "far" else 4.0 if name == "features" else 1.5
    for k in (1, 3, 30):
        got, expected = both(lambda module, k=k: module.knn(x, y, k, bx, by))
        assert torch.equal(got, expected)
        for loop in (False, True):
            for flow in ("source_to_target", "target_to_source"):
                got, expected = both(lambda m, k=k, loop=loop, flow=flow: m.knn_graph(x, k, bx, loop, flow))
                assert torch.equal(got, expected)
    got, expected = both(lambda module: module.nearest(x, y, bx, by))
    assert torch.equal(got, expected)
    # Their edges come in the order of the tree.
    got, expected = both(lambda module: module.radius(x, y, r, bx, by, 100))
    assert sorted_edges(got) == sorted_edges(expected) == sorted_edges(got.t().unique(dim=0).t())
    for loop in (False, True):
        for flow in ("source_to_target", "target_to_source"):
            got, expected = both(lambda m, loop=loop, flow=flow: m.radius_graph(x, r, bx, loop, 100, flow))
            assert sorted_edges(got) == sorted_edges(expected)


@pytest.mark.parametrize("batches", ["one", "dense"])
@pytest.mark.parametrize("name", [*FREE, "lattice"])
def test_equal_samples(name: str, batches: str) -> None:
    x, batch = points(name), BATCHES[batches][0]
    shares = torch.tensor([0.1, 0.5, 1.0], dtype=x.dtype)
    for ratio in (None, 0.3, 1.0, *([shares] if batches == "dense" else [])):
        got, expected = both(lambda module, ratio=ratio: module.fps(x, batch, ratio, random_start=False))
        assert torch.equal(got, expected)
    got, expected = both(lambda module: module.fps(x, ratio=0.4, random_start=False, ptr=[0, 10, 21, 24]))
    assert torch.equal(got, expected)


@pytest.mark.parametrize("name", ["random", *TIED])
def test_equal_cells(name: str) -> None:
    x = points(name)
    for size in (0.7, 1.3):
        sizes = torch.full((3,), size, dtype=x.dtype)
        got, expected = both(lambda module, sizes=sizes: module.grid_cluster(x, sizes))
        assert torch.equal(got, expected)
        start, end = x.min(0).values - 1.1, x.max(0).values + 0.4
        got, expected = both(lambda m, sizes=sizes, start=start, end=end: m.grid_cluster(x, sizes, start, end))
        assert torch.equal(got, expected)


@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("name", TIED)
def test_equal_distances_where_some_are_tied(name: str, batches: str) -> None:
    x, y, (bx, by) = points(name), queries(name), BATCHES[batches]

    def distances(edges: Tensor) -> list[tuple[int, float]]:
        return [(int(i), float((y[i] - x[j]).norm())) for i, j in edges.t()]

    for k in (1, 3, 30):
        got, expected = both(lambda module, k=k: module.knn(x, y, k, bx, by))
        assert distances(got) == distances(expected)
    got, expected = both(lambda module: module.radius(x, y, 1.2, bx, by, 4))
    assert torch.equal(got[0].bincount(minlength=11), expected[0].bincount(minlength=11))


def test_what_it_gets_wrong() -> None:
    same = torch.zeros(6, 3)
    got, expected = both(lambda module: module.knn_graph(same, 2))
    assert (got.shape[1], expected.shape[1] > 12) == (12, True)
    got, expected = both(lambda module: module.radius_graph(same, 1.0, max_num_neighbors=2))
    assert (got.shape[1], expected.shape[1] > 12) == (12, True)
    got, expected = both(lambda module: module.fps(same, ratio=0.5, random_start=False))
    assert (got.tolist(), expected.tolist()) == ([0, 1, 2], [0, 0, 0])
    batch = torch.tensor([0, 0, 2, 2])
    assert ours.fps(same[:4], batch, random_start=False).tolist() == [0, 2]
    with pytest.raises(IndexError):
        theirs.fps(same[:4], batch, random_start=False)
