"""Farthest point sampling: reference, devices, compilation, odd inputs, errors."""

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


def assert_equals_reference(
    points: Tensor, num_samples: int, start: int | Tensor = 0, lengths: Tensor | None = None
) -> None:
    samples = pointkernels.farthest_point_sampling(points, num_samples, start=start, lengths=lengths)
    first = start.cpu() if isinstance(start, Tensor) else torch.full((points.shape[0],), start)
    expected = reference.farthest_point_sampling(
        points.cpu(), num_samples, start=first, lengths=None if lengths is None else lengths.cpu()
    )
    assert torch.equal(samples.cpu(), expected)


# --- agrees with the reference, on every device -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name in CLOUDS if name != "many_blocks"])
def test_equals_reference_to_the_last_point(name: str, dtype: torch.dtype, device: str) -> None:
    points = cloud(name, dtype, device)
    assert_equals_reference(points, points.shape[1])


@pytest.mark.parametrize("name", named(CLOUDS))
def test_from_another_start(name: str, device: str) -> None:
    points = cloud(name, device=device)
    count = points.shape[1]
    assert_equals_reference(points, min(count, 25), start=count - 1)
    start = torch.arange(points.shape[0], device=device) * 7 % count
    assert_equals_reference(points, min(count, 25), start=start)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, device: str) -> None:
    points = cloud("random", dtype, device)
    assert torch.equal(
        pointkernels.farthest_point_sampling(points, 30), pointkernels.farthest_point_sampling(points.float(), 30)
    )


def test_ragged_batches(device: str) -> None:
    points = cloud("random", device=device)
    lengths = torch.tensor([117, 0, 5], device=device)
    garbage = torch.arange(points.shape[1], device=device)[None, :, None] >= lengths[:, None, None]
    assert_equals_reference(torch.where(garbage, torch.nan, points), 20, lengths=lengths)


