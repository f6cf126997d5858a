"""The operators of `edge_conv_two_layer` in plain torch, over chunks of edges: what runs on CUDA.

Same results and bounds on memory as the CPU kernels: tensors of the size of the edges exist for one chunk at a time.
Matrix products are those of `pointkernels.linear`; nothing waits for the device, and every sum has a fixed order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pointkernels import _library  # noqa: F401  (defines the operators)

__all__ = ["CHUNK", "backward", "forward"]

CHUNK = 1 << 18  # edges; a chunk has at least one row, and otherwise no more edges than this


@dataclass(frozen=True)
class _Chunk:
    """Rows [begin, end), either of whole clouds or of a part of one; edges lead into rows [low, high)."""

    begin: int
    end: int
    low: int
    high: int
    clouds: int


def _chunks(rows: int, k: int, cloud_size: int) -> Iterator[_Chunk]:
    limit = max(1, CHUNK // max(k, 1))
    if limit >= cloud_size:
        step = limit // cloud_size * cloud_size if cloud_size else 1
        for begin in range(0, rows, step):
            end = min(begin + step, rows)
            yield _Chunk(begin, end, begin, end, (end - begin) // cloud_size)
        return
    for low in range(0, rows, cloud_size):
        for begin in range(low, low + cloud_size, limit):
            yield _Chunk(begin, min(begin + limit, low + cloud_size), low, low + cloud_size, 1)


class _Edges:
    """The first layer on the edges of a chunk; edges that are not there hold numbers that mean nothing."""

    def __init__(self, chunk: _Chunk, nodes: Tensor, neighbors: Tensor, cloud_size: int) -> None:
        self.lists = neighbors[chunk.begin : chunk.end]
        self.valid = self.lists >= 0  # (rows, K)
        self.chunk = chunk
        u, v = nodes.chunk(2, dim=1)
        cloud = torch.arange(chunk.begin, chunk.end, device=nodes.device) // cloud_size * cloud_size
        self.rows = (cloud[:, None] + self.lists.clamp(min=0)).flatten()
        self.u = u[self.rows].view(*self.lists.shape, -1)
        self.h = self.u + v[chunk.begin : chunk.end, None]  # (rows, K, H)

    def only_valid(self, values: Tensor) -> Tensor:
        """Zeros in the place of edges that are not there."""
        return torch.where(self.valid[..., None], values, 0)

    def sum_at_targets(self, values: Tensor) -> Tensor:
        """(high - low, H): for each row, the sum over the edges into it, in their order."""
        size = (self.chunk.high - self.chunk.low) // self.chunk.clouds
        queries = (self.chunk.end - self.chunk.begin) // self.chunk.clouds
        offsets, edges = torch.ops.pointkernels._reverse_graph(
            self.lists, queries, size, self.chunk.high - self.chunk.low
        )
        flat = values.reshape(-1, values.shape[2])
        return torch.ops.pointkernels._sum_over_edges(flat, None, offsets, edges, 1)  # type: ignore[no-any-return]


class _Moments:
    """Mean and variance over the edges of all chunks (Chan, Golub, LeVeque 1979), in float64."""

    def __init__(self, like: Tensor) -> None:
        self.count = like.new_zeros((), dtype=torch.float64)
        self.mean = torch.zeros_like(like, dtype=torch.float64)
        self.squares = torch.zeros_like(like, dtype=torch.float64)

    def add(self, edges: _Edges, values: Tensor) -> None:
        """Count the values of a chunk's edges."""
        count = edges.valid.sum().double()
        mean = edges.only_valid(values).sum(dim=(0, 1), dtype=torch.float64) / count.clamp(min=1)
        deviations = edges.only_valid(values - mean.to(values.dtype))
        # Less the rounding of the mean.
        offset = deviations.sum(dim=(0, 1), dtype=torch.float64) / count.clamp(min=1)
        squares = deviations.square().sum(dim=(0, 1), dtype=torch.float64) - count * offset.square()
        total = (self.count + count).clamp(min=1)
        difference = mean - self.mean
        self.squares = self.squares + squares + difference.square() * self.count * count / total
        self.mean = self.mean + difference * count / total
        self.count = self.count + count

    def result(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance."""
        var = self.squares / self.count.clamp(min=1)
        return self.mean.to(like.dtype), torch.where(var < 0, 0, var).to(like.dtype)


def _activate(z: Tensor, slope: float) -> Tensor:
    return torch.where(z > 0, z, slope * z)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """The matrix product of (..., C) and (C, C')."""
    rows = left.reshape(-1, left.shape[-1]).contiguous()
    product: Tensor = torch.ops.pointkernels._linear(rows, right.t().contiguous())
    return product.view(*left.shape[:-1], right.shape[1])


def _transposed_product(left: Tensor, right: Tensor) -> Tensor:
    """left^T right (C', C) for (..., C') and (..., C)."""
    rows, columns = left.flatten(0, -2), right.flatten(0, -2)
    weight = rows.new_empty(rows.shape[1], columns.shape[1])  # of which the operator takes the shape
    return torch.ops.pointkernels._linear_backward(rows, columns, weight, False, True)[1]  # type: ignore[no-any-return]


def forward(
    nodes: Tensor,
    neighbors: Tensor,
    cloud_size: int,
    bn_weight: Tensor,
    bn_bias: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
    negative_slope: float,
    weight: Tensor,
    center: Tensor,
    bn_weight2: Tensor,
    bn_bias2: Tensor,
    mean2: Tensor | None,
    var2: Tensor | None,
    eps2: float,
    negative_slope2: float,
) -> tuple[Tensor, ...]:
    """`pointkernels::edge_conv_two_layer`; see library.cpp."""
    rows, k = neighbors.shape
    chunks = list(_chunks(rows, k, cloud_size))
    count = (neighbors >= 0).sum().double()
    if mean is None or var is None:
        moments = _Moments(bn_weight)
        for chunk in chunks:
            edges = _Edges(chunk, nodes, neighbors, cloud_size)
            moments.add(edges, edges.h)
        mean, var = moments.result(bn_weight)
    else:
        mean, var = mean.clone(), var.clone()
    scale = bn_weight / (var + eps).sqrt()
    outputs = weight.shape[0]
    best = nodes.new_zeros(rows, outputs)
    slot = nodes.new_full((rows, outputs), -1, dtype=torch.int32)
    moments = _Moments(bn_weight2)
    sign = bn_weight2.sign()
    for chunk in chunks:
        edges = _Edges(chunk, nodes, neighbors, cloud_size)
        h = _product(_activate(scale * (edges.h - mean) + bn_bias, negative_slope) - center, weight.t())
        if mean2 is None:
            moments.add(edges, h)
        key = torch.where(edges.valid[..., None], torch.where(sign == 0, 0, h * sign), -torch.inf)
        place = key.max(dim=1, keepdim=True).indices
        best[chunk.begin : chunk.end] = h.gather(1, place)[:, 0]
        slot[chunk.begin : chunk.end] = torch.where(edges.valid.any(dim=1)[:, None], place[:, 0].int(), -1)
    if mean2 is None or var2 is None:
        mean2, var2 = moments.result(bn_weight2)
    else:
        mean2, var2 = mean2.clone(), var2.clone()
    deviation = torch.where(slot >= 0, best - mean2, 0)
    activated = _activate(bn_weight2 / (var2 + eps2).sqrt() * deviation + bn_bias2, negative_slope2)
    return torch.where(slot >= 0, activated, 0), mean, var, mean2, var2, count, deviation, slot


def backward(
    grad: Tensor,
    nodes: Tensor,
    neighbors: Tensor,
    cloud_size: int,
    offsets: Tensor,
    edges: Tensor,
    bn_weight: Tensor,
    bn_bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    negative_slope: float,
    weight: Tensor,
    center: Tensor,
    bn_weight2: Tensor,
    bn_bias2: Tensor,
    mean2: Tensor,
    var2: Tensor,
    eps2: float,
    negative_slope2: float,
    count: Tensor,
    deviation: Tensor,
    slot: Tensor,
    constant: bool,
    constant2: bool,
) -> tuple[Tensor, ...]:
    """`pointkernels::_edge_conv_two_layer_backward`; the formulas are in edge_conv_two_layer_backward.cpp."""
    rows, k = neighbors.shape
    hidden = bn_weight.shape[0]
    dtype, double = nodes.dtype, torch.float64
    edge_count = count.clamp(min=1)
    inverse2 = 1 / (var2 + eps2).sqrt()
    scale2 = bn_weight2 * inverse2
    t = torch.where(scale2 * deviation + bn_bias2 > 0, grad, negative_slope2 * grad)
    t = torch.where(slot >= 0, t, 0)
    grad_bias2 = t.sum(dim=0, dtype=double)
    grad_weight2 = (t * (inverse2 * deviation)).sum(dim=0, dtype=double)
    winner = scale2 * t
    factor = scale2 * inverse2 * grad_weight2 / edge_count
    offset = factor * mean2 - scale2 * grad_bias2 / edge_count
    dense = _product(weight.t() * -factor, weight.double())
    start = (offset[:, None] * weight).sum(dim=0)

    inverse = 1 / (var + eps).sqrt()
    scale = bn_weight * inverse
    grad_u, grad_v, deviations = torch.zeros(3, rows, hidden, dtype=dtype, device=nodes.device)
    p_sum, p_deviation, a_sum = torch.zeros(3, hidden, dtype=double, device=nodes.device)
    grad_weight = torch.zeros_like(weight, dtype=double)
    gram = torch.zeros(hidden, hidden, dtype=double, device=nodes.device)
    for chunk in _chunks(rows, k, cloud_size):
        part = _Edges(chunk, nodes, neighbors, cloud_size)
        d = part.only_valid(part.h - mean)
        z = scale * d + bn_bias
        a = part.only_valid(_activate(z, negative_slope) - center)
        place = slot[chunk.begin : chunk.end, None].clamp(min=0).long()  # (rows, 1, outputs)
        won = torch.zeros(*part.lists.shape, weight.shape[0], dtype=dtype, device=nodes.device)
        won.scatter_(1, place, winner[chunk.begin : chunk.end, None])
        p = _product(won, weight)
        if not constant2:
            p = p + _product(a, dense.to(dtype)) + start.to(dtype)
            gram += _transposed_product(a, a)
            a_sum += a.sum(dim=(0, 1), dtype=double)
        grad_weight += _transposed_product(won, a)
        p = part.only_valid(torch.where(z > 0, p, negative_slope * p))
        p_sum += p.sum(dim=(0, 1), dtype=double)
        p_deviation += (p * d).sum(dim=(0, 1), dtype=double)
        grad_v[chunk.begin : chunk.end] = p.sum(dim=1)
        deviations[chunk.begin : chunk.end] = d.sum(dim=1)
        grad_u[chunk.low : chunk.high] += part.sum_at_targets(p)
    if not constant2:
        covariance = gram - torch.outer(a_sum, a_sum) / edge_count
        grad_weight -= torch.outer(scale2 * grad_bias2 / edge_count, a_sum) + _product(
            factor[:, None] * weight, covariance
        )
    grad_bn_weight = p_deviation * inverse
    if not constant:
        dense_bias = (p_sum / edge_count).to(dtype)
        dense_scale = (inverse * grad_bn_weight / edge_count).to(dtype)
        u, v = (part.contiguous() for part in nodes.chunk(2, dim=1))
        in_edges = offsets.diff().to(dtype)[:, None]
        out_edges = (neighbors >= 0).sum(dim=1, keepdim=True).to(dtype)
        gathered = torch.ops.pointkernels._sum_over_edges(v, None, offsets, edges, k)
        grad_u = grad_u - in_edges * dense_bias - dense_scale * (in_edges * (u - mean) + gathered)
        grad_v = grad_v - out_edges * dense_bias - dense_scale * deviations
    grads: tuple[Any, ...] = (grad_bn_weight, p_sum, grad_weight, grad_weight2, grad_bias2)
    return (torch.cat([scale * grad_u, scale * grad_v], dim=1), *(g.to(dtype) for g in grads))


torch.library.impl("pointkernels::edge_conv_two_layer", "CUDA", forward)
torch.library.impl("pointkernels::_edge_conv_two_layer_backward", "CUDA", backward)
