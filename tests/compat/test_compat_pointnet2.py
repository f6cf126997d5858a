"""`pointkernels.compat.pointnet2`: every function against plain torch, on its layout."""

from __future__ import annotations

from collections.abc import Callable

import oracles
import pytest
import torch
from oracles import CLOUDS
from torch import Tensor

from pointkernels.compat import pointnet2


@pytest.mark.parametrize("name", CLOUDS)
def test_sampling_and_neighbours(name: str) -> None:
    xyz = CLOUDS[name].float()
    samples = pointnet2.furthest_point_sample(xyz, 9)
    assert samples.dtype == torch.int32
    new_xyz = xyz[:, 3:12].contiguous()
    dist, idx = pointnet2.three_nn(new_xyz, xyz)
    assert idx.dtype == torch.int32
    for b in range(2):
        assert samples[b].tolist() == oracles.farthest(CLOUDS[name][b], 9)
        squares, order = oracles.nearest(CLOUDS[name][b], CLOUDS[name][b, 3:12], 3)
        assert torch.equal(idx[b].long(), order)
        torch.testing.assert_close(dist[b].double(), squares.sqrt(), rtol=1e-5, atol=1e-6)
    radius = 1e5 if name == "far" else 1.5
    groups = pointnet2.ball_query(radius, 5, xyz, new_xyz + 0.25)
    assert groups.dtype == torch.int32
    for b in range(2):
        for group, found in zip(groups[b].tolist(), oracles.within(xyz[b], new_xyz[b] + 0.25, radius), strict=True):
            first = found[:5]
            assert group == first + [first[0] if first else 0] * (5 - len(first))


def test_points_near_the_origin_are_sampled() -> None:
    """The original skips them, so that clouds get holes."""
    xyz = torch.tensor([[[1.0, 0, 0], [0.9, 0, 0], [0.0, 0, 0]]])
    assert pointnet2.furthest_point_sample(xyz, 2).tolist() == [[0, 2]]


def test_fewer_than_three_known_points() -> None:
    dist, idx = pointnet2.three_nn(torch.zeros(1, 1, 3), torch.ones(1, 2, 3))
    assert idx.tolist() == [[[0, 1, 0]]]
    assert dist[0, 0, 2] == torch.inf


@pytest.mark.parametrize("integer", [torch.int32, torch.int64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_gathering(integer: torch.dtype, dtype: torch.dtype) -> None:
    features = torch.randn(2, 4, 24, dtype=torch.float64).to(dtype)
    idx = torch.randint(0, 24, (2, 5, 3), dtype=integer)
    grouped = pointnet2.grouping_operation(features, idx)
    gathered = pointnet2.gather_operation(features, idx[:, :, 0].contiguous())
    weight = torch.rand(2, 5, 3, dtype=dtype)
    mixed = pointnet2.three_interpolate(features, idx, weight)
    assert grouped.shape == (2, 4, 5, 3)
    assert grouped.is_contiguous()
    assert grouped.dtype == mixed.dtype == dtype
    expected = torch.stack([features[b][:, idx[b].long()] for b in range(2)])
    assert torch.equal(grouped, expected)
    assert torch.equal(gathered, expected[..., 0])
    wide = torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(mixed, (expected.to(wide) * weight[:, None].to(wide)).sum(3).to(dtype))


def test_gradients() -> None:
    features = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(2, 5, 3, dtype=torch.float64, requires_grad=True)
    idx = torch.randint(0, 8, (2, 5, 3), dtype=torch.int32)
    assert torch.autograd.gradcheck(lambda f: pointnet2.grouping_operation(f, idx), (features,))
    assert torch.autograd.gradcheck(lambda f: pointnet2.gather_operation(f, idx[:, :, 0]), (features,))
    assert torch.autograd.gradcheck(lambda f, w: pointnet2.three_interpolate(f, idx, w), (features, weight))
    xyz = torch.randn(1, 9, 3, requires_grad=True)
    assert not pointnet2.three_nn(xyz, xyz)[0].requires_grad


def set_abstraction(xyz: Tensor, features: Tensor) -> Tensor:
    """A layer of PointNet++ and its inverse."""
    channels_first = xyz.transpose(1, 2).contiguous()
    samples = pointnet2.furthest_point_sample(xyz, 6)
    new_xyz = pointnet2.gather_operation(channels_first, samples).transpose(1, 2).contiguous()
    groups = pointnet2.ball_query(1.0, 4, xyz, new_xyz)
    pooled = pointnet2.grouping_operation(features, groups).amax(3)
    dist, idx = pointnet2.three_nn(xyz, new_xyz)
    inverse = 1 / (dist + 1e-8)
    return pointnet2.three_interpolate(pooled, idx, inverse / inverse.sum(2, keepdim=True))


def test_compiles_and_autocasts() -> None:
    xyz, features = CLOUDS["random"].float(), torch.randn(2, 5, 24)
    expected = set_abstraction(xyz, features)
    compiled = torch.compile(set_abstraction, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(xyz, features), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(set_abstraction(xyz, features), expected)
        half = set_abstraction(xyz, features.bfloat16())
    assert half.dtype == torch.bfloat16


XYZ, IDX = torch.zeros(1, 4, 3), torch.zeros(1, 2, 3, dtype=torch.int32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: pointnet2.furthest_point_sample(XYZ, 5),
            ValueError,
            "num_samples must be at most the number of points, 4, got 5",
        ),
        (
            lambda: pointnet2.grouping_operation(XYZ, IDX.float()),
            TypeError,
            "idx must be an int32 or int64 tensor, got torch.float32",
        ),
        (
            lambda: pointnet2.gather_operation(XYZ, IDX),
            ValueError,
            "idx must have shape (B, npoint), got (1, 2, 3)",
        ),
        (
            lambda: pointnet2.grouping_operation(XYZ, IDX + 3),
            ValueError,
            "neighbors must be -1 or lie in [0, 3), got 3",
        ),
        (
            lambda: pointnet2.three_interpolate(XYZ, IDX, torch.zeros(1, 2, 2)),
            ValueError,
            "weights must have the shape of neighbors, (1, 2, 3), got (1, 2, 2)",
        ),
        (lambda: pointnet2.ball_query(-1.0, 2, XYZ, XYZ), ValueError, "radius must be at least 0, got -1.0"),
        (lambda: pointnet2.ball_query(1.0, 0, XYZ, XYZ), ValueError, "k must be at least 1, got 0"),
        (
            lambda: pointnet2.three_nn(XYZ, XYZ.double()),
            TypeError,
            "query must have the dtype of points, torch.float64, got torch.float32",
        ),
    ],
)
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
