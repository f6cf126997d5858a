"""kNN: reference, devices, gradients, compilation, odd inputs, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from clouds import CLOUDS, cloud, named
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import pointkernels
from pointkernels import reference

DTYPES = [torch.float32, torch.float64]


def assert_equals_reference(points: Tensor, k: int, **arguments: Tensor | bool | None) -> None:
    distances, indices = pointkernels.knn(points, k, return_distance=True, **arguments)
    on_cpu = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in arguments.items()}
    expected_distances, expected = reference.knn(points.cpu(), k, **on_cpu)
    assert torch.equal(indices.cpu(), expected)
    torch.testing.assert_close(distances.cpu(), expected_distances, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(pointkernels.knn(points, k, **arguments), indices)


# --- agrees with the reference, on every device -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", named(CLOUDS))
@pytest.mark.parametrize("k", [1, 8, 20])
def test_equals_reference(name: str, k: int, dtype: torch.dtype, device: str) -> None:
    assert_equals_reference(cloud(name, dtype, device), k)


@pytest.mark.too_large_to_emulate
@pytest.mark.parametrize("name", ["random", "duplicates", "lattice", "identical", "nan", "one_point", "many_blocks"])
@pytest.mark.parametrize("k", [64, 117, 500, 1500])
def test_large_k_up_to_and_beyond_the_cloud(name: str, k: int, device: str) -> None:
    assert_equals_reference(cloud(name, device=device), k)


@pytest.mark.parametrize("name", named(CLOUDS))
def test_without_self(name: str, device: str) -> None:
    points = cloud(name, device=device)
    assert_equals_reference(points, 5, include_self=False)
    assert_equals_reference(points, points.shape[1], include_self=False)


@pytest.mark.parametrize("name", named(CLOUDS))
def test_separate_queries(name: str, device: str) -> None:
    points = cloud(name, device=device)
    query = torch.cat([points[:, :9], torch.randn_like(points[:, :6])], dim=1)
    assert_equals_reference(points, 7, query=query)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, device: str) -> None:
    points = cloud("random", dtype, device)
    distances, indices = pointkernels.knn(points, 9, return_distance=True)
    assert distances.dtype == torch.float32
    assert torch.equal(indices, pointkernels.knn(points.float(), 9))


def test_ragged_batches(device: str) -> None:
    points = cloud("random", device=device)
    lengths = torch.tensor([117, 0, 5], device=device)
    garbage = torch.arange(points.shape[1], device=device)[None, :, None] >= lengths[:, None, None]
    points = torch.where(garbage, torch.nan, points)
    assert_equals_reference(points, 8, lengths=lengths)
    assert_equals_reference(points, 8, lengths=lengths, include_self=False)
    query_lengths = torch.tensor([3, 11, 0], device=device)
    assert_equals_reference(points, 8, query=torch.randn(3, 11, 3, device=device), lengths=lengths)
    assert_equals_reference(
        points, 8, query=torch.randn(3, 11, 3, device=device), lengths=lengths, query_lengths=query_lengths
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(1, 4), count=st.integers(1, 90), dims=st.integers(1, 9), k=st.integers(1, 100),
    levels=st.integers(1, 40), include_self=st.booleans(), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_any_shape_with_mass_ties(
    batch: int, count: int, dims: int, k: int, levels: int, include_self: bool, seed: int, device: str
) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(0, levels, (batch, count, dims), generator=generator).float().to(device)
    assert_equals_reference(points, k, include_self=include_self)


@pytest.mark.too_large_to_emulate
@pytest.mark.parametrize("scan", ["stanford_bunny", "kitti_000000", "pcl_terrain_CSite1_red1", "redkitchen_000_kitti"])
def test_real_scans(scan: str, shared_data: Path, device: str) -> None:
    with np.load(shared_data / "scans" / f"{scan}.npz") as archive:
        points = torch.from_numpy(archive["points"].astype(np.float32))
    points = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:4000]]
    query = points[:300]
    assert_equals_reference(points[None].to(device), 16, query=query[None].to(device))


# --- threads and layouts ----------------------------------------------------------------------------------------------


def test_number_of_threads_changes_nothing() -> None:
    points = cloud("many_blocks")
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(pointkernels.knn(points, 20))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_strided_points(device: str) -> None:
    channels_first = torch.randn(2, 3, 80, device=device)
    assert_equals_reference(channels_first.transpose(1, 2), 6)
    assert_equals_reference(torch.randn(2, 160, 6, device=device)[:, ::2, 1:4], 6)


def test_empty_batch_and_empty_clouds(device: str) -> None:
    distances, indices = pointkernels.knn(torch.randn(0, 10, 3, device=device), 4, return_distance=True)
    assert indices.shape == distances.shape == (0, 10, 4)
    assert pointkernels.knn(torch.randn(3, 0, 3, device=device), 4).shape == (3, 0, 4)
    nothing = pointkernels.knn(torch.randn(2, 0, 3, device=device), 4, query=torch.randn(2, 5, 3, device=device))
    assert torch.equal(nothing.cpu(), torch.full((2, 5, 4), -1))


@pytest.mark.too_large_to_emulate
def test_more_clouds_than_a_grid_dimension_holds(device: str) -> None:
    points = torch.randn(70_000, 2, 3, device=device)
    indices = pointkernels.knn(points, 2)
    assert torch.equal(indices[:, :, 0].cpu(), torch.tensor([0, 1]).expand(70_000, 2))
    assert torch.equal(indices[:, :, 1].cpu(), torch.tensor([1, 0]).expand(70_000, 2))


def test_shapes_past_two_to_the_31st() -> None:
    points = torch.empty(3, 2**30, 3, device="meta")
    distances, indices = pointkernels.knn(points, 5, return_distance=True)
    assert indices.shape == distances.shape == (3, 2**30, 5)
    assert indices.dtype == torch.int64


# --- gradients, dispatch, compilation ---------------------------------------------------------------------------------


def test_gradients(device: str) -> None:
    points = torch.randn(2, 9, 3, dtype=torch.float64, device=device, requires_grad=True)
    query = torch.randn(2, 5, 3, dtype=torch.float64, device=device, requires_grad=True)
    lengths = torch.tensor([9, 4], device=device)
    assert torch.autograd.gradcheck(lambda p: pointkernels.knn(p, 4, return_distance=True)[0], (points,))
    assert torch.autograd.gradcheck(
        lambda p, q: pointkernels.knn(p, 4, query=q, return_distance=True)[0], (points, query)
    )

    def ragged(p: Tensor, q: Tensor) -> Tensor:
        distances = pointkernels.knn(p, 6, query=q, lengths=lengths, return_distance=True)[0]
        return torch.where(distances.isinf(), 0.0, distances)

    assert torch.autograd.gradcheck(ragged, (points, query))


def test_gradient_reaches_points_and_query_apart(device: str) -> None:
    points = torch.randn(1, 8, 3, device=device, requires_grad=True)
    query = torch.randn(1, 4, 3, device=device)
    pointkernels.knn(points, 2, query=query, return_distance=True)[0].sum().backward()
    assert points.grad is not None
    assert query.grad is None


def test_second_derivatives(device: str) -> None:
    points = torch.randn(1, 8, 3, dtype=torch.float64, device=device, requires_grad=True)

    def distances(points: Tensor) -> Tensor:
        return pointkernels.knn(points, 3, return_distance=True)[0]

    assert torch.autograd.gradgradcheck(distances, points)


@pytest.mark.parametrize("with_query", [False, True])
@pytest.mark.one_instruction_set
def test_opcheck(with_query: bool, device: str) -> None:
    points = torch.randn(20, 3, device=device, requires_grad=True)
    query = torch.randn(8, 3, device=device, requires_grad=True) if with_query else None
    extents = torch.tensor([[0, 12], [12, 5]], device=device)
    query_extents = torch.tensor([[0, 4], [4, 4]], device=device) if with_query else None
    for with_distances in (True, False):
        arguments = (points, extents, query, query_extents, 2, 3, True, with_distances)
        torch.library.opcheck(torch.ops.pointkernels.knn.default, arguments)
    neighbors = pointkernels.knn(points.detach().view(2, 10, 3), 4).view(20, 4)
    torch.library.opcheck(torch.ops.pointkernels._reverse_graph.default, (neighbors, 10, 10, 20))


def test_packed_clouds(device: str) -> None:
    """Extents describe packed batches without padding; gaps between clouds are allowed."""
    rows = torch.randn(50, 3, device=device)
    extents = torch.tensor([[2, 20], [22, 0], [25, 25]], device=device)
    distances, indices = torch.ops.pointkernels.knn(rows, extents, None, None, 3, 4, True)
    assert torch.equal(indices[2:22], pointkernels.knn(rows[None, 2:22], 4)[0])
    assert torch.equal(indices[25:], pointkernels.knn(rows[None, 25:], 4)[0])
    for gap in (slice(0, 2), slice(22, 25)):
        assert bool((indices[gap] == -1).all())
        assert bool(distances[gap].isinf().all())


@pytest.mark.parametrize("include_self", [False, True])
def test_distances_are_left_out_where_nobody_wants_them(include_self: bool, device: str) -> None:
    rows = torch.randn(50, 3, device=device)
    extents = torch.tensor([[2, 20], [25, 25]], device=device)
    _, expected = torch.ops.pointkernels.knn(rows, extents, None, None, 2, 4, include_self)
    distances, indices = torch.ops.pointkernels.knn(rows, extents, None, None, 2, 4, include_self, False)
    assert distances.shape == (0, 4)
    assert torch.equal(indices, expected)


@pytest.mark.too_large_to_emulate
def test_a_long_gap_before_the_first_cloud(device: str) -> None:
    rows = torch.randn(700, 3, device=device)
    extents = torch.tensor([[500, 150], [660, 40]], device=device)
    distances, indices = torch.ops.pointkernels.knn(rows, extents, None, None, 2, 4, True)
    assert torch.equal(indices[500:650], pointkernels.knn(rows[None, 500:650], 4)[0])
    assert bool((indices[:500] == -1).all())
    assert bool(distances[650:660].isinf().all())
    samples = torch.ops.pointkernels.farthest_point_sampling(rows, extents, torch.tensor([1, 2], device=device), 2, 9)
    assert torch.equal(samples[1], pointkernels.farthest_point_sampling(rows[None, 660:], 9, start=2)[0])


def test_gradient_of_packed_clouds(device: str) -> None:
    extents = torch.tensor([[1, 6], [8, 4]], device=device)
    query_extents = torch.tensor([[0, 2], [3, 3]], device=device)
    points = torch.randn(12, 3, dtype=torch.float64, device=device, requires_grad=True)
    query = torch.randn(7, 3, dtype=torch.float64, device=device, requires_grad=True)

    def distances(p: Tensor, q: Tensor) -> Tensor:
        found = torch.ops.pointkernels.knn(p, extents, q, query_extents, 2, 3, True)[0]
        return torch.where(found.isinf(), 0.0, found)

    assert torch.autograd.gradcheck(distances, (points, query))


@pytest.mark.one_instruction_set
def test_compiles_whole(device: str) -> None:
    def nearest(points: Tensor, query: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return pointkernels.knn(points * 2, 4, query=query, lengths=lengths, return_distance=True)

    points = torch.randn(2, 30, 3, device=device, requires_grad=True)
    query, lengths = torch.randn(2, 6, 3, device=device), torch.tensor([30, 12], device=device)
    compiled = torch.compile(nearest, fullgraph=True, backend="aot_eager")
    (distances, indices), (expected_distances, expected) = (f(points, query, lengths) for f in (compiled, nearest))
    assert torch.equal(indices, expected)
    grads = [torch.autograd.grad(d.sum(), points)[0] for d in (distances, expected_distances)]
    torch.testing.assert_close(*grads)


def test_autocast_changes_nothing(device: str) -> None:
    points = torch.randn(2, 60, 3, device=device)
    with torch.autocast(device, dtype=torch.bfloat16):
        indices = pointkernels.knn(points, 10)
    assert torch.equal(indices, pointkernels.knn(points, 10))


# --- errors, word for word --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.zeros(5, 3), 2, {}), ValueError, "points must have shape (B, N, D), got (5, 3)"),
        (([[0.0]], 2, {}), TypeError, "points must be a tensor of shape (B, N, D), got list"),
        (
            (torch.zeros(1, 5, 3, dtype=torch.int64), 2, {}),
            TypeError,
            "points must be float16, bfloat16, float32 or float64, got torch.int64",
        ),
        ((torch.zeros(1, 5, 0), 2, {}), ValueError, "points must have at least one coordinate, got shape (1, 5, 0)"),
        ((torch.zeros(1, 5, 3), 0, {}), ValueError, "k must be at least 1, got 0"),
        ((torch.zeros(1, 5, 3), 2.0, {}), TypeError, "k must be an int, got float"),
        (
            (torch.zeros(1, 5, 3), 2, {"query": torch.zeros(1, 5, 2)}),
            ValueError,
            "query must have as many clouds and coordinates as points, (1, 5, 3), got (1, 5, 2)",
        ),
        (
            (torch.zeros(1, 5, 3), 2, {"query": torch.zeros(1, 5, 3, dtype=torch.float64)}),
            TypeError,
            "query must have the dtype of points, torch.float32, got torch.float64",
        ),
        (
            (torch.zeros(1, 5, 3), 2, {"query": torch.zeros(1, 5, 3, device="meta")}),
            ValueError,
            "query must be on the device of points, cpu, got meta",
        ),
        (
            (torch.zeros(1, 5, 3), 2, {"query": torch.zeros(1, 5, 3), "include_self": False}),
            ValueError,
            "include_self=False must come without a query, got a query",
        ),
        (
            (torch.zeros(1, 5, 3), 2, {"query_lengths": torch.tensor([5])}),
            ValueError,
            "query_lengths must come with a query, got query=None",
        ),
        ((torch.zeros(1, 5, 3), 2, {"lengths": torch.tensor([6])}), ValueError, "lengths must lie in [0, 5], got 6"),
        ((torch.zeros(1, 5, 3), 2, {"lengths": torch.tensor([-1])}), ValueError, "lengths must lie in [0, 5], got -1"),
        ((torch.zeros(1, 5, 3), 2, {"lengths": [5]}), TypeError, "lengths must be an int64 tensor, got list"),
        (
            (torch.zeros(1, 5, 3), 2, {"lengths": torch.tensor([5.0])}),
            TypeError,
            "lengths must be int64, got torch.float32",
        ),
        (
            (torch.zeros(1, 5, 3), 2, {"lengths": torch.tensor([5, 5])}),
            ValueError,
            "lengths must have shape (1,), got (2,)",
        ),
    ],
)
def test_errors(arguments: tuple[object, object, dict[str, object]], error: type[Exception], message: str) -> None:
    points, k, options = arguments
    with pytest.raises(error) as caught:
        pointkernels.knn(points, k, **options)  # type: ignore[call-overload]
    assert str(caught.value) == message


def test_a_direct_call_of_the_operator_stays_in_memory() -> None:
    points = torch.randn(10, 3)
    for extents in ([[0, 11]], [[-1, 3]], [[4, 7]]):
        with pytest.raises(RuntimeError, match="must lie within"):
            torch.ops.pointkernels.knn(points, torch.tensor(extents), None, None, 1, 3, True)
    with pytest.raises(RuntimeError, match="evenly"):
        torch.ops.pointkernels.knn(points, None, None, None, 3, 3, True)
    with pytest.raises(RuntimeError, match="neighbors must be"):
        torch.ops.pointkernels._reverse_graph(torch.tensor([[10]]), 1, 10, 10)
