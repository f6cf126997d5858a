"""Exact k nearest neighbours in batches of point clouds."""

from __future__ import annotations

import warnings
from typing import Any, Literal, overload

import torch
from torch import Tensor

from pointkernels import _batch
from pointkernels._registration import differentiable, differentiable_once, fake_kernel, float32_under_autocast
from pointkernels.ops.reverse_graph import reverse_graph

__all__ = ["from_first_row", "knn", "search_backward"]


@overload
def knn(
    points: Tensor,
    k: int,
    *,
    query: Tensor | None = ...,
    lengths: Tensor | None = ...,
    query_lengths: Tensor | None = ...,
    include_self: bool = ...,
    return_distance: Literal[False] = ...,
) -> Tensor: ...


@overload
def knn(
    points: Tensor,
    k: int,
    *,
    query: Tensor | None = ...,
    lengths: Tensor | None = ...,
    query_lengths: Tensor | None = ...,
    include_self: bool = ...,
    return_distance: Literal[True],
) -> tuple[Tensor, Tensor]: ...


def knn(
    points: Tensor,
    k: int,
    *,
    query: Tensor | None = None,
    lengths: Tensor | None = None,
    query_lengths: Tensor | None = None,
    include_self: bool = True,
    return_distance: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The k nearest points of each query, nearest first.

    Exact: points are ranked by the canonical squared distance (one fused multiply-add per coordinate, in coordinate
    order, in float32 or float64), ties go to the lower index, and a NaN distance ranks after all others. Every device,
    code path and thread count returns the same integers.

    Args:
        points: (B, N, D) float16, bfloat16 (both computed in float32), float32 or float64; any strides.
        k: number of neighbours, at least 1, without upper limit.
        query: (B, M, D) like points, or None to search the neighbours of the points themselves.
        lengths: (B,) int64 or int32, how many rows of each cloud are points; None for all N.
        query_lengths: (B,) int64 or int32, how many rows of each cloud are queries; None for all M. Only with `query`.
        include_self: whether a point is a neighbour of itself. False only without `query`.
        return_distance: also return the squared distances.

    Returns:
        Indices (B, M, K) int64 into the points of the same cloud, -1 where a cloud has fewer than K candidates and in
        rows past the query length. With return_distance, the pair (squared distances, indices); distances (B, M, K) are
        float64 for float64 input and float32 otherwise, inf where the index is -1, and differentiable once in both
        points and query.

    Raises:
        TypeError: tensors that are not floating, or of different dtypes.
        ValueError: wrong shapes, devices, k below 1, lengths out of range, include_self=False with a query.

    Warns:
        UserWarning: 1 < N < k < D, as of points that came as (B, D, N). Not under torch.compile.

    Example:
        >>> points = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]])
        >>> pointkernels.knn(points, 2)
        tensor([[[0, 1],
                 [1, 0],
                 [2, 1]]])
    """
    batch, queries, k = _batch.check_search(points, k, query, query_lengths, include_self)
    # While a compiler traces, a comparison of sizes would bind it to this answer.
    rows = queries if query is None else points.shape[1]
    if not torch.compiler.is_compiling() and k > rows > 1 and k < points.shape[2]:
        warnings.warn(
            f"pointkernels.knn: points must have shape (B, N, D), got {tuple(points.shape)} and k={k}, more than there "
            "are rows: if this is (B, D, N), transpose it",
            stacklevel=2,
        )
    extents = _batch.extents(lengths, "lengths", points, "points")
    query_extents = None if query is None else _batch.extents(query_lengths, "query_lengths", query, "query")
    if not return_distance:
        points, query = points.detach(), None if query is None else query.detach()
    distances, indices = _knn(
        _batch.rows(points),
        extents,
        None if query is None else _batch.rows(query),
        query_extents,
        batch,
        k,
        include_self,
        return_distance,
    )
    indices = indices.view(batch, queries, k)
    return (distances.view(batch, queries, k), indices) if return_distance else indices


@fake_kernel("pointkernels::knn")
def _fake(
    points: Tensor,
    extents: Tensor | None,
    query: Tensor | None,
    query_extents: Tensor | None,
    clouds: int,
    k: int,
    include_self: bool,
    with_distances: bool = True,
) -> tuple[Tensor, Tensor]:
    rows = (points if query is None else query).shape[0]
    return points.new_empty(rows if with_distances else 0, k), points.new_empty(rows, k, dtype=torch.int64)


@fake_kernel("pointkernels::_knn_backward")
def _fake_backward(
    grad: Tensor,
    points: Tensor,
    query: Tensor,
    neighbors: Tensor,
    query_size: int,
    cloud_size: int,
    offsets: Tensor,
    edges: Tensor,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(points), torch.empty_like(query)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    points, extents, query, query_extents, clouds, _, _, _ = inputs
    _, indices = output
    ctx.mark_non_differentiable(indices)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(points, extents, query, query_extents, indices)
    ctx.clouds = clouds


def _backward(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    grad_points, grad_query = search_backward(ctx, grad)
    return grad_points, None, grad_query, None, None, None, None, None


def search_backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Gradient of the squared distances of any neighbour search, from what its context saved, in points and query."""
    points, extents, query, query_extents, indices = ctx.saved_tensors
    if grad is None or grad.shape[0] == 0 or points.shape[0] == 0:
        return None, None
    queries = points if query is None else query
    query_extents = extents if query is None else query_extents
    neighbors, query_size, cloud_size = indices, queries.shape[0] // ctx.clouds, points.shape[0] // ctx.clouds
    if extents is not None or query_extents is not None:
        # Clouds of any place and size: count neighbours from the first row of all.
        neighbors = from_first_row(indices, extents, query_extents, ctx.clouds, points.shape[0])
        query_size, cloud_size = queries.shape[0], points.shape[0]
    offsets, edges = reverse_graph(neighbors, query_size, cloud_size, points.shape[0])
    grad_points, grad_query = _knn_backward(
        grad.contiguous(), points, queries, neighbors, query_size, cloud_size, offsets, edges
    )
    return (grad_points + grad_query, None) if query is None else (grad_points, grad_query)


def from_first_row(
    indices: Tensor, extents: Tensor | None, query_extents: Tensor | None, clouds: int, rows: int
) -> Tensor:
    """Indices counted within clouds as indices counted over all rows."""
    queries = indices.shape[0]
    row = torch.arange(queries, device=indices.device)
    if query_extents is None:
        cloud = row // max(queries // clouds, 1)
    else:
        cloud = torch.searchsorted(query_extents[:, 0].contiguous(), row, right=True) - 1
    cloud = cloud.clamp(min=0)  # rows before the first cloud have no neighbours
    first = cloud * (rows // clouds) if extents is None else extents[:, 0][cloud]
    return torch.where(indices >= 0, indices + first[:, None], -1)


_knn = differentiable("pointkernels::knn", _backward, _setup_context)
_knn_backward = differentiable_once("pointkernels::_knn_backward", "distances of knn")
float32_under_autocast("pointkernels::knn")
