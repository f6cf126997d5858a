"""`edge_conv` whose BatchNorm takes its statistics over the edges of several processes.

Each process has its own sums over edges, forward three of them (how many, mean, variance) and backward two (BatchNorm's
own gradients); what depends on all processes is put together from these. The operators do the rest as for one process:
forward they also give the winning pre-activations, and backward what reaches the winners, to which the part that goes
through the statistics is added: the formulas are those of edge_conv_backward.cpp.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pointkernels.ops.linear import centered, linear
from pointkernels.ops.reverse_graph import reverse_graph
from pointkernels.ops.synchronized import all_statistics, all_sums

__all__ = ["edge_conv_synchronized", "node_products", "through_statistics"]


def edge_conv_synchronized(
    features: Tensor,
    weight: Tensor,
    neighbors: Tensor,
    bn_weight: Tensor,
    bn_bias: Tensor,
    eps: float,
    negative_slope: float,
    group: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The layer in training. Every process of the group must call it, and its backward pass, in the same order.

    Args:
        features: (B, N, C) float32 or float64, of another B and N in each process, perhaps; B may be 0.
        weight: (C', 2 C).
        neighbors: (B, N, K) int64.
        bn_weight: (C',).
        bn_bias: (C',).
        eps: added to the variance.
        negative_slope: of LeakyReLU.
        group: of torch.distributed.

    Returns:
        Output (B, N, C'), and of all processes: mean (C') and variance (C') in float64, number of edges () in float64.
    """
    batch, count, _ = features.shape
    lists = neighbors.reshape(-1, neighbors.shape[2]).contiguous()
    nodes, moved = node_products(features, weight, lists)
    output, mean, var, edges = _EdgeConv.apply(  # type: ignore[no-untyped-call, unused-ignore]
        nodes, moved, bn_weight, bn_bias, lists, count, eps, negative_slope, group
    )
    return output.view(batch, count, weight.shape[0]), mean, var, edges


def node_products(features: Tensor, weight: Tensor, lists: Tensor) -> tuple[Tensor, Tensor]:
    """What the edges' pre-activations are sums of, and what this process's centring takes off all of them.

    Every process centres its features about a mean of its own, so that none loses precision; the second result, in
    float64 and differentiable, makes their pre-activations comparable.

    Args:
        features: (B, N, C).
        weight: (H, 2 C).
        lists: (B * N, K) int64.

    Returns:
        (B * N, 2 H) and (H,).
    """
    count, channels = features.shape[1:]
    x, shift = centered(features.reshape(-1, channels), torch.ops.pointkernels._used_rows(lists, count))
    difference, own = weight.chunk(2, dim=1)
    return linear(x, torch.cat([difference, own - difference])), (own.double() * shift.double()).sum(dim=1)


class _EdgeConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        nodes: Tensor,
        moved: Tensor,
        bn_weight: Tensor,
        bn_bias: Tensor,
        neighbors: Tensor,
        cloud_size: int,
        eps: float,
        negative_slope: float,
        group: Any,
    ) -> tuple[Tensor, ...]:
        _, mean, var, count, extremum, slot, gathered = torch.ops.pointkernels.edge_conv(
            nodes, neighbors, cloud_size, bn_weight, bn_bias, None, None, eps, negative_slope
        )
        edges, average, variance = all_statistics(count, mean.double() + moved, var.double(), group)
        mean, var = (average - moved).to(nodes.dtype), variance.to(nodes.dtype)
        normalised = bn_weight / (var + eps).sqrt() * (extremum - mean) + bn_bias
        some = (neighbors >= 0).any(dim=1, keepdim=True)
        output = torch.where(some, F.leaky_relu(normalised, negative_slope), 0)
        ctx.mark_non_differentiable(average, variance, edges)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(
            nodes, neighbors, bn_weight, bn_bias, mean, var, count, extremum, slot, gathered, edges
        )  # fmt: skip
        ctx.options = (cloud_size, eps, negative_slope, group)
        return output, average, variance, edges

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        nodes, neighbors, bn_weight, bn_bias, mean, var, count, extremum, slot, gathered, edges = ctx.saved_tensors
        cloud_size, eps, negative_slope, group = ctx.options
        # A process that has no gradient has to take part all the same.
        grad = torch.zeros_like(extremum) if grad is None else grad.contiguous()
        graph = reverse_graph(neighbors, cloud_size, cloud_size, nodes.shape[0])
        grad_nodes, grad_weight, grad_bias = torch.ops.pointkernels._edge_conv_backward(
            grad, nodes, neighbors, cloud_size, *graph, bn_weight, bn_bias, mean, var, count, extremum, slot, None,
            eps, negative_slope,
        )  # fmt: skip
        every_bias, every_weight = all_sums(grad_bias, grad_weight, group=group)
        inverse = torch.rsqrt(var + eps)
        dense_bias = (every_bias / edges.clamp(min=1)).to(nodes.dtype)
        dense_scale = (inverse * every_weight / edges.clamp(min=1)).to(nodes.dtype)
        dense = through_statistics(nodes, neighbors, graph, mean, gathered, dense_bias, dense_scale)
        grad_nodes = grad_nodes - torch.cat([bn_weight * inverse * part for part in dense], dim=1)
        grad_moved = grad_nodes[:, bn_weight.shape[0] :].sum(dim=0, dtype=torch.float64)
        return grad_nodes, grad_moved, grad_weight, grad_bias, None, None, None, None, None


def through_statistics(
    nodes: Tensor,
    neighbors: Tensor,
    graph: tuple[Tensor, Tensor],
    mean: Tensor,
    gathered: Tensor,
    dense_bias: Tensor,
    dense_scale: Tensor,
) -> tuple[Tensor, Tensor]:
    """The sums over the edges at each row of dense_bias + dense_scale (h - mean), h their pre-activations.

    Args:
        nodes: (R, 2 H), of which h is made.
        neighbors: (R, K).
        graph: what `reverse_graph` gives for them.
        mean: (H,).
        gathered: (R, H) sum over the edges from each row of the first half of the rows that they lead to.
        dense_bias: (H,).
        dense_scale: (H,).

    Returns:
        (R, H) over the edges that lead to a row, and (R, H) over those from it.
    """
    offsets, edges = graph
    u, v = (part.contiguous() for part in nodes.chunk(2, dim=1))
    into = offsets.diff().to(nodes.dtype)[:, None]
    out_of = (neighbors >= 0).sum(dim=1, keepdim=True).to(nodes.dtype)
    reverse_gathered = torch.ops.pointkernels._sum_over_edges(v, None, offsets, edges, neighbors.shape[1])
    at_ends = into * dense_bias + dense_scale * (into * (u - mean) + reverse_gathered)
    at_starts = out_of * dense_bias + dense_scale * (out_of * (v - mean) + gathered)
    return at_ends, at_starts
