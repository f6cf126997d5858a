"""The operators under torch.vmap: the samples become clouds of one call, or channels where they share a graph.

Each function is a rule as `_transforms.VmapRule` has it, but for the operator's function in front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pointkernels._transforms import by_sample, channels, one_by_one, rows
from pointkernels.ops.reverse_graph import reverse_graph

__all__ = [
    "Dims",
    "center_rows",
    "edge_conv",
    "edge_conv_of_clouds",
    "edge_conv_two_layer",
    "edge_products",
    "gather",
    "linear",
    "linear_backward",
    "samples_of_fps",
    "search",
    "search_backward",
    "sum_over_edges",
    "targets_of_edges",
    "used_rows",
    "weighted",
]

Dims = Sequence[int | None]


def search(call: Callable[..., Any], samples: int, dims: Dims, *arguments: Any) -> tuple[Any, Any]:
    """`knn` and `ball_query`."""
    points, extents, query, query_extents, clouds, *rest = arguments
    all_points = rows(points, dims[0], samples)
    all_queries = None if query is None else rows(query, dims[2], samples)
    distances, indices = call(
        all_points,
        _extents(extents, dims[1], samples, all_points),
        all_queries,
        None if all_queries is None else _extents(query_extents, dims[3], samples, all_queries),
        samples * clouds,
        *rest,
    )
    return (by_sample(distances, samples), by_sample(indices, samples)), (0, 0)


def _extents(extents: Tensor | None, dim: int | None, samples: int, all_rows: Tensor) -> Tensor | None:
    if extents is None:
        return None
    stacked = by_sample(rows(extents, dim, samples), samples)
    first = torch.arange(samples, device=extents.device) * (all_rows.shape[0] // samples)
    return torch.stack([stacked[..., 0] + first[:, None], stacked[..., 1]], dim=2).flatten(0, 1)


def samples_of_fps(call: Callable[..., Any], samples: int, dims: Dims, *arguments: Any) -> tuple[Any, Any]:
    """`farthest_point_sampling`."""
    points, extents, start, clouds, number = arguments
    all_points = rows(points, dims[0], samples)
    all_extents = _extents(extents, dims[1], samples, all_points)
    found = call(all_points, all_extents, rows(start, dims[2], samples), samples * clouds, number)
    return by_sample(found, samples), 0


def search_backward(call: Callable[..., Any], samples: int, dims: Dims, *arguments: Any) -> tuple[Any, Any]:
    """`_knn_backward`."""
    grad, points, query, neighbors, query_size, cloud_size, *_ = arguments
    lists = rows(neighbors, dims[3], samples)
    everything = [rows(tensor, dim, samples) for tensor, dim in zip((grad, points, query), dims, strict=False)]
    if not _whole_clouds(lists, everything[1], samples, query_size, cloud_size):
        return one_by_one(call)(samples, dims, *arguments)
    graph = reverse_graph(lists, query_size, cloud_size, everything[1].shape[0])
    grads = call(*everything, lists, query_size, cloud_size, *graph)
    return tuple(by_sample(g, samples) for g in grads), (0, 0)


def _whole_clouds(lists: Tensor, all_rows: Tensor, samples: int, query_size: int, cloud_size: int) -> bool:
    """Whether the row that an edge leads to is counted from its sample's first one when the samples are stacked."""
    queries, count = lists.shape[0] // samples, all_rows.shape[0] // samples
    return query_size == 0 or (queries % query_size == 0 and queries // query_size * cloud_size == count)


def gather(call: Callable[..., Any], samples: int, dims: Dims, *arguments: Any) -> tuple[Any, Any]:
    """`gather_neighbors`."""
    features, neighbors, *sizes = arguments
    if dims[0] is not None and dims[1] is None:
        gathered = call(channels(features, dims[0]), neighbors, *sizes)
        return gathered.unflatten(2, (samples, -1)), 2
    all_features, lists = rows(features, dims[0], samples), rows(neighbors, dims[1], samples)
    if not _whole_clouds(lists, all_features, samples, *sizes):
        return one_by_one(call)(samples, dims, *arguments)
    return by_sample(call(all_features, lists, *sizes), samples), 0


def weighted(call: Callable[..., Any], samples: int, dims: Dims, *arguments: Any) -> tuple[Any, Any]:
    """`gather_weighted`."""
    features, neighbors, weights, *sizes = arguments
    if dims[0] is not None and dims[1] is None and dims[2] is None:
        return call(channels(features, dims[0]), neighbors, weights, *sizes).unflatten(1, (samples, -1)), 1
    all_features, lists, all_weights = (
        rows(tensor, dim, samples) for tensor, dim in zip(arguments[:3], dims, strict=False)
    )
    if not _whole_clouds(lists, all_features, samples, *sizes):
        return one_by_one(call)(samples, dims, *arguments)
    return by_sample(call(all_features, lists, all_weights, *sizes), samples), 0


def sum_over_edges(call: Callable[..., Any], samples: int, dims: Dims, *arguments: Any) -> tuple[Any, Any]:
    """`_sum_over_edges`."""
    grad, weights, offsets, edges, edges_per_row = arguments
    if dims[0] is not None and all(dim is None for dim in dims[1:]):
        return call(channels(grad, dims[0]), weights, offsets, edges, edges_per_row).unflatten(1, (samples, -1)), 1
    all_grads = rows(grad, dims[0], samples)
    count = offsets.numel() // (1 if dims[2] is None else samples) - 1
    number = edges.numel() // (1 if dims[3] is None else samples)
    if all_grads.shape[0] * edges_per_row != samples * number:
        return one_by_one(call)(samples, dims, *arguments)
    # Stacked, the edges of a sample begin where those of the one before end, wherever entries without an edge are left.
    if dims[2] is None and dims[3] is None:
        targets = targets_of_edges(offsets, edges).expand(samples, number)
    else:
        all_offsets = by_sample(rows(offsets, dims[2], samples), samples)
        all_edges = by_sample(rows(edges, dims[3], samples), samples)
        targets = torch.stack([targets_of_edges(*graph) for graph in zip(all_offsets, all_edges, strict=True)])
    graph = reverse_graph(targets.reshape(-1, 1).contiguous(), number, count, samples * count)
    all_weights = None if weights is None else rows(weights, dims[1], samples)
    return by_sample(call(all_grads, all_weights, *graph, edges_per_row), samples), 0


def edge_products(call: Callable[..., Any], samples: int, dims: Dims, *arguments: Any) -> tuple[Any, Any]:
    """`_edge_products`."""
    *tensors, query_size, cloud_size = arguments
    grad, features, lists = (rows(tensor, dim, samples) for tensor, dim in zip(tensors, dims, strict=False))
    if not _whole_clouds(lists, features, samples, query_size, cloud_size):
        return one_by_one(call)(samples, dims, *arguments)
    return by_sample(call(grad, features, lists, query_size, cloud_size), samples), 0


def targets_of_edges(offsets: Tensor, edges: Tensor) -> Tensor:
    """(E,) int64: the row that each edge of a reverse graph points at, -1 for none."""
    place = torch.arange(edges.shape[0], device=edges.device)
    row = torch.searchsorted(offsets, place, right=True) - 1
    there = place < offsets[-1]
    # Past the last edge the entries mean nothing; they go into a place of their own.
    targets = torch.full((edges.shape[0] + 1,), -1, device=edges.device)
    targets = targets.scatter(0, torch.where(there, edges, edges.shape[0]), torch.where(there, row, -1))
    return targets[:-1]


def linear(call: Callable[..., Any], samples: int, dims: Dims, x: Tensor, weight: Tensor) -> tuple[Any, Any]:
    """`_linear`."""
    if dims[1] is None:
        return by_sample(call(rows(x, dims[0], samples), weight), samples), 0
    if dims[0] is None:
        return call(x, rows(weight, dims[1], samples)).unflatten(1, (samples, -1)), 1
    return one_by_one(call)(samples, dims, x, weight)


def linear_backward(
    call: Callable[..., Any], samples: int, dims: Dims, grad: Tensor, x: Tensor, weight: Tensor, for_x: bool,
    for_weight: bool,
) -> tuple[Any, Any]:  # fmt: skip
    """`_linear_backward`."""
    of_grad, of_x, of_weight, *_ = dims
    # Each of the two gradients can be shared where only the incoming one is mapped.
    apart = (for_x and of_weight is not None) or (for_weight and of_x is not None)
    if of_grad is None or apart:
        return one_by_one(call)(samples, dims, grad, x, weight, for_x, for_weight)
    nothing = grad.new_empty(samples, 0)
    grad_x = grad_weight = nothing
    if for_x:
        stacked = rows(grad, of_grad, samples)
        like_x = x.new_empty(stacked.shape[0], weight.shape[1])
        grad_x = by_sample(call(stacked, like_x, weight, True, False)[0], samples)
    if for_weight:
        stacked = channels(grad, of_grad)
        grad_weight = call(stacked, x, x.new_empty(stacked.shape[1], x.shape[1]), False, True)[1]
        grad_weight = by_sample(grad_weight, samples)
    return (grad_x, grad_weight), (0, 0)


def center_rows(call: Callable[..., Any], samples: int, dims: Dims, x: Tensor, used: Tensor) -> tuple[Any, Any]:
    """`_center_rows`."""
    if dims[1] is not None or dims[0] is None:
        return one_by_one(call)(samples, dims, x, used)
    centered, mean = call(channels(x, dims[0]), used)
    return (centered.unflatten(1, (samples, -1)), by_sample(mean, samples)), (1, 0)


def used_rows(
    call: Callable[..., Any], samples: int, dims: Dims, neighbors: Tensor, cloud_size: int
) -> tuple[Any, Any]:
    """`_used_rows`."""
    return by_sample(call(rows(neighbors, dims[0], samples), cloud_size), samples), 0


def edge_conv(call: Callable[..., Any], samples: int, dims: Dims, *arguments: Any) -> tuple[Any, Any]:
    """`edge_conv`: one call where nothing is summed over a sample's rows."""
    nodes, neighbors, *rest = arguments
    if rest[3] is None or any(dim is not None for dim in dims[2:]):
        return one_by_one(call)(samples, dims, *arguments)
    lists = rows(neighbors, dims[1], samples)
    output, mean, var, _, extremum, slot, gathered = call(rows(nodes, dims[0], samples), lists, *rest)
    output, extremum, slot = (by_sample(tensor, samples) for tensor in (output, extremum, slot))
    results = output, mean, var, _edges(lists, samples), extremum, slot, gathered
    return results, (0, None, None, 0, 0, 0, None)


def edge_conv_of_clouds(call: Callable[..., Any], samples: int, dims: Dims, *arguments: Any) -> tuple[Any, Any]:
    """`_edge_conv_of_clouds`: likewise."""
    x, weight, neighbors, *rest = arguments
    if rest[2] is None or dims[1] is not None or any(dim is not None for dim in dims[3:]):
        return one_by_one(call)(samples, dims, *arguments)
    lists = rows(neighbors, dims[2], samples)
    output, mean, var, _, extremum, slot, shift, moved, used = call(rows(x, dims[0], samples), weight, lists, *rest)
    output, extremum, slot, used = (by_sample(tensor, samples) for tensor in (output, extremum, slot, used))
    results = output, mean, var, _edges(lists, samples), extremum, slot, shift, moved, used
    return results, (0, None, None, 0, 0, 0, None, None, 0)


def edge_conv_two_layer(call: Callable[..., Any], samples: int, dims: Dims, *arguments: Any) -> tuple[Any, Any]:
    """`edge_conv_two_layer`: likewise."""
    nodes, neighbors, *rest = arguments
    if rest[3] is None or rest[11] is None or any(dim is not None for dim in dims[2:]):
        return one_by_one(call)(samples, dims, *arguments)
    lists = rows(neighbors, dims[1], samples)
    output, *statistics, _, deviation, slot = call(rows(nodes, dims[0], samples), lists, *rest)
    output, deviation, slot = (by_sample(tensor, samples) for tensor in (output, deviation, slot))
    return (output, *statistics, _edges(lists, samples), deviation, slot), (0, None, None, None, None, 0, 0, 0)


def _edges(lists: Tensor, samples: int) -> Tensor:
    """(S,) float64: the number of edges of each sample."""
    return (lists.reshape(samples, -1) >= 0).sum(dim=1).double()
