"""The meaning of every operator, in plain torch.

This file is the specification: it is written to be read and believed, not to be fast, and it runs in any floating
dtype. The kernels must return the same integers on every device, and the same values up to rounding. Shape letters:
B clouds, N points, M queries or samples, K neighbours, C channels, D coordinates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "EdgeLayer",
    "ball_query",
    "edge_conv",
    "edge_conv_two_layer",
    "farthest_point_sampling",
    "fused_multiply_add",
    "gather_neighbors",
    "gather_weighted",
    "knn",
    "squared_distances",
]


def _two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rounded sum and its exact error (Knuth)."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


def _two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rounded float64 product and its exact error (Dekker, with Veltkamp's splitting)."""
    splitter = 2.0**27 + 1
    a_high = a * splitter - (a * splitter - a)
    b_high = b * splitter - (b * splitter - b)
    a_low, b_low = a - a_high, b - b_high
    product = a * b
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _sum_rounded_to_odd(a: Tensor, b: Tensor) -> Tensor:
    """Sum in float64, rounded to the neighbour with the odd last bit when it is inexact.

    Rounding such a sum once more, to a shorter format or after adding a larger number, gives what a single rounding of
    the exact sum would have given (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
    """
    total, error = _two_sum(a, b)
    bits = total.view(torch.int64)
    towards_error = torch.where((error > 0) == (total > 0), 1, -1)
    inexact = (error != 0) & error.isfinite() & (bits % 2 == 0)
    return torch.where(inexact, bits + towards_error, bits).view(torch.float64)


