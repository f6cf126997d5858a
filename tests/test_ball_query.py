"""Ball query: reference, devices, gradients, compilation, odd inputs, errors."""

from __future__ import annotations

import pytest
import torch
from clouds import CLOUDS, cloud
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import pointkernels
from pointkernels import reference


def assert_equals_reference(points: Tensor, radius: float, k: int, **arguments: Tensor | bool | None) -> None:
    on_cpu = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in arguments.items()}
    for nearest in (False, True):
        distances, indices = pointkernels.ball_query(
            points, radius, k, nearest=nearest, return_distance=True, **arguments
        )
        expected_distances, expected = reference.ball_query(points.cpu(), radius, k, nearest=nearest, **on_cpu)
        assert torch.equal(indices.cpu(), expected)
        torch.testing.assert_close(distances.cpu(), expected_distances, rtol=0, atol=0)
        assert torch.equal(pointkernels.ball_query(points, radius, k, nearest=nearest, **arguments), indices)


def typical_distance(points: Tensor) -> float:
    """A radius that holds some neighbours and leaves out others."""
    finite = reference.squared_distances(points[0], points[0, :5]).sqrt()
    finite = finite[finite.isfinite()]
    return float(finite.median()) if len(finite) else 1.0


# --- agrees with the reference, on every device -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name in CLOUDS if name != "many_blocks"])
def test_equals_reference(name: str, dtype: torch.dtype, device: str) -> None:
    points = cloud(name, dtype)[:2, :70]
    radius = typical_distance(points)
    assert_equals_reference(points.to(device), radius, 5)
    assert_equals_reference(points.to(device), radius, 5, include_self=False)
    assert_equals_reference(points.to(device), radius, 200, query=torch.randn_like(points[:, :6]).to(device))


def test_the_bound_itself_is_outside(device: str) -> None:
    points = torch.tensor([[[0.0], [1.0], [2.0], [3.0]]], device=device)
    expected = torch.tensor([[[0, 1], [0, 1], [1, 2], [2, 3]]], device=device)
    assert torch.equal(pointkernels.ball_query(points, 2.0, 2), expected)
    assert bool((pointkernels.ball_query(points, 0.0, 2) == -1).all())
    assert bool((pointkernels.ball_query(points, 0.0, 2, nearest=True) == -1).all())
    assert bool((pointkernels.ball_query(points, float("inf"), 4) >= 0).all())


def test_half_precision_is_computed_in_float32(device: str) -> None:
    points = cloud("random", torch.float16, device)
    distances, indices = pointkernels.ball_query(points, 1.0, 9, return_distance=True)
    assert distances.dtype == torch.float32
    assert torch.equal(indices, pointkernels.ball_query(points.float(), 1.0, 9))


def test_ragged_batches(device: str) -> None:
    lengths, query_lengths = torch.tensor([40, 0, 5], device=device), torch.tensor([3, 11, 0], device=device)
    garbage = torch.arange(60, device=device)[None, :, None] >= lengths[:, None, None]
    points = torch.where(garbage, torch.nan, cloud("random", device=device)[:, :60])
    query = torch.randn(3, 11, 3, device=device)
    assert_equals_reference(points, 1.5, 8, lengths=lengths)
    assert_equals_reference(points, 1.5, 8, lengths=lengths, include_self=False)
    assert_equals_reference(points, 1.5, 8, query=query, lengths=lengths, query_lengths=query_lengths)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(1, 3), count=st.integers(1, 50), dims=st.integers(1, 9), k=st.integers(1, 60),
    levels=st.integers(1, 9), radius=st.floats(0, 9), include_self=st.booleans(), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_any_shape_with_mass_ties(
    batch: int, count: int, dims: int, k: int, levels: int, radius: float, include_self: bool, seed: int, device: str
) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(0, levels, (batch, count, dims), generator=generator).float().to(device)
    assert_equals_reference(points, radius, k, include_self=include_self)


# --- threads and layouts ----------------------------------------------------------------------------------------------


def test_number_of_threads_changes_nothing() -> None:
    points, threads = cloud("many_blocks"), torch.get_num_threads()
    try:
        results = []
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(pointkernels.ball_query(points, 0.5, 20))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0][:, :300], pointkernels.ball_query(points, 0.5, 20, query=points[:, :300]))


def test_strided_and_empty(device: str) -> None:
    assert_equals_reference(torch.randn(2, 3, 40, device=device).transpose(1, 2), 1.0, 6)
    assert pointkernels.ball_query(torch.randn(0, 10, 3, device=device), 1.0, 4).shape == (0, 10, 4)
    assert pointkernels.ball_query(torch.randn(3, 0, 3, device=device), 1.0, 4).shape == (3, 0, 4)
    nothing = pointkernels.ball_query(
        torch.randn(2, 0, 3, device=device), 1.0, 4, query=torch.randn(2, 5, 3, device=device)
    )
    assert torch.equal(nothing.cpu(), torch.full((2, 5, 4), -1))


