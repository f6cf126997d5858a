"""Interpolation of features between points, by inverse distances."""

from __future__ import annotations

import torch
from torch import Tensor

from pointkernels import _checks
from pointkernels.ops.gather import gather_weighted
from pointkernels.ops.knn import knn

__all__ = ["interpolate"]

_SMALLEST = 1e-16  # below it, a squared distance counts as this one: a query on a point takes that point's features


def interpolate(
    features: Tensor,
    points: Tensor,
    query: Tensor,
    *,
    k: int = 3,
    lengths: Tensor | None = None,
    query_lengths: Tensor | None = None,
) -> Tensor:
    """Features at the queries: the mean over the k nearest points, weighted by inverse squared distance.

    The feature propagation of PointNet++ (Qi et al., 2017), without a (B, M, K, C) tensor.

    Args:
        features: (B, N, C) float16, bfloat16 (both computed in float32), float32 or float64.
        points: (B, N, D) positions of the features.
        query: (B, M, D) positions wanted.
        k: number of neighbours to mix.
        lengths: (B,) int64 or int32, how many rows of each cloud are points; None for all N.
        query_lengths: (B,) int64 or int32, how many rows of each cloud are queries; None for all M.

    Returns:
        (B, M, C) in the dtype of the features; zeros past the query length and in a cloud without points.
        Differentiable any number of times in features, points and query.

    Raises:
        TypeError: tensors that are not floating.
        ValueError: wrong shapes, devices, k below 1, lengths out of range.

    Example:
        >>> points = torch.tensor([[[0.0], [1.0], [8.0]]])
        >>> pointkernels.interpolate(points, points, torch.tensor([[[0.5]]]), k=2)
        tensor([[[0.5000]]])
    """
    _checks.check_floating(features, "features", "(B, N, C)")
    _checks.check_floating(points, "points", "(B, N, D)")
    if features.shape[:2] != points.shape[:2]:
        raise ValueError(
            f"features must have a row for each of the points, {tuple(points.shape)}, got {tuple(features.shape)}"
        )
    distances, neighbors = knn(
        points, k, query=query, lengths=lengths, query_lengths=query_lengths, return_distance=True
    )
    inverse = torch.where(neighbors >= 0, distances.clamp(min=_SMALLEST), torch.inf).reciprocal()
    # All weights of a query are 0 where there is no neighbour, or where every distance is infinite.
    weights = inverse / inverse.sum(dim=2, keepdim=True).clamp(min=torch.finfo(inverse.dtype).tiny)
    compute = torch.promote_types(features.dtype, weights.dtype)
    return gather_weighted(features.to(compute), neighbors, weights.to(compute)).to(features.dtype)
