"""Gathering, interpolation and Chamfer distance: reference, gradients, compilation, odd inputs, errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pointkernels
from pointkernels import reference


def graph(device: str, k: int = 4) -> tuple[Tensor, Tensor]:
    """Features and lists with duplicates and holes, one point that nobody points at and one row without neighbours."""
    generator = torch.Generator().manual_seed(0)
    neighbors = torch.randint(-1, 8, (2, 6, k), generator=generator)
    neighbors[0, 2] = -1
    neighbors[1, 3] = 5
    return torch.randn(2, 9, 5, dtype=torch.float64, generator=generator).to(device), neighbors.to(device)


# --- agrees with the reference, on every device -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equals_reference(dtype: torch.dtype, device: str) -> None:
    features, neighbors = graph(device)
    features = features.to(dtype)
    gathered = pointkernels.gather_neighbors(features, neighbors)
    assert gathered.dtype == dtype
    assert torch.equal(gathered, reference.gather_neighbors(features, neighbors).to(dtype))
    weights = torch.randn(neighbors.shape, device=device).to(dtype)
    mixed = pointkernels.gather_weighted(features, neighbors, weights)
    assert mixed.dtype == dtype
    wide = torch.promote_types(dtype, torch.float32)  # half precision is computed in float32
    expected = reference.gather_weighted(features.to(wide), neighbors, weights.to(wide)).to(dtype)
    torch.testing.assert_close(mixed, expected)


def test_layouts_and_empty(device: str) -> None:
    features, neighbors = graph(device)
    strided = features.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(
        pointkernels.gather_neighbors(strided, neighbors), pointkernels.gather_neighbors(features, neighbors)
    )
    for shape in ((0, 6, 4), (2, 0, 4), (2, 6, 0)):
        lists = torch.zeros(shape, dtype=torch.int64, device=device)
        assert pointkernels.gather_neighbors(features[: shape[0]], lists).shape == (*shape, 5)
        weighted = pointkernels.gather_weighted(features[: shape[0]], lists, torch.ones(shape, device=device).double())
        assert weighted.shape == (*shape[:2], 5)
        assert float(weighted.abs().sum()) == 0


def test_shapes_past_two_to_the_31st() -> None:
    features, neighbors = torch.empty(1, 2**26, 64, device="meta"), torch.empty(1, 2**26, 8, device="meta").long()
    assert pointkernels.gather_neighbors(features, neighbors).shape == (1, 2**26, 8, 64)


def test_interpolation_is_the_weighted_mean(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    points, query = torch.randn(2, 20, 3, generator=generator), torch.randn(2, 7, 3, generator=generator)
    features = torch.randn(2, 20, 4, generator=generator)
    query[0, 0] = points[0, 3]  # exactly on a point
    lengths, query_lengths = torch.tensor([20, 2]), torch.tensor([5, 7])
    mixed = pointkernels.interpolate(
        features.to(device), points.to(device), query.to(device),
        lengths=lengths.to(device), query_lengths=query_lengths.to(device),
    ).cpu()  # fmt: skip
    for b in range(2):
        for i in range(7):
            if i >= query_lengths[b]:
                assert bool((mixed[b, i] == 0).all())
                continue
            squares = (points[b, : lengths[b]] - query[b, i]).square().sum(1).clamp(min=1e-16)
            nearest = squares.argsort()[:3]
            weights = 1 / squares[nearest]
            expected = (weights[:, None] * features[b, nearest]).sum(0) / weights.sum()
            torch.testing.assert_close(mixed[b, i], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixed[0, 0], features[0, 3])


def test_chamfer_is_the_mean_of_both_minima(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 11, 3, generator=generator), torch.randn(3, 8, 3, generator=generator)
    x_lengths, y_lengths = torch.tensor([11, 4, 0]), torch.tensor([8, 3, 0])
    got = pointkernels.chamfer_distance(
        x.to(device), y.to(device), x_lengths=x_lengths.to(device), y_lengths=y_lengths.to(device)
    ).cpu()
    for b in range(2):
        squares = torch.cdist(x[b, : x_lengths[b]], y[b, : y_lengths[b]]).square()
        torch.testing.assert_close(got[b], squares.min(1).values.mean() + squares.min(0).values.mean())
    assert float(got[2]) == 0
    torch.testing.assert_close(pointkernels.chamfer_distance(x.to(device), y.to(device)).cpu()[0], got[0])
    empty = torch.tensor([0, 4, 0], device=device)
    assert float(pointkernels.chamfer_distance(x.to(device), y.to(device), x_lengths=empty)[0]) == float("inf")


# --- gradients, dispatch, compilation ---------------------------------------------------------------------------------


def test_gradients(device: str) -> None:
    features, neighbors = graph(device)
    features.requires_grad_()
    weights = torch.randn(neighbors.shape, dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: pointkernels.gather_neighbors(f, neighbors), (features,), fast_mode=True)
    assert torch.autograd.gradcheck(
        lambda f, w: pointkernels.gather_weighted(f, neighbors, w), (features, weights), fast_mode=True
    )
    x = torch.randn(2, 6, 3, dtype=torch.float64, device=device, requires_grad=True)
    y = torch.randn(2, 5, 3, dtype=torch.float64, device=device, requires_grad=True)
    lengths = torch.tensor([6, 2], device=device)
    assert torch.autograd.gradcheck(
        lambda x, y: pointkernels.chamfer_distance(x, y, x_lengths=lengths), (x, y), fast_mode=True
    )
    mixed = features.detach()[:, :6].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda f, p, q: pointkernels.interpolate(f, p, q, lengths=lengths), (mixed, x, y), fast_mode=True
    )


def test_gradient_is_the_same_in_every_run() -> None:
    features, neighbors = torch.randn(1, 50, 8, requires_grad=True), torch.randint(0, 3, (1, 400, 16))
    weight = torch.randn(1, 400, 16, 8)
    threads = torch.get_num_threads()
    try:
        grads = []
        for count in (1, 2):
            torch.set_num_threads(count)
            grads.append(torch.autograd.grad(pointkernels.gather_neighbors(features, neighbors), features, weight)[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(grads[0], grads[1])


def test_second_derivatives(device: str) -> None:
    features, neighbors = graph(device)
    features.requires_grad_()
    seconds = []
    for gather in (pointkernels.gather_neighbors, reference.gather_neighbors):
        (grad,) = torch.autograd.grad(gather(features, neighbors).pow(3).sum(), features, create_graph=True)
        seconds.append(torch.autograd.grad(grad.square().sum(), features)[0])
    torch.testing.assert_close(*seconds)


@pytest.mark.one_instruction_set
def test_opcheck(device: str) -> None:
    features, neighbors = graph(device)
    rows, lists = features.reshape(18, 5).requires_grad_(), neighbors.reshape(12, 4)
    weights = torch.randn(12, 4, dtype=torch.float64, device=device, requires_grad=True)
    torch.library.opcheck(torch.ops.pointkernels.gather_neighbors.default, (rows, lists, 6, 9))
    torch.library.opcheck(torch.ops.pointkernels.gather_weighted.default, (rows, lists, weights, 6, 9))


def test_compiles_as_a_whole() -> None:
    features, neighbors = graph("cpu")
    features.requires_grad_()

    def mix(features: Tensor) -> Tensor:
        gathered = pointkernels.gather_neighbors(features, neighbors)
        return pointkernels.gather_weighted(features, neighbors, gathered[..., 0])

    compiled, plain = torch.compile(mix, fullgraph=True, backend="aot_eager")(features), mix(features)
    torch.testing.assert_close(compiled, plain)
    for loss in (compiled, plain):
        loss.square().sum().backward()
    assert features.grad is not None


def test_autocast(device: str) -> None:
    features, neighbors = graph(device)
    with torch.autocast(device, dtype=torch.bfloat16):
        gathered = pointkernels.gather_neighbors(features.bfloat16(), neighbors)
    assert gathered.dtype == torch.bfloat16
    assert torch.equal(gathered, reference.gather_neighbors(features.bfloat16(), neighbors).bfloat16())


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("neighbors", "error", "message"),
    [
        (torch.zeros(1, 2), ValueError, "neighbors must have shape (B, M, K), got (1, 2)"),
        ([[0]], ValueError, "neighbors must have shape (B, M, K), got list"),
        (torch.zeros(1, 2, 3), TypeError, "neighbors must be int64, got torch.float32"),
        (torch.zeros(2, 2, 3).long(), ValueError, "neighbors must have shape (1, 2, 3), got (2, 2, 3)"),
        (torch.full((1, 2, 3), 5), ValueError, "neighbors must be -1 or lie in [0, 5), got 5"),
        (torch.full((1, 2, 3), -2), ValueError, "neighbors must be -1 or lie in [0, 5), got -2"),
    ],
)
def test_errors(neighbors: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        pointkernels.gather_neighbors(torch.zeros(1, 5, 3), neighbors)
    assert str(caught.value) == message


def test_other_errors() -> None:
    features, lists = torch.zeros(1, 5, 3), torch.zeros(1, 2, 3).long()
    with pytest.raises(ValueError, match=r"weights must have the shape of neighbors, \(1, 2, 3\), got \(1, 2, 2\)"):
        pointkernels.gather_weighted(features, lists, torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="features must have a row for each of the points"):
        pointkernels.interpolate(features, torch.zeros(1, 4, 3), torch.zeros(1, 4, 3))
    with pytest.raises(RuntimeError, match="neighbors must be"):
        torch.ops.pointkernels.gather_neighbors(torch.zeros(5, 3), torch.tensor([[5]]), 1, 5)
