"""Exact radius search in batches of point clouds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import torch
from torch import Tensor

from pointkernels import _batch, _checks
from pointkernels._registration import differentiable, fake_kernel, float32_under_autocast
from pointkernels.ops import mapped
from pointkernels.ops.knn import _knn, search_backward, search_jvp

__all__ = ["ball_query"]


@overload
def ball_query(
    points: Tensor,
    radius: float,
    k: int,
    *,
    query: Tensor | None = ...,
    lengths: Tensor | None = ...,
    query_lengths: Tensor | None = ...,
    include_self: bool = ...,
    nearest: bool = ...,
    return_distance: Literal[False] = ...,
) -> Tensor: ...


@overload
def ball_query(
    points: Tensor,
    radius: float,
    k: int,
    *,
    query: Tensor | None = ...,
    lengths: Tensor | None = ...,
    query_lengths: Tensor | None = ...,
    include_self: bool = ...,
    nearest: bool = ...,
    return_distance: Literal[True],
) -> tuple[Tensor, Tensor]: ...


def ball_query(
    points: Tensor,
    radius: float,
    k: int,
    *,
    query: Tensor | None = None,
    lengths: Tensor | None = None,
    query_lengths: Tensor | None = None,
    include_self: bool = True,
    nearest: bool = False,
    return_distance: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Up to k points strictly within a radius of each query (PointNet++, Qi et al., 2017).

    Exact: a point is a neighbour when its canonical squared distance (see `knn`) is below the squared radius. Every
    device, code path and thread count returns the same integers.

    Args:
        points: (B, N, D) float16, bfloat16 (both computed in float32), float32 or float64; any strides.
        radius: at least 0; may be infinite.
        k: most neighbours of a query, at least 1, without upper limit.
        query: (B, M, D) like points, or None to search the neighbours of the points themselves.
        lengths: (B,) int64 or int32, how many rows of each cloud are points; None for all N.
        query_lengths: (B,) int64 or int32, how many rows of each cloud are queries; None for all M. Only with `query`.
        include_self: whether a point is a neighbour of itself. False only without `query`.
        nearest: which k, where there are more: False, the first k in index order, so that the search can stop early;
            True, the k nearest, nearest first, ties to the lower index.
        return_distance: also return the squared distances.

    Returns:
        Indices (B, M, K) int64 into the points of the same cloud, neighbours first, then -1; `(indices >= 0).sum(-1)`
        counts them. With return_distance, the pair (squared distances, indices); distances (B, M, K) are float64 for
        float64 input and float32 otherwise, inf where the index is -1, and differentiable any number of times in points
        and query.

    Raises:
        TypeError: tensors that are not floating, or of different dtypes; a radius that is not a number.
        ValueError: wrong shapes, devices, k below 1, a negative radius, lengths out of range, include_self=False with a
            query.

    Example:
        >>> points = torch.tensor([[[0.0], [2.0], [1.0], [9.0]]])
        >>> pointkernels.ball_query(points, 2.5, 3)
        tensor([[[ 0,  1,  2],
                 [ 0,  1,  2],
                 [ 0,  1,  2],
                 [ 3, -1, -1]]])
        >>> pointkernels.ball_query(points, 2.5, 2, nearest=True)[0, 0]
        tensor([0, 2])
    """
    batch, queries, k = _batch.check_search(points, k, query, query_lengths, include_self)
    radius = _checks.real_number(radius, "radius")
    if not radius >= 0:
        raise ValueError(f"radius must be at least 0, got {radius}")
    extents = _batch.extents(lengths, "lengths", points, "points")
    query_extents = None if query is None else _batch.extents(query_lengths, "query_lengths", query, "query")
    if not return_distance:
        points, query = points.detach(), None if query is None else query.detach()
    square = float(radius) * float(radius)
    rows, query_rows = _batch.rows(points), None if query is None else _batch.rows(query)
    if nearest:
        distances, indices = _knn(rows, extents, query_rows, query_extents, batch, k, include_self, True)
        bound = torch.tensor(square, dtype=torch.float64).to(distances.dtype)
        outside = ~(distances < bound.to(distances.device))
        distances, indices = distances.masked_fill(outside, torch.inf), indices.masked_fill(outside, -1)
    else:
        distances, indices = _ball_query(rows, extents, query_rows, query_extents, batch, square, k, include_self)
    indices = indices.view(batch, queries, k)
    return (distances.view(batch, queries, k), indices) if return_distance else indices


@fake_kernel("pointkernels::ball_query")
def _fake(
    points: Tensor,
    extents: Tensor | None,
    query: Tensor | None,
    query_extents: Tensor | None,
    clouds: int,
    squared_radius: float,
    k: int,
    include_self: bool,
) -> tuple[Tensor, Tensor]:
    rows = (points if query is None else query).shape[0]
    return points.new_empty(rows, k), points.new_empty(rows, k, dtype=torch.int64)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    points, extents, query, query_extents, clouds, *_ = inputs
    _, indices = output
    ctx.mark_non_differentiable(indices)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(points, extents, query, query_extents, indices)
    ctx.clouds = clouds


def _backward(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    grad_points, grad_query = search_backward(ctx, grad)
    return grad_points, None, grad_query, None, None, None, None, None


_ball_query: Callable[..., Any] = differentiable(
    "pointkernels::ball_query",
    _backward,
    _setup_context,
    jvp=search_jvp,
    vmap=lambda *arguments: mapped.search(_ball_query, *arguments),
)
float32_under_autocast("pointkernels::ball_query")
