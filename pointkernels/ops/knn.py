"""Exact k nearest neighbours in batches of point clouds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor

from pointkernels import _batch
from pointkernels._registration import differentiable, fake_kernel, float32_under_autocast
from pointkernels.ops import mapped
from pointkernels.ops.gather import gathered_rows
from pointkernels.ops.reverse_graph import reverse_graph

__all__ = ["from_first_row", "knn", "neighbors_of_features", "search_backward", "search_jvp"]


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
        float64 for float64 input and float32 otherwise, inf where the index is -1, and differentiable any number of
        times in both points and query.

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
    search = _batch.check_search(points, k, query, query_lengths, include_self)
    # While a compiler traces, a comparison of sizes would bind it to this answer.
    if not torch.compiler.is_compiling() and search[2] > points.shape[1] > 1 and search[2] < points.shape[2]:
        warnings.warn(
            f"pointkernels.knn: points must have shape (B, N, D), got {tuple(points.shape)} and k={k}, more than there "
            "are rows: if this is (B, D, N), transpose it",
            stacklevel=2,
        )
    found = _search(points, query, lengths, query_lengths, include_self, return_distance, search)
    return found if return_distance else found[1]


def neighbors_of_features(features: Tensor, k: int) -> Tensor:
    """`knn` of a layer's own features (B, N, C), which are not channels first whatever their sizes are."""
    return _search(features, None, None, None, True, False, _batch.check_search(features, k, None, None, True))[1]


def _search(
    points: Tensor, query: Tensor | None, lengths: Tensor | None, query_lengths: Tensor | None, include_self: bool,
    return_distance: bool, search: tuple[int, int, int],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Squared distances, which mean nothing unless they are asked for, and indices."""
    batch, queries, k = search
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
    return distances.view(batch, queries, k) if return_distance else distances, indices.view(batch, queries, k)


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
    graph = _graph(points, extents, query, query_extents, ctx.clouds, indices)
    offsets, edges = reverse_graph(*graph, points.shape[0])
    grad_points, grad_query = _knn_backward(grad.contiguous(), points, queries, *graph, offsets, edges)
    return (grad_points + grad_query, None) if query is None else (grad_points, grad_query)


def search_jvp(
    inputs: Sequence[Any], outputs: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> tuple[Tensor, None]:
    """Tangents of the squared distances of any neighbour search, and of its indices."""
    points, extents, query, query_extents, clouds, *_ = inputs
    distances, indices = outputs
    if distances.numel() == 0 or points.shape[0] == 0:
        return torch.zeros_like(distances), None
    of_points, of_query = tangents[0], tangents[0 if query is None else 2]
    graph = _graph(points, extents, query, query_extents, clouds, indices)
    queries = points if query is None else query
    return 2 * _products_of_differences((points, queries), (of_points, of_query), *graph), None


def _graph(
    points: Tensor, extents: Tensor | None, query: Tensor | None, query_extents: Tensor | None, clouds: int,
    indices: Tensor,
) -> tuple[Tensor, int, int]:  # fmt: skip
    """Neighbours, the number of query rows in each cloud, and of rows, as the other operators take them."""
    queries = points if query is None else query
    query_extents = extents if query is None else query_extents
    if extents is None and query_extents is None:
        return indices, queries.shape[0] // clouds, points.shape[0] // clouds
    # Clouds of any place and size: count neighbours from the first row of all.
    neighbors = from_first_row(indices, extents, query_extents, clouds, points.shape[0])
    return neighbors, queries.shape[0], points.shape[0]


def _products_of_differences(
    one: tuple[Tensor | None, Tensor | None],
    other: tuple[Tensor | None, Tensor | None],
    neighbors: Tensor,
    query_size: int,
    cloud_size: int,
) -> Tensor:
    """(Q, K): for each edge from i to j the inner product of (p_j - q_i) of one pair (p, q) and of another; 0 for -1.

    It has a tensor of (Q, K, D), as nothing else here: only second derivatives and forward mode need it.
    """

    def differences(points: Tensor | None, queries: Tensor | None) -> Tensor:
        if points is None:
            assert queries is not None
            ends = -queries[:, None].expand(-1, neighbors.shape[1], -1)
        else:
            ends = gathered_rows(points, neighbors, query_size, cloud_size)
            ends = ends if queries is None else ends - queries[:, None]
        return torch.where(neighbors[..., None] >= 0, ends, 0)

    return (differences(*one) * differences(*other)).sum(dim=2)


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    grad, points, query, neighbors, ctx.query_size, ctx.cloud_size, offsets, edges = inputs
    ctx.save_for_backward(grad, points, query, neighbors, offsets, edges)


def _backward_of_backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
    # It is linear in the gradient and in the pair (points, query), and in the latter its own transpose.
    grad, points, query, neighbors, *reverse = ctx.saved_tensors
    of_points, of_query = (g.contiguous() for g in given)
    grads = of_points, of_query
    graph = neighbors, ctx.query_size, ctx.cloud_size
    grad_grad = 2 * _products_of_differences((points, query), grads, *graph) if ctx.needs_input_grad[0] else None
    return grad_grad, *_knn_backward(grad, *grads, *graph, *reverse), None, None, None, None, None


def _jvp_of_backward(
    inputs: Sequence[Any], _: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    grad, points, query, *graph = inputs
    parts = []
    if tangents[0] is not None:
        parts.append(_knn_backward(tangents[0], points, query, *graph))
    if tangents[1] is not None or tangents[2] is not None:
        pair = (torch.zeros_like(x) if t is None else t for x, t in zip((points, query), tangents[1:3], strict=True))
        parts.append(_knn_backward(grad, *pair, *graph))
    return tuple(sum(part[1:], start=part[0]) for part in zip(*parts, strict=True))


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


_knn: Callable[..., Any] = differentiable(
    "pointkernels::knn",
    _backward,
    _setup_context,
    jvp=search_jvp,
    vmap=lambda *arguments: mapped.search(_knn, *arguments),
)
_knn_backward: Callable[..., Any] = differentiable(
    "pointkernels::_knn_backward",
    _backward_of_backward,
    _setup_backward,
    jvp=_jvp_of_backward,
    vmap=lambda *arguments: mapped.search_backward(_knn_backward, *arguments),
)
float32_under_autocast("pointkernels::knn")