@pytest.mark.parametrize("name", ["identical", "duplicates", "lattice", "nan", "all_nan"])
def test_no_point_is_sampled_twice(name: str, device: str) -> None:
    points = cloud(name, device=device)
    samples = pointkernels.farthest_point_sampling(points, points.shape[1])
    everything = torch.arange(points.shape[1], device=device).expand_as(samples)
    assert torch.equal(samples.sort(dim=1).values, everything)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(1, 3), count=st.integers(1, 80), dims=st.integers(1, 5), levels=st.integers(1, 30),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_any_shape_with_mass_ties(batch: int, count: int, dims: int, levels: int, seed: int, device: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(0, levels, (batch, count, dims), generator=generator).float().to(device)
    start = torch.randint(0, count, (batch,), generator=generator).to(device)
    assert_equals_reference(points, (count + 1) // 2, start=start)


# Clouds of 2,048 points and more are kept in a tree on the CPU; these have the hard properties at such sizes.
def _randn(count: int, dims: int = 3) -> Tensor:
    return torch.randn((1, count, dims), generator=torch.Generator().manual_seed(count))


def _some_nan() -> Tensor:
    points = _randn(3000)
    points[0, ::7] = torch.nan
    points[0, 5::100, 1] = torch.nan
    return points


def _some_infinite() -> Tensor:
    points = _randn(2500)
    points[0, 3:900:50, 0] = torch.inf
    points[0, 4::500] = -torch.inf
    return points


def _lattice(side: int) -> Tensor:
    axis = torch.arange(float(side))
    return torch.cartesian_prod(axis, axis, axis)[None]


LARGE_CLOUDS = {
    "normal": lambda: _randn(5000),
    "sphere": lambda: torch.nn.functional.normalize(_randn(4500), dim=-1),
    "one_coordinate": lambda: _randn(2100, 1),
    "two_coordinates": lambda: _randn(2400, 2),
    "four_coordinates": lambda: _randn(2600, 4),
    "five_coordinates": lambda: _randn(2048, 5),
    "lattice": lambda: _lattice(14),
    "levels": lambda: (_randn(4000) * 3).round(),
    "identical": lambda: torch.full((1, 2500, 3), 0.7),
    "duplicates": lambda: _randn(700).repeat_interleave(4, dim=1),
    "collinear": lambda: torch.arange(3000.0)[None, :, None] * torch.tensor([1.0, 2.0, -1.0]),
    "far_from_origin": lambda: _randn(2200) + 1e4,
    "very_far_from_origin": lambda: _randn(2200) + 1e6,
    "huge": lambda: _randn(2200) * 1e25,
    "tiny": lambda: _randn(2200) * 1e-25,
    "contrast": lambda: torch.cat([_randn(2000), _randn(2001) * 1e-3], dim=1),
    "nan": _some_nan,
    "all_nan": lambda: torch.full((1, 2100, 3), torch.nan),
    "infinite": _some_infinite,
    "several_clouds": lambda: torch.cat([_randn(2304), _lattice(14)[:, :2304]]),
}


@pytest.mark.too_large_to_emulate
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LARGE_CLOUDS)
def test_large_clouds(name: str, dtype: torch.dtype, device: str) -> None:
    points = LARGE_CLOUDS[name]().to(dtype).to(device)
    assert_equals_reference(points, 160, start=points.shape[1] // 7)


@pytest.mark.too_large_to_emulate
@pytest.mark.parametrize("name", ["normal", "duplicates", "nan"])
def test_large_clouds_to_the_last_point(name: str, device: str) -> None:
    points = LARGE_CLOUDS[name]()[:, :2400].to(device)
    assert_equals_reference(points, points.shape[1])


def _with_nan(points: Tensor) -> Tensor:
    points[0, ::5] = torch.nan
    return points


# Of so many coordinates that five threads have a part each, on every path.
SHARED_CLOUDS = {
    "tree": lambda: _randn(60_000),
    "lattice": lambda: _lattice(38),
    "nan": lambda: _with_nan(_randn(60_000)),
    "skewed": lambda: _randn(60_000) ** 5,
    "flat": lambda: _randn(30_000, 6),
    "flat_levels": lambda: _randn(30_000, 6).round(),
}


@pytest.mark.parametrize("name", SHARED_CLOUDS)
def test_threads_share_one_large_cloud(name: str) -> None:
    points = SHARED_CLOUDS[name]()
    threads = torch.get_num_threads()
    try:
        assert_equals_reference(points, 80)
        one = pointkernels.farthest_point_sampling(points, 300)
        for count in (2, 3, 5):
            torch.set_num_threads(count)
            assert torch.equal(pointkernels.farthest_point_sampling(points, 300), one)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.too_large_to_emulate
@pytest.mark.parametrize("scan", ["stanford_bunny", "kitti_000000", "pcl_terrain_CSite1_red1", "redkitchen_000_kitti"])
def test_real_scans(scan: str, shared_data: Path, device: str) -> None:
    with np.load(shared_data / "scans" / f"{scan}.npz") as archive:
        points = torch.from_numpy(archive["points"].astype(np.float32))
    points = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:20_000]]
    assert_equals_reference(points[None].to(device), 150)


# --- starts, threads and layouts --------------------------------------------------------------------------------------


def test_random_start_follows_the_seed_and_stays_in_the_cloud(device: str) -> None:
    points = torch.randn(64, 40, 3, device=device)
    lengths = torch.randint(0, 41, (64,), device=device)
    torch.manual_seed(5)
    samples = pointkernels.farthest_point_sampling(points, 3, start="random", lengths=lengths)
    torch.manual_seed(5)
    assert torch.equal(samples, pointkernels.farthest_point_sampling(points, 3, start="random", lengths=lengths))
    assert bool((samples[:, 0] < lengths).all())
    assert torch.equal(samples[:, 0] == -1, lengths == 0)
    assert len(samples[:, 0].unique()) > 10


def test_number_of_threads_changes_nothing() -> None:
    points = torch.randn(5, 300, 3)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(pointkernels.farthest_point_sampling(points, 50))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_strided_points(device: str) -> None:
    assert_equals_reference(torch.randn(2, 3, 80, device=device).transpose(1, 2), 20)
    assert_equals_reference(torch.randn(2, 160, 6, device=device)[:, ::2, 1:4], 20)


@pytest.mark.too_large_to_emulate
def test_empty_batch_and_many_clouds(device: str) -> None:
    assert pointkernels.farthest_point_sampling(torch.randn(0, 10, 3, device=device), 4).shape == (0, 4)
    samples = pointkernels.farthest_point_sampling(torch.randn(70_000, 2, 3, device=device), 2, start=1)
    assert torch.equal(samples.cpu(), torch.tensor([1, 0]).expand(70_000, 2))


