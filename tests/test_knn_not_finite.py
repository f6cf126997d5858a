"""kNN on the CPU with coordinates that are NaN or infinite: the meaning, and no more work than without them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from neighbor_paths import assert_equal, search
from torch import Tensor

import pointkernels
from pointkernels import reference
from pointkernels._library import set_knn_path

NAN, INFINITY = torch.nan, torch.inf


def _mixed(count: int, dims: int, share: float, seed: int = 0) -> Tensor:
    """Of two clouds, so many coordinates are NaN or infinite, some points coincide, and some are too far to square."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(0, 5, (2, count, dims), generator=generator).float()
    unusual = torch.tensor([NAN, INFINITY, -INFINITY, 3e38, -3e38])
    chosen = torch.rand(points.shape, generator=generator) < share
    return torch.where(chosen, unusual[torch.randint(0, 5, points.shape, generator=generator)], points)


def _rows(count: int, dims: int, value: float, kept: int) -> Tensor:
    """All rows from number `kept` on hold one value."""
    points = torch.rand(2, count, dims, generator=torch.Generator().manual_seed(3))
    points[:, kept:] = value
    return points


MIXES: dict[str, Callable[[int], Tensor]] = {
    "few": lambda dims: _mixed(300, dims, 0.02),
    "half": lambda dims: _mixed(300, dims, 0.5, seed=1),
    "nearly_all": lambda dims: _mixed(300, dims, 0.9, seed=2),
    "nan_rows": lambda dims: _rows(200, dims, NAN, 5),
    "infinite_rows": lambda dims: _rows(200, dims, -INFINITY, 5),
    "all_nan": lambda dims: _rows(130, dims, NAN, 0),
    "all_infinite": lambda dims: _rows(130, dims, INFINITY, 0),
    "all_far": lambda dims: _rows(200, dims, 1.0, 200) * 1e25,
}


@pytest.mark.parametrize("dims", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("name", MIXES)
@pytest.mark.parametrize("path", ["leaves", "brute", "auto"])
def test_equals_the_reference(path: str, name: str, dims: int) -> None:
    points = MIXES[name](dims)
    count = points.shape[1]
    lengths = torch.tensor([count - 1, 77])
    query = torch.cat([_mixed(70, dims, 0.3, seed=5), points[:, :20]], dim=1)
    for k in (1, 9, count, count + 3):
        assert_equal(search(path, points, k), reference.knn(points, k))
    for k in (4, count):
        expected = reference.knn(points, k, include_self=False, lengths=lengths)
        assert_equal(search(path, points, k, include_self=False, lengths=lengths), expected)
        options = {"query": query, "lengths": lengths, "query_lengths": torch.tensor([90, 31])}
        assert_equal(search(path, points, k, **options), reference.knn(points, k, **options))
    assert_equal(search(path, points.double(), 9), reference.knn(points.double(), 9))


def _plain(count: int) -> Tensor:
    return torch.rand(1, count, 3, generator=torch.Generator().manual_seed(0))


def _with(value: float, where: slice) -> Callable[[int], Tensor]:
    def make(count: int) -> Tensor:
        points = _plain(count)
        points[0, where] = value
        return points

    return make


def _infinite_in_one_coordinate(count: int) -> Tensor:
    points = _plain(count)
    points[0, :, 1] = INFINITY
    return points


LARGE: dict[str, Callable[[int], Tensor]] = {
    "half_nan": _with(NAN, slice(None, None, 2)),
    "nan_but_five": _with(NAN, slice(5, None)),
    "half_infinite": _with(INFINITY, slice(None, None, 2)),
    "infinite_but_five": _with(-INFINITY, slice(5, None)),
    "infinite_in_one_coordinate": _infinite_in_one_coordinate,
    "far": lambda count: _plain(count) * 1e25,
}
CALLS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "knn": lambda points, plain: pointkernels.knn(points, 8),
    "knn_of_others": lambda points, plain: pointkernels.knn(points, 8, query=plain),
    "knn_of_strange_queries": lambda points, plain: pointkernels.knn(plain, 8, query=points),
    "nearest_in_ball": lambda points, plain: pointkernels.ball_query(points, 0.05, 8, nearest=True),
    "ball": lambda points, plain: pointkernels.ball_query(points, 0.05, 8),
    "chamfer": lambda points, plain: pointkernels.chamfer_distance(points, plain),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", LARGE)
def test_large_clouds_take_about_as_long_as_without(name: str, call: str) -> None:
    """Looking at the whole cloud for each strange point took a hundred times as long as a search of all usual ones."""
    set_knn_path("auto")
    plain = _plain(20_000)
    strange = LARGE[name](20_000)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def seconds(points: Tensor) -> float:
        times = []
        for _ in range(3):
            begin = time.thread_time()  # of this thread alone, whatever else the machine does
            CALLS[call](points, plain)
            times.append(time.thread_time() - begin)
        return min(times)

    try:
        assert seconds(strange) < 15 * seconds(plain) + 0.01
    finally:
        torch.set_num_threads(threads)
