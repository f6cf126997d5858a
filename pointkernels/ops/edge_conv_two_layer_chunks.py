"""The operators of `edge_conv_two_layer` in plain torch, over chunks of edges: what runs on CUDA.

Same results and bounds on memory as the CPU kernels: tensors of the size of the edges exist for one chunk at a time.
Matrix products are those of `pointkernels.linear`; nothing waits for the device, and every sum has a fixed order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pointkernels import _library  # noqa: F401  (defines the operators)

__all__ = ["CHUNK", "Chunk", "Edges", "activate", "chunks_of", "forward", "product", "transposed_product"]

CHUNK = 1 << 18  # edges; a chunk has at least one row, and otherwise no more edges than this


@dataclass(frozen=True)
class Chunk:
    """Rows [begin, end), either of whole clouds or of a part of one; edges lead into rows [low, high)."""

    begin: int
    end: int
    low: int
    high: int
    clouds: int


def chunks_of(rows: int, k: int, cloud_size: int) -> Iterator[Chunk]:
    """The chunks of all rows, in order."""
    limit = max(1, CHUNK // max(k, 1))
    if limit >= cloud_size:
        step = limit // cloud_size * cloud_size if cloud_size else 1
        for begin in range(0, rows, step):
            end = min(begin + step, rows)
            yield Chunk(begin, end, begin, end, (end - begin) // cloud_size)
        return
    for low in range(0, rows, cloud_size):
        for begin in range(low, low + cloud_size, limit):
            yield Chunk(begin, min(begin + limit, low + cloud_size), low, low + cloud_size, 1)


class Edges:
    """The first layer on the edges of a chunk; edges that are not there hold numbers that mean nothing."""

    def __init__(self, chunk: Chunk, nodes: Tensor, neighbors: Tensor, cloud_size: int) -> None:
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

    def add(self, edges: Edges, values: Tensor) -> None:
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


def activate(z: Tensor, slope: float) -> Tensor:
    """LeakyReLU."""
    return torch.where(z > 0, z, slope * z)


def product(left: Tensor, right: Tensor) -> Tensor:
    """The matrix product of (..., C) and (C, C')."""
    rows = left.reshape(-1, left.shape[-1]).contiguous()
    product: Tensor = torch.ops.pointkernels._linear(rows, right.t().contiguous())
    return product.view(*left.shape[:-1], right.shape[1])


def transposed_product(left: Tensor, right: Tensor) -> Tensor:
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
    chunks = list(chunks_of(rows, k, cloud_size))
    count = (neighbors >= 0).sum().double()
    if mean is None or var is None:
        moments = _Moments(bn_weight)
        for chunk in chunks:
            edges = Edges(chunk, nodes, neighbors, cloud_size)
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
        edges = Edges(chunk, nodes, neighbors, cloud_size)
        h = product(activate(scale * (edges.h - mean) + bn_bias, negative_slope) - center, weight.t())
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
    activated = activate(bn_weight2 / (var2 + eps2).sqrt() * deviation + bn_bias2, negative_slope2)
    return torch.where(slot >= 0, activated, 0), mean, var, mean2, var2, count, deviation, slot


torch.library.impl("pointkernels::edge_conv_two_layer", "CUDA", forward)