def fused_multiply_add(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The value of a * b + c with one rounding, elementwise, for float32 or float64 tensors of one shape.

    Torch has no fused multiply-add that is guaranteed to be fused, so it is emulated exactly (barring overflow and
    underflow of float64).
    """
    if a.dtype == torch.float32:
        return _sum_rounded_to_odd(a.double() * b.double(), c.double()).float()
    high, low = _two_product(a, b)
    middle, middle_error = _two_sum(c, low)
    top, top_error = _two_sum(high, middle)
    emulated = top + _sum_rounded_to_odd(top_error, middle_error)
    return torch.where(emulated.isfinite(), emulated, a * b + c)


def squared_distances(points: Tensor, query: Tensor) -> Tensor:
    """The canonical squared distance of every pair.

    One fused multiply-add per coordinate, in coordinate order, starting from zero; float16 and bfloat16 are widened to
    float32 first. This chain of roundings, not the real number behind it, is what neighbours are ranked by.

    Args:
        points: (..., N, D).
        query: (..., M, D).

    Returns:
        (..., M, N) in float32, or float64 for float64 input.
    """
    if points.dtype in (torch.float16, torch.bfloat16):
        points, query = points.float(), query.float()
    total = points.new_zeros(*query.shape[:-1], points.shape[-2])
    for d in range(points.shape[-1]):
        difference = points[..., d].unsqueeze(-2) - query[..., d].unsqueeze(-1)
        total = fused_multiply_add(difference, difference, total)
    return total


def _ranked(distances: Tensor) -> Tensor:
    """Candidate indices (..., N) by (distance, index), NaN after everything."""
    order = torch.where(distances.isnan(), torch.inf, distances).argsort(dim=-1, stable=True)
    # A second stable sort moves NaN behind the real infinities and keeps every other order.
    is_nan = distances.isnan().gather(-1, order)
    return order.gather(-1, is_nan.int().argsort(dim=-1, stable=True))


def knn(
    points: Tensor,
    k: int,
    *,
    query: Tensor | None = None,
    lengths: Tensor | None = None,
    query_lengths: Tensor | None = None,
    include_self: bool = True,
) -> tuple[Tensor, Tensor]:
    """The k nearest points of each query: see `pointkernels.knn`.

    Args:
        points: (B, N, D).
        k: number of neighbours, at least 1.
        query: (B, M, D), or None for the points themselves.
        lengths: (B,) number of valid points of each cloud, or None for N.
        query_lengths: (B,) number of valid queries, or None for M (for `lengths` when query is None).
        include_self: whether point i is a candidate of query i; only without `query`.

    Returns:
        Squared distances (B, M, K), inf where there is no candidate, and indices (B, M, K) int64, -1 there.
    """
    batch, count, _ = points.shape
    if query is None:
        query, query_lengths = points, lengths
    distances = points.new_full(
        (batch, query.shape[1], k), torch.inf, dtype=torch.promote_types(points.dtype, torch.float32)
    )
    indices = torch.full((batch, query.shape[1], k), -1, dtype=torch.int64, device=points.device)
    for b in range(batch):
        n = count if lengths is None else int(lengths[b])
        m = query.shape[1] if query_lengths is None else int(query_lengths[b])
        pairs = squared_distances(points[b, :n], query[b, :m])
        order = _ranked(pairs)
        if not include_self:
            order = order[order != torch.arange(m, device=points.device)[:, None]].view(m, max(n - 1, 0))
        found = min(k, order.shape[1])
        indices[b, :m, :found] = order[:, :found]
        distances[b, :m, :found] = pairs.gather(1, order[:, :found])
    return distances, indices


def farthest_point_sampling(
    points: Tensor, num_samples: int, *, start: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """Greedy farthest point sampling: see `pointkernels.farthest_point_sampling`.

    Each further sample is the unselected point whose smallest squared distance to the selected ones is largest, ties to
    the lower index. A NaN distance lowers nothing, and points with a NaN coordinate come after all others.

    Args:
        points: (B, N, D).
        num_samples: number of samples of each cloud.
        start: (B,) first sample of each cloud.
        lengths: (B,) number of valid points of each cloud, or None for N.

    Returns:
        (B, num_samples) int64, -1 past the size of a cloud.
    """
    batch, count, _ = points.shape
    samples = torch.full((batch, num_samples), -1, dtype=torch.int64, device=points.device)
    for b in range(batch):
        n = count if lengths is None else int(lengths[b])
        cloud = points[b, :n]
        smallest = cloud.new_full((n,), torch.inf, dtype=torch.promote_types(points.dtype, torch.float32))
        smallest[cloud.isnan().any(1)] = -1.0
        for m in range(min(num_samples, n)):
            pick = int(start[b]) if m == 0 else int((smallest == smallest.max()).nonzero()[0])
            samples[b, m] = pick
            distance = squared_distances(cloud, cloud[pick : pick + 1])[0]
            smallest = torch.where(distance < smallest, distance, smallest)
            smallest[samples[b, : m + 1]] = -torch.inf
    return samples


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
) -> tuple[Tensor, Tensor]:
    """Up to k points within a radius of each query: see `pointkernels.ball_query`.

    Args:
        points: (B, N, D).
        radius: a neighbour's squared distance is below its square (squared in float64, then rounded to the dtype).
        k: number of neighbours, at least 1.
        query: (B, M, D), or None for the points themselves.
        lengths: (B,) number of valid points of each cloud, or None for N.
        query_lengths: (B,) number of valid queries, or None for M (for `lengths` when query is None).
        include_self: whether point i is a candidate of query i.
        nearest: take the nearest k, nearest first, rather than the first k in index order.

    Returns:
        Squared distances (B, M, K), inf where there is no neighbour, and indices (B, M, K) int64, -1 there.
    """
    batch, count, _ = points.shape
    if query is None:
        query, query_lengths = points, lengths
    dtype = torch.promote_types(points.dtype, torch.float32)
    bound = torch.tensor(radius * radius, dtype=torch.float64).to(dtype).to(points.device)
    distances = points.new_full((batch, query.shape[1], k), torch.inf, dtype=dtype)
    indices = torch.full((batch, query.shape[1], k), -1, dtype=torch.int64, device=points.device)
    for b in range(batch):
        n = count if lengths is None else int(lengths[b])
        m = query.shape[1] if query_lengths is None else int(query_lengths[b])
        pairs = squared_distances(points[b, :n], query[b, :m])
        order = _ranked(pairs) if nearest else torch.arange(n, device=points.device).expand(m, n)
        within = pairs.gather(1, order) < bound
        if not include_self:
            within &= order != torch.arange(m, device=points.device)[:, None]
        first = (~within).int().argsort(dim=1, stable=True)[:, :k]
        found, used = order.gather(1, first), within.gather(1, first)
        indices[b, :m, : first.shape[1]] = torch.where(used, found, -1)
        distances[b, :m, : first.shape[1]] = torch.where(used, pairs.gather(1, found), torch.inf)
    return distances, indices


def gather_neighbors(features: Tensor, neighbors: Tensor) -> Tensor:
    """The features of the neighbours: see `pointkernels.gather_neighbors`.

    Args:
        features: (B, N, C).
        neighbors: (B, M, K) int64, -1 for none.

    Returns:
        (B, M, K, C), zeros where the neighbour is -1.
    """
    cloud = torch.arange(features.shape[0], device=features.device)[:, None, None]
    gathered = features[cloud, neighbors.clamp(min=0)]
    return torch.where((neighbors >= 0)[..., None], gathered, 0.0)


def gather_weighted(features: Tensor, neighbors: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of the features of the neighbours: see `pointkernels.gather_weighted`.

    Args:
        features: (B, N, C).
        neighbors: (B, M, K) int64, -1 for none.
        weights: (B, M, K).

    Returns:
        (B, M, C).
    """
    used = torch.where(neighbors >= 0, weights, 0.0)
    return (used[..., None] * gather_neighbors(features, neighbors)).sum(dim=2)


def edge_conv(
    features: Tensor,
    neighbors: Tensor,
    weight: Tensor,
    bn_weight: Tensor,
    bn_bias: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *,
    training: bool,
    momentum: float,
    eps: float,
    negative_slope: float,
) -> Tensor:
    """One DGCNN layer with every edge written out: see `pointkernels.edge_conv`.

    Edge feature [x_j - x_i, x_i], 1x1 convolution, BatchNorm over all edges, LeakyReLU, maximum over the edges of each
    point. Running statistics are updated in place when training. A neighbour of -1 is no edge; a point without edges
    gets zeros.

    Args:
        features: (B, N, C).
        neighbors: (B, N, K) int64, -1 for none.
        weight: (C', 2 C).
        bn_weight: (C',).
        bn_bias: (C',).
        running_mean: (C',) or None.
        running_var: (C',) or None.
        training: normalise by the statistics of this batch rather than the running ones.
        momentum: weight of this batch in the running statistics.
        eps: added to the variance.
        negative_slope: slope of LeakyReLU below zero.

    Returns:
        (B, N, C').
    """
    batch, count, _ = features.shape
    cloud = torch.arange(batch, device=features.device)[:, None, None]
    is_edge = neighbors >= 0
    x_j = features[cloud, neighbors.clamp(min=0)]
    x_i = features[:, :, None].expand_as(x_j)
    edges = torch.cat([x_j - x_i, x_i], dim=-1)[is_edge]
    normalised = F.batch_norm(
        F.linear(edges, weight), running_mean, running_var, bn_weight, bn_bias, training, momentum, eps
    )
    activated = F.leaky_relu(normalised, negative_slope)
    table = activated.new_full((batch, count, neighbors.shape[2], weight.shape[0]), -torch.inf)
    table = table.index_put(is_edge.nonzero(as_tuple=True), activated)
    return torch.where(is_edge.any(2, keepdim=True), table.max(dim=2).values, 0.0)


class EdgeLayer(NamedTuple):
    """A layer on the edges of a graph: linear map, BatchNorm over all edges, LeakyReLU.

    A layer without BatchNorm is one with constant statistics: `training=False, eps=0.0`, means 0 and variances 1; its
    bias is `bn_bias`, and `bn_weight` is 1. With `negative_slope=1.0` there is no LeakyReLU.

    Attributes:
        weight: (C', C).
        bn_weight: (C',) weight of BatchNorm.
        bn_bias: (C',) bias of BatchNorm.
        running_mean: (C',), or None to keep no running statistics. Updated in place when training.
        running_var: (C',), or None. Updated in place when training.
        training: normalise by the statistics of this batch rather than the running ones.
        momentum: weight of this batch in the running statistics.
        eps: added to the variance.
        negative_slope: slope of LeakyReLU below zero, at least 0.
        process_group: in training, the processes of torch.distributed over whose edges BatchNorm takes its statistics;
            None for this process alone.
    """

    weight: Tensor
    bn_weight: Tensor
    bn_bias: Tensor
    running_mean: Tensor | None = None
    running_var: Tensor | None = None
    training: bool = True
    momentum: float | Tensor = 0.1
    eps: float = 1e-5
    negative_slope: float = 0.2
    process_group: Any = None


def edge_conv_two_layer(features: Tensor, neighbors: Tensor, first: EdgeLayer, second: EdgeLayer) -> Tensor:
    """EdgeConv with two layers, every edge written out: see `pointkernels.edge_conv_two_layer`.

    Edge feature [x_j - x_i, x_i], both layers, maximum over the edges of each point. A neighbour of -1 is no edge; a
    point without edges gets zeros.

    Args:
        features: (B, N, C).
        neighbors: (B, N, K) int64, -1 for none.
        first: weight (H, 2 C).
        second: weight (C', H).

    Returns:
        (B, N, C'). A `process_group` plays no part: the clouds that are given are all.
    """
    batch, count, _ = features.shape
    cloud = torch.arange(batch, device=features.device)[:, None, None]
    is_edge = neighbors >= 0
    x_j = features[cloud, neighbors.clamp(min=0)]
    x_i = features[:, :, None].expand_as(x_j)
    edges = torch.cat([x_j - x_i, x_i], dim=-1)[is_edge]
    for layer in (first, second):
        normalised = F.batch_norm(
            F.linear(edges, layer.weight),
            layer.running_mean,
            layer.running_var,
            layer.bn_weight,
            layer.bn_bias,
            layer.training,
            float(layer.momentum),
            layer.eps,
        )
        edges = F.leaky_relu(normalised, layer.negative_slope)
    table = edges.new_full((batch, count, neighbors.shape[2], second.weight.shape[0]), -torch.inf)
    table = table.index_put(is_edge.nonzero(as_tuple=True), edges)
    return torch.where(is_edge.any(2, keepdim=True), table.max(dim=2).values, 0.0)
