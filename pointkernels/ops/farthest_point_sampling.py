"""Exact farthest point sampling of batches of point clouds."""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch import Tensor

from pointkernels import _batch, _checks
from pointkernels._registration import fake_kernel, float32_under_autocast, integers_only, no_memory, out_of_memory
from pointkernels.ops import mapped

__all__ = ["farthest_point_sampling"]


def farthest_point_sampling(
    points: Tensor,
    num_samples: int,
    *,
    start: int | Tensor | Literal["random"] = 0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Greedy farthest point sampling (Eldar et al., 1997; PointNet++).

    The first sample is `start`; each further one is the point not yet sampled whose squared distance to the nearest
    sample is largest, ties to the lower index. Distances are canonical (see `knn`) and have no cap, so every device and
    code path returns the same integers, and no point is sampled twice, duplicates included. A NaN distance lowers
    nothing, and points with a NaN coordinate come after all others.

    Args:
        points: (B, N, D) float16, bfloat16 (both computed in float32), float32 or float64; any strides.
        num_samples: number of samples of each cloud, from 1 to N.
        start: first sample of each cloud: an int, a (B,) int64 tensor, or "random" (uniform over the cloud, drawn from
            torch's default generator of the device).
        lengths: (B,) int64 or int32, how many rows of each cloud are points; None for all N.

    Returns:
        (B, num_samples) int64, in the order of sampling; -1 past the number of points of a cloud. Not differentiable.

    Raises:
        TypeError: points that are not a floating tensor, or another kind of start.
        ValueError: wrong shapes or devices, num_samples outside [1, N], lengths or start out of range.

    Example:
        >>> points = torch.tensor([[[0.0], [1.0], [5.0], [7.0]]])
        >>> pointkernels.farthest_point_sampling(points, 3)
        tensor([[0, 3, 2]])
    """
    _checks.check_floating(points, "points", "(B, N, D)")
    num_samples = _checks.at_least_one(num_samples, "num_samples")
    batch, count, dims = points.shape
    if dims < 1:
        raise ValueError(f"points must have at least one coordinate, got shape {tuple(points.shape)}")
    if num_samples > count:
        raise ValueError(f"num_samples must be at most the number of points, {count}, got {num_samples}")
    extents = _batch.extents(lengths, "lengths", points, "points")
    # The overload by its name: to let torch choose one takes it longer than all that is done here, on a cold cache a
    # tenth of what it takes to sample eight clouds of 1,024 points.
    operator = torch.ops.pointkernels.farthest_point_sampling.default
    rows = _batch.rows(points.detach() if points.requires_grad else points)
    try:
        samples: Tensor = operator(rows, extents, _first_samples(start, points, lengths), batch, num_samples)
    except RuntimeError as error:
        if out_of_memory(error):
            raise no_memory("farthest_point_sampling") from error
        raise
    return samples


def _first_samples(start: int | Tensor | str, points: Tensor, lengths: Tensor | None) -> Tensor:
    """`start` as (B,) int64."""
    batch, count, _ = points.shape
    if type(start) is not int and not isinstance(start, str) and not (isinstance(start, Tensor) and start.dim() > 0):
        try:
            start = _checks.whole_number(start, "start")
        except TypeError as error:
            raise TypeError(str(error).replace("an int,", 'an int, an int64 tensor or "random",')) from None
    if isinstance(start, str) and start != "random":
        raise ValueError(f'start must be an int, a tensor or "random", got {start!r}')
    rule = "be a point of its cloud"
    if lengths is None and not isinstance(start, (str, Tensor)):
        # Known here; asking the device would take it as long as sampling a small cloud.
        if not 0 <= start < count:
            raise ValueError(f"start must {rule}, got {start}")
        if type(points) is Tensor and points.is_cpu and not torch.compiler.is_compiling():
            return _same_on_cpu(start, batch)
        return torch.full((batch,), start, dtype=torch.int64, device=points.device)
    sizes = torch.full((batch,), count, device=points.device) if lengths is None else lengths.long()
    if isinstance(start, str):
        # float64 holds every index exactly, and 53 random bits leave no visible bias.
        drawn = torch.rand(batch, dtype=torch.float64, device=points.device) * sizes
        return drawn.long().minimum(sizes - 1).clamp(min=0)
    if isinstance(start, Tensor):
        _checks.check_integers(start, "start", (batch,), points, "points")
        first = start.contiguous()
    else:
        first = torch.full((batch,), start, dtype=torch.int64, device=points.device)
    # An empty cloud has no first sample, so its start is not looked at.
    _checks.check_range(torch.where(sizes > 0, first, 0), "start", 0, (sizes - 1).clamp(min=0), rule)
    return first


@functools.lru_cache(maxsize=32)
def _same_on_cpu(start: int, batch: int) -> Tensor:
    """`start` as (B,) int64, kept, since nothing writes to it: filling it takes a tenth of a small cloud's time."""
    return torch.full((batch,), start, dtype=torch.int64, device="cpu")


@fake_kernel("pointkernels::farthest_point_sampling")
def _fake(points: Tensor, extents: Tensor | None, start: Tensor, clouds: int, num_samples: int) -> Tensor:
    return points.new_empty(clouds, num_samples, dtype=torch.int64)


float32_under_autocast("pointkernels::farthest_point_sampling")
integers_only(
    "pointkernels::farthest_point_sampling",
    lambda *arguments: mapped.samples_of_fps(torch.ops.pointkernels.farthest_point_sampling.default, *arguments),
)
