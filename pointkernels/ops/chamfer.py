"""Chamfer distance between batches of point clouds."""

from __future__ import annotations

import torch
from torch import Tensor

from pointkernels.ops.knn import knn

__all__ = ["chamfer_distance", "nearest_squared_distances"]


def chamfer_distance(
    x: Tensor, y: Tensor, *, x_lengths: Tensor | None = None, y_lengths: Tensor | None = None
) -> Tensor:
    """Mean squared distance from each point to the nearest point of the other cloud, both ways, added.

    (1 / N) sum over x of min |x - y|^2 + (1 / M) sum over y of min |y - x|^2, a value a cloud (Fan et al., "A Point Set
    Generation Network", 2017). Nearest neighbours are exact (see `knn`); no (N, M) matrix. For other reductions, and
    normals, see `pointkernels.compat.pytorch3d.chamfer_distance`.

    Args:
        x: (B, N, D) float16, bfloat16 (both computed in float32), float32 or float64.
        y: (B, M, D) like x.
        x_lengths: (B,) int64 or int32, how many rows of each cloud of x are points; None for all N.
        y_lengths: (B,) int64 or int32, likewise for y.

    Returns:
        (B,) float64 for float64 input and float32 otherwise; inf where exactly one of the clouds is empty, 0 where both
        are. Differentiable any number of times in x and y.

    Raises:
        TypeError: tensors that are not floating, or of different dtypes.
        ValueError: wrong shapes, devices, lengths out of range.

    Example:
        >>> x, y = torch.tensor([[[0.0], [4.0]]]), torch.tensor([[[1.0]]])
        >>> pointkernels.chamfer_distance(x, y)
        tensor([6.])
    """
    there = nearest_squared_distances(x, y, x_lengths, y_lengths)
    back = nearest_squared_distances(y, x, y_lengths, x_lengths)
    return _mean(there, x_lengths) + _mean(back, y_lengths)


def nearest_squared_distances(x: Tensor, y: Tensor, x_lengths: Tensor | None, y_lengths: Tensor | None) -> Tensor:
    """(B, N): squared distance of each point of x to the nearest point of y; 0 past the length of x."""
    distances, _ = knn(y, 1, query=x, lengths=y_lengths, query_lengths=x_lengths, return_distance=True)
    nearest = distances.squeeze(2)
    if x_lengths is None:
        return nearest
    padding = torch.arange(x.shape[1], device=x.device) >= x_lengths[:, None]
    return nearest.masked_fill(padding, 0.0)


def _mean(distances: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return distances.sum(dim=1) / max(distances.shape[1], 1)
    return distances.sum(dim=1) / lengths.clamp(min=1)