def test_shapes_past_two_to_the_31st() -> None:
    samples = pointkernels.farthest_point_sampling(torch.empty(3, 2**30, 3, device="meta"), 2**30)
    assert samples.shape == (3, 2**30)


# --- dispatch and compilation -----------------------------------------------------------------------------------------


@pytest.mark.one_instruction_set
def test_opcheck(device: str) -> None:
    points, start = torch.randn(20, 3, device=device), torch.tensor([3, 0], device=device)
    extents = torch.tensor([[0, 12], [12, 5]], device=device)
    torch.library.opcheck(torch.ops.pointkernels.farthest_point_sampling.default, (points, extents, start, 2, 8))
    torch.library.opcheck(torch.ops.pointkernels.farthest_point_sampling.default, (points, None, start, 2, 8))


@pytest.mark.one_instruction_set
def test_compiles_whole(device: str) -> None:
    def sample(points: Tensor, lengths: Tensor, start: Tensor) -> Tensor:
        return pointkernels.farthest_point_sampling(points * 2, 6, start=start, lengths=lengths)

    points = torch.randn(2, 30, 3, device=device)
    lengths, start = torch.tensor([30, 12], device=device), torch.tensor([4, 5], device=device)
    compiled = torch.compile(sample, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(points, lengths, start), sample(points, lengths, start))
    plain = torch.compile(pointkernels.farthest_point_sampling, fullgraph=True, backend="aot_eager")
    assert torch.equal(plain(points, 6), pointkernels.farthest_point_sampling(points, 6))


def test_autocast_changes_nothing(device: str) -> None:
    points = torch.randn(2, 60, 3, device=device)
    with torch.autocast(device, dtype=torch.bfloat16):
        samples = pointkernels.farthest_point_sampling(points, 10)
    assert torch.equal(samples, pointkernels.farthest_point_sampling(points, 10))


# --- errors, word for word --------------------------------------------------------------------------------------------

POINTS = torch.zeros(2, 5, 3)


@pytest.mark.parametrize(
    ("points", "num_samples", "options", "error", "message"),
    [
        (torch.zeros(5, 3), 2, {}, ValueError, "points must have shape (B, N, D), got (5, 3)"),
        (
            POINTS.long(),
            2,
            {},
            TypeError,
            "points must be float16, bfloat16, float32 or float64, got torch.int64",
        ),
        (POINTS, 0, {}, ValueError, "num_samples must be at least 1, got 0"),
        (POINTS, 6, {}, ValueError, "num_samples must be at most the number of points, 5, got 6"),
        (POINTS, 2, {"start": 5}, ValueError, "start must be a point of its cloud, got 5"),
        (POINTS, 2, {"start": -1}, ValueError, "start must be a point of its cloud, got -1"),
        (POINTS, 2, {"start": torch.tensor([0, 7])}, ValueError, "start must be a point of its cloud, got 7"),
        (POINTS, 2, {"start": torch.tensor([0])}, ValueError, "start must have shape (2,), got (1,)"),
        (POINTS, 2, {"start": torch.zeros(2)}, TypeError, "start must be int64, got torch.float32"),
        (POINTS, 2, {"start": "first"}, ValueError, "start must be an int, a tensor or \"random\", got 'first'"),
        (POINTS, 2, {"start": 1.0}, TypeError, 'start must be an int, an int64 tensor or "random", got float'),
        (POINTS, 2, {"lengths": torch.tensor([5, 6])}, ValueError, "lengths must lie in [0, 5], got 6"),
        (
            POINTS,
            2,
            {"lengths": torch.tensor([5, 2]), "start": 2},
            ValueError,
            "start must be a point of its cloud, got 2",
        ),
    ],
)
def test_errors(
    points: Tensor, num_samples: int, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        pointkernels.farthest_point_sampling(points, num_samples, **options)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_direct_call_of_the_operator_stays_in_memory() -> None:
    with pytest.raises(RuntimeError, match="must be one of its 10 points"):
        torch.ops.pointkernels.farthest_point_sampling(torch.randn(10, 3), None, torch.tensor([10]), 1, 3)
