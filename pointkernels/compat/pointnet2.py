"""Functions of `pointnet2_ops.pointnet2_utils`, on their layouts: features channels first, indices int32.

Change `from pointnet2_ops import pointnet2_utils` to `from pointkernels.compat import pointnet2 as pointnet2_utils`:
same names, arguments, shapes and dtypes. What differs:

- it runs on the CPU too, in any floating dtype, and gradients are deterministic;
- `furthest_point_sample` does not skip points near the origin (squared norm up to 1e-3), takes no point twice, breaks
  ties to the lower index, and refuses npoint above N;
- indices may be int64 as well as int32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pointkernels import _checks
from pointkernels.ops.ball_query import ball_query as _ball_query
from pointkernels.ops.farthest_point_sampling import farthest_point_sampling
from pointkernels.ops.gather import gather_neighbors, gather_weighted
from pointkernels.ops.knn import knn

__all__ = [
    "ball_query",
    "furthest_point_sample",
    "gather_operation",
    "grouping_operation",
    "three_interpolate",
    "three_nn",
]


def furthest_point_sample(xyz: Tensor, npoint: int) -> Tensor:
    """Farthest point sampling from the first point on.

    Args:
        xyz: (B, N, 3) points.
        npoint: number of samples, from 1 to N.

    Returns:
        (B, npoint) int32. Not differentiable.

    Raises:
        TypeError: xyz that is not floating, npoint that is not an int.
        ValueError: another shape, npoint outside [1, N].

    Example:
        >>> xyz = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0]]])
        >>> pointkernels.compat.pointnet2.furthest_point_sample(xyz, 2)
        tensor([[0, 2]], dtype=torch.int32)
    """
    return farthest_point_sampling(xyz, npoint).int()


def gather_operation(features: Tensor, idx: Tensor) -> Tensor:
    """The features of some points.

    Args:
        features: (B, C, N).
        idx: (B, npoint) int32 or int64.

    Returns:
        (B, C, npoint), differentiable any number of times in features.

    Raises:
        TypeError: features that are not floating, idx that is not integer.
        ValueError: other shapes or devices, idx out of range.

    Example:
        >>> features = torch.tensor([[[1.0, 2.0, 3.0]]])
        >>> pointkernels.compat.pointnet2.gather_operation(features, torch.tensor([[2, 0]]))
        tensor([[[3., 1.]]])
    """
    lists = _indices(idx, "(B, npoint)", 2)
    return _grouped(features, lists[:, :, None]).squeeze(3)


def grouping_operation(features: Tensor, idx: Tensor) -> Tensor:
    """The features of the points of each group.

    Args:
        features: (B, C, N).
        idx: (B, npoint, nsample) int32 or int64.

    Returns:
        (B, C, npoint, nsample), differentiable any number of times in features.

    Raises:
        TypeError: features that are not floating, idx that is not integer.
        ValueError: other shapes or devices, idx out of range.

    Example:
        >>> features = torch.tensor([[[1.0, 2.0, 3.0]]])
        >>> pointkernels.compat.pointnet2.grouping_operation(features, torch.tensor([[[2, 0], [1, 1]]]))
        tensor([[[[3., 1.],
                  [2., 2.]]]])
    """
    return _grouped(features, _indices(idx, "(B, npoint, nsample)", 3))


def three_nn(unknown: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The three nearest known points of each unknown one.

    Args:
        unknown: (B, n, 3).
        known: (B, m, 3).

    Returns:
        Distances (B, n, 3), not squared, and indices (B, n, 3) int32; infinity and 0 where m is below 3. Not
        differentiable.

    Raises:
        TypeError: tensors that are not floating, or of different dtypes.
        ValueError: other shapes or devices.

    Example:
        >>> points = torch.tensor([[[0.0], [1.0], [3.0]]])
        >>> pointkernels.compat.pointnet2.three_nn(points, points)[0][0, 0]
        tensor([0., 1., 3.])
    """
    _checks.check_floating(unknown, "unknown", "(B, n, 3)")
    _checks.check_floating(known, "known", "(B, m, 3)")
    squares, idx = knn(known.detach(), 3, query=unknown.detach(), return_distance=True)
    return squares.sqrt(), idx.clamp(min=0).int()


def three_interpolate(features: Tensor, idx: Tensor, weight: Tensor) -> Tensor:
    """The weighted sum of the features of three points.

    Args:
        features: (B, c, m).
        idx: (B, n, 3) int32 or int64.
        weight: (B, n, 3).

    Returns:
        (B, c, n), differentiable any number of times in features and weight.

    Raises:
        TypeError: tensors that are not floating, or of different dtypes, idx that is not integer.
        ValueError: other shapes or devices, idx out of range.

    Example:
        >>> features = torch.tensor([[[1.0, 2.0, 3.0]]])
        >>> idx, weight = torch.tensor([[[0, 1, 2]]]), torch.tensor([[[0.5, 0.25, 0.25]]])
        >>> pointkernels.compat.pointnet2.three_interpolate(features, idx, weight)
        tensor([[[1.7500]]])
    """
    _checks.check_floating(features, "features", "(B, c, m)")
    lists = _indices(idx, "(B, n, 3)", 3)
    if isinstance(weight, Tensor) and weight.is_floating_point():
        weight = weight.to(features.dtype)  # autocast may have left the two in different dtypes
    return gather_weighted(features.transpose(1, 2), lists, weight).transpose(1, 2).contiguous()


def ball_query(radius: float, nsample: int, xyz: Tensor, new_xyz: Tensor) -> Tensor:
    """The first nsample points, in index order, strictly within a radius of each centre.

    Args:
        radius: at least 0.
        nsample: number of points in a group.
        xyz: (B, N, 3) points.
        new_xyz: (B, npoint, 3) centres.

    Returns:
        (B, npoint, nsample) int32; a group that is not full repeats its first point, an empty one is all 0, as in
        PointNet++. Not differentiable.

    Raises:
        TypeError: tensors that are not floating, or of different dtypes; a radius that is not a number.
        ValueError: other shapes or devices, a negative radius, nsample below 1.

    Example:
        >>> xyz = torch.tensor([[[0.0], [1.0], [3.0]]])
        >>> pointkernels.compat.pointnet2.ball_query(1.5, 3, xyz, xyz)
        tensor([[[0, 1, 0],
                 [0, 1, 0],
                 [2, 2, 2]]], dtype=torch.int32)
    """
    idx = _ball_query(xyz, radius, nsample, query=new_xyz)
    first = idx[:, :, :1].clamp(min=0)
    return torch.where(idx < 0, first, idx).int()


def _indices(idx: Tensor, shape: str, dim: int) -> Tensor:
    if not isinstance(idx, Tensor) or idx.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"idx must be an int32 or int64 tensor, got {getattr(idx, 'dtype', type(idx).__name__)}")
    if idx.dim() != dim:
        raise ValueError(f"idx must have shape {shape}, got {tuple(idx.shape)}")
    return idx.long()


def _grouped(features: Tensor, lists: Tensor) -> Tensor:
    _checks.check_floating(features, "features", "(B, C, N)")
    return gather_neighbors(features.transpose(1, 2), lists).permute(0, 3, 1, 2).contiguous()