def test_packed_clouds(device: str) -> None:
    rows = torch.randn(700, 3, device=device)
    extents = torch.tensor([[500, 120], [630, 0], [640, 40]], device=device)
    distances, indices = torch.ops.pointkernels.ball_query(rows, extents, None, None, 3, 1.0, 4, True)
    assert torch.equal(indices[500:620], pointkernels.ball_query(rows[None, 500:620], 1.0, 4)[0])
    assert torch.equal(indices[640:680], pointkernels.ball_query(rows[None, 640:680], 1.0, 4)[0])
    for gap in (slice(0, 500), slice(620, 640), slice(680, 700)):
        assert bool((indices[gap] == -1).all())
        assert bool(distances[gap].isinf().all())


def test_shapes_past_two_to_the_31st() -> None:
    points = torch.empty(3, 2**30, 3, device="meta")
    distances, indices = pointkernels.ball_query(points, 1.0, 5, return_distance=True)
    assert indices.shape == distances.shape == (3, 2**30, 5)


# --- gradients, dispatch, compilation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("nearest", [False, True])
def test_gradients(nearest: bool, device: str) -> None:
    points = torch.randn(2, 9, 3, dtype=torch.float64, device=device, requires_grad=True)
    query = torch.randn(2, 5, 3, dtype=torch.float64, device=device, requires_grad=True)
    lengths = torch.tensor([9, 4], device=device)

    def distances(p: Tensor, q: Tensor | None = None) -> Tensor:
        found = pointkernels.ball_query(p, 1.7, 4, query=q, lengths=lengths, nearest=nearest, return_distance=True)[0]
        return torch.where(found.isinf(), 0.0, found)

    assert torch.autograd.gradcheck(distances, (points,))
    assert torch.autograd.gradcheck(distances, (points, query))


@pytest.mark.one_instruction_set
def test_opcheck(device: str) -> None:
    points = torch.randn(20, 3, device=device, requires_grad=True)
    query = torch.randn(8, 3, device=device, requires_grad=True)
    extents = torch.tensor([[0, 12], [12, 5]], device=device)
    query_extents = torch.tensor([[0, 4], [4, 4]], device=device)
    for arguments in ((points, extents, query, query_extents), (points, None, None, None)):
        torch.library.opcheck(torch.ops.pointkernels.ball_query.default, (*arguments, 2, 1.0, 3, True))


def test_compiles_as_a_whole() -> None:
    points, lengths = torch.randn(2, 40, 3), torch.tensor([40, 12])
    for nearest in (False, True):

        def search(points: Tensor, nearest: bool = nearest) -> tuple[Tensor, Tensor]:
            return pointkernels.ball_query(points, 0.8, 7, lengths=lengths, nearest=nearest, return_distance=True)

        for got, expected in zip(
            torch.compile(search, fullgraph=True, backend="aot_eager")(points), search(points), strict=True
        ):
            torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_autocast(device: str) -> None:
    points = torch.randn(1, 30, 3, device=device)
    with torch.autocast(device, dtype=torch.bfloat16):
        assert torch.equal(
            pointkernels.ball_query(points.bfloat16(), 1.0, 4),
            pointkernels.ball_query(points.bfloat16().float(), 1.0, 4),
        )


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("radius", "k", "options", "error", "message"),
    [
        (-1.0, 2, {}, ValueError, "radius must be at least 0, got -1.0"),
        (float("nan"), 2, {}, ValueError, "radius must be at least 0, got nan"),
        ("a", 2, {}, TypeError, "radius must be a number, got str"),
        (1.0, 0, {}, ValueError, "k must be at least 1, got 0"),
        (1.0, 2.0, {}, TypeError, "k must be an int, got float"),
        (
            1.0,
            2,
            {"query": torch.zeros(1, 5, 2)},
            ValueError,
            "query must have as many clouds and coordinates as points, (1, 5, 3), got (1, 5, 2)",
        ),
        (1.0, 2, {"lengths": torch.tensor([6])}, ValueError, "lengths must lie in [0, 5], got 6"),
    ],
)
def test_errors(radius: float, k: int, options: dict[str, Tensor], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        pointkernels.ball_query(torch.zeros(1, 5, 3), radius, k, **options)  # type: ignore[call-overload]
    assert str(caught.value) == message


def test_a_direct_call_of_the_operator_stays_in_memory() -> None:
    for extents in ([[0, 11]], [[-1, 3]], [[4, 7]]):
        with pytest.raises(RuntimeError, match="must lie within"):
            torch.ops.pointkernels.ball_query(torch.randn(10, 3), torch.tensor(extents), None, None, 1, 1.0, 3, True)
