"""The benchmarks notice wrong results."""

from __future__ import annotations

import re
from collections.abc import Callable

import ball_query_bench
import edgeconv_bench
import fps_bench
import knn_bench
import neighborhood_bench
import pytest
import torch
from harness.contenders import Contender, Settings, Verdict
from torch import Tensor

from pointkernels import ball_query, farthest_point_sampling, knn

QUICK = Settings(quick=True)


def some_neighbors() -> tuple[knn_bench.NeighborCheck, Tensor]:
    points = torch.rand(2, 90, 3, generator=torch.Generator().manual_seed(3))
    check = knn_bench.NeighborCheck(points, 6)
    indices = knn(points, 6)
    assert check(Contender("pointkernels", lambda: None), indices) == Verdict()
    return check, indices


def swap_in_a_farther_one(indices: Tensor) -> Tensor:
    """The last neighbour of one point replaced by any other."""
    wrong = indices.clone()
    wrong[1, 41, -1] = next(i for i in range(90) if i not in wrong[1, 41])
    return wrong


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (swap_in_a_farther_one, "neighbours must be the nearest, got others for 1 of 180 queries"),
        (lambda i: i.where(i != i[0, 0, 1], i[0, 0, 0]), "neighbours of a point must be distinct, got one twice"),
        (lambda i: i + 1, r"indices must lie in \[0, 90\), got 1 to 90"),
        (lambda i: i[:, :, :5], r"indices must have shape \(2, 90, 6\), got \(2, 90, 5\)"),
        (lambda i: i.roll(1, dims=0), "neighbours must be the nearest, got others"),
    ],
)
@pytest.mark.parametrize("exact", [True, False])
def test_wrong_neighbors_are_noticed(spoil: Callable[[Tensor], Tensor], error: str, exact: bool) -> None:
    check, indices = some_neighbors()
    found = check(Contender("peer", lambda: None, exact=exact), spoil(indices))
    assert found.error is not None
    assert re.match(error, found.error)


def test_queries_outside_of_the_part_are_compared_with_pointkernels() -> None:
    points = torch.rand(1, 600, 3, generator=torch.Generator().manual_seed(3))
    check = knn_bench.NeighborCheck(points, 6)
    assert len(check.queries) < 600
    indices = knn(points, 6)
    check(Contender("pointkernels", lambda: None), indices)
    spoilt = indices.clone()
    spoilt[0, 41, -1] = next(i for i in range(600) if i not in spoilt[0, 41])
    error = "neighbours must be those of pointkernels, got others for 1 of 600 queries"
    assert check(Contender("peer", lambda: None), spoilt) == Verdict(error)


def test_ties_in_another_order_are_right() -> None:
    points = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))[None]
    check = knn_bench.NeighborCheck(points, 3)
    indices = knn(points, 3)
    assert check(Contender("pointkernels", lambda: None), indices).error is None
    mirrored = 24 - indices.flip(1)  # the lattice turned by half: other ties
    assert not torch.equal(indices.sort(dim=2).values, mirrored.sort(dim=2).values)
    verdict = check(Contender("peer", lambda: None), mirrored.flip(2))
    assert verdict.error is None
    assert verdict.note.startswith("other neighbours within rounding: ")


def test_samples_are_checked_from_their_own_start() -> None:
    points = torch.rand(2, 60, 3, generator=torch.Generator().manual_seed(1))
    check = fps_bench.SamplingCheck(points, 12)
    ours, peer = Contender("pointkernels", lambda: None), Contender("peer", lambda: None)
    assert check(ours, farthest_point_sampling(points, 12)) == Verdict()
    elsewhere = farthest_point_sampling(points, 12, start=17)
    assert check(peer, elsewhere) == Verdict()
    spoilt = elsewhere.clone()
    spoilt[1, 4] = spoilt[1, 9]
    error = "every sample must be farthest from those before it, got another as sample 4"
    assert check(peer, spoilt) == check(ours, spoilt) == Verdict(error)
    beyond = elsewhere + 60 - elsewhere.max()
    assert check(peer, beyond).error == f"samples must lie in [0, 60), got {int(beyond.min())} to 60"
    assert check(peer, elsewhere[:, 1:]).error == "samples must have shape (2, 12), got (2, 11)"


def test_another_of_two_equally_far_samples_is_right() -> None:
    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [-1, 0, 0], [0.2, 0, 0]]])
    check = fps_bench.SamplingCheck(points, 3)
    assert farthest_point_sampling(points, 3).tolist() == [[0, 1, 2]]
    verdict = check(Contender("peer", lambda: None), torch.tensor([[0, 2, 1]]))
    assert verdict == Verdict(note="another choice within rounding at sample 1, and others after it")


@pytest.mark.parametrize("name", ["output", "features", "weight", "gamma", "beta"])
def test_wrong_layers_are_noticed(name: str) -> None:
    problem = edgeconv_bench.problem(edgeconv_bench.Case(2, 40, 5, 4, 8, "forward+backward"), QUICK)
    ours = problem.contenders[0]
    result = ours.result(ours.call())
    assert problem.check(ours, result).error is None
    spoilt = {**result, name: result[name] * 1.05}
    error = problem.check(ours, spoilt).error
    assert error is not None
    assert error.startswith("output" if name == "output" else f"gradient of {name}")
    assert problem.check(ours, {"output": result["output"]}).error is not None


def without_one(indices: Tensor) -> Tensor:
    """The last neighbour of one query left out, of more than one."""
    wrong = indices.clone()
    row = int((indices[0] >= 0).sum(dim=1).argmax())
    wrong[0, row, int((indices[0, row] >= 0).sum()) - 2] = -1
    return wrong


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (without_one, r"neighbours must be the (first|nearest) within the radius, got others for 1 queries"),
        (lambda i: ((i + 45) % 90).where(i >= 0, -1), "neighbours must be the (first|nearest) within"),
        (lambda i: i.where(i != i.max(), -2), r"indices must lie in \[-1, 90\), got -2 to 8"),
        (lambda i: i[..., :1].expand_as(i), "neighbours of a query must be distinct, got one twice"),
        (lambda i: i[:, :, :5], r"indices must have shape \(2, 40, 6\), got \(2, 40, 5\)"),
    ],
)
def test_wrong_balls_are_noticed(spoil: Callable[[Tensor], Tensor], error: str, nearest: bool) -> None:
    points = torch.rand(2, 90, 3, generator=torch.Generator().manual_seed(3))
    search = ball_query_bench.ball_query_peers.Search(points, points[:, :40], 0.3, 6, nearest)
    check = ball_query_bench.BallCheck(search)
    peer = Contender("peer", lambda: None)
    indices = ball_query(points, 0.3, 6, query=points[:, :40], nearest=nearest)
    assert check(Contender("pointkernels", lambda: None), indices) == Verdict()
    assert check(peer, indices.flip(2)) == Verdict()
    found = check(peer, spoil(indices)).error
    assert found is not None
    assert re.match(error, found)


@pytest.mark.parametrize("operator", ["gather", "interpolate", "chamfer"])
def test_wrong_neighborhoods_are_noticed(operator: str) -> None:
    case = neighborhood_bench.Case(operator, 2, 40, 30, 3, 4, "forward+backward")
    problem = neighborhood_bench.problem(case, QUICK)
    ours = problem.contenders[0]
    result = ours.result(ours.call())
    assert problem.check(ours, result) == Verdict()
    for name in result:
        error = problem.check(ours, {**result, name: result[name] * 1.01}).error
        assert error is not None
        assert error.startswith("output" if name == "output" else f"gradient of {name}")
