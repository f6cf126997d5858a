"""`edge_conv_two_layer` with a BatchNorm that takes its statistics over the edges of several processes.

As `edge_conv_synchronized`: sums of each process, put together. Forward, the first layer's statistics come from
`edge_conv` and the second's from the two-layer operator; backward, the sweep over the edges needs the sums of all
processes before and after it, so it is that of edge_conv_two_layer_chunks_backward.py on every device. Each layer may
have its own processes, this one alone, or statistics that are given.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pointkernels.ops.edge_conv_synchronized import node_products
from pointkernels.ops.edge_conv_two_layer_chunks_backward import gradients
from pointkernels.ops.reverse_graph import reverse_graph
from pointkernels.ops.synchronized import all_statistics, all_sums
from pointkernels.reference import EdgeLayer

__all__ = ["Statistics", "edge_conv_two_layer_synchronized"]

Statistics = tuple[Tensor, Tensor, Tensor]  # number of edges, mean, variance


def edge_conv_two_layer_synchronized(
    features: Tensor, neighbors: Tensor, first: EdgeLayer, second: EdgeLayer
) -> tuple[Tensor, Statistics, Statistics]:
    """Both layers. Every process of a group must call it, and its backward pass, in the same order.

    Args:
        features: (B, N, C) float32 or float64, of another B and N in each process, perhaps; B may be 0.
        neighbors: (B, N, K) int64.
        first: tensors in the dtype of features; running statistics are used where it does not train.
        second: likewise.

    Returns:
        Output (B, N, C'), and for each layer of all its processes: number of edges (), mean and variance in float64.
    """
    batch, count, _ = features.shape
    lists = neighbors.reshape(-1, neighbors.shape[2]).contiguous()
    nodes, moved = node_products(features, first.weight, lists)
    # Activations scatter about that of the mean pre-activation, where the second BatchNorm cancels it too.
    center = F.leaky_relu(first.bn_bias.detach(), first.negative_slope).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    moved2 = (second.weight.double() * center.double()).sum(dim=1)
    given = [None if layer.training else (layer.running_mean, layer.running_var) for layer in (first, second)]
    tensors = nodes, moved, first.bn_weight, first.bn_bias, second.weight, moved2, second.bn_weight, second.bn_bias
    options = [(layer.eps, layer.negative_slope, layer.process_group) for layer in (first, second)]
    output, *statistics = _EdgeConv.apply(*tensors, center, lists, count, *given, *options)  # type: ignore[no-untyped-call, unused-ignore]
    edges, mean, var, edges2, mean2, var2 = statistics
    return output.view(batch, count, second.weight.shape[0]), (edges, mean, var), (edges2, mean2, var2)


class _Every:
    """The number of edges and the sums over all processes of a layer."""

    def __init__(self, edges: Tensor, group: Any) -> None:
        self.edges = edges.clamp(min=1)
        self.group = group

    def sums(self, *sums: Tensor) -> tuple[Tensor, ...]:
        return all_sums(*sums, group=self.group)


class _EdgeConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        nodes: Tensor,
        moved: Tensor,
        bn_weight: Tensor,
        bn_bias: Tensor,
        weight: Tensor,
        moved2: Tensor,
        bn_weight2: Tensor,
        bn_bias2: Tensor,
        center: Tensor,
        neighbors: Tensor,
        cloud_size: int,
        given: tuple[Tensor, Tensor] | None,
        given2: tuple[Tensor, Tensor] | None,
        options: tuple[float, float, Any],
        options2: tuple[float, float, Any],
    ) -> tuple[Tensor, ...]:
        (eps, slope, group), (eps2, slope2, group2), dtype = options, options2, nodes.dtype
        here = (neighbors >= 0).sum().double()
        if given is None:
            _, mean, var, *_ = torch.ops.pointkernels.edge_conv(
                nodes, neighbors, cloud_size, bn_weight, bn_bias, None, None, eps, slope
            )
            edges, average, variance = all_statistics(here, mean.double() + moved, var.double(), group)
        else:
            edges, average, variance = here.clone(), given[0].double(), given[1].double()
        mean, var = (average - moved).to(dtype), variance.to(dtype)
        own2 = (None, None) if given2 is None else ((given2[0].double() - moved2).to(dtype), given2[1].to(dtype))
        results = torch.ops.pointkernels.edge_conv_two_layer(
            nodes, neighbors, cloud_size, bn_weight, bn_bias, mean, var, eps, slope,
            weight, center, bn_weight2, bn_bias2, *own2, eps2, slope2,
        )  # fmt: skip
        output, _, _, mean2, var2, _, deviation, slot = results
        edges2, average2, variance2 = here.clone(), mean2.double() + moved2, var2.double()
        if given2 is None:
            edges2, average2, variance2 = all_statistics(here, average2, variance2, group2)
            every_mean2, var2 = average2 - moved2, variance2.to(dtype)
            some = slot >= 0
            deviation = torch.where(some, deviation + (mean2.double() - every_mean2).to(dtype), 0)
            normalised = bn_weight2 / (var2 + eps2).sqrt() * deviation + bn_bias2
            output = torch.where(some, F.leaky_relu(normalised, slope2), 0)
            mean2 = every_mean2.to(dtype)
        statistics = edges, average, variance, edges2, average2, variance2
        ctx.mark_non_differentiable(*statistics)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(
            nodes, neighbors, bn_weight, bn_bias, mean, var, weight, center, bn_weight2, bn_bias2, mean2, var2,
            deviation, slot, edges, edges2,
        )  # fmt: skip
        ctx.cloud_size, ctx.options = cloud_size, (options, options2)
        ctx.constant = given is not None, given2 is not None
        return output, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        nodes, neighbors, bn_weight, bn_bias, mean, var, weight, center, *second = ctx.saved_tensors
        bn_weight2, bn_bias2, mean2, var2, deviation, slot, edges, edges2 = second
        (eps, slope, group), (eps2, slope2, group2) = ctx.options
        # A process that has no gradient has to take part all the same.
        grad = torch.zeros_like(deviation) if grad is None else grad.contiguous()
        graph = reverse_graph(neighbors, ctx.cloud_size, ctx.cloud_size, nodes.shape[0])
        found = gradients(
            grad, nodes, neighbors, ctx.cloud_size, *graph, bn_weight, bn_bias, mean, var, eps, slope,
            weight, center, bn_weight2, bn_bias2, mean2, var2, eps2, slope2, deviation, slot, *ctx.constant,
            _Every(edges, group), _Every(edges2, group2), True,
        )  # type: ignore[call-arg]  # fmt: skip
        grad_nodes, grad_bn_weight, grad_bn_bias, grad_weight, grad_bn_weight2, grad_bn_bias2, grad_moved2 = found
        grad_moved = grad_nodes[:, bn_weight.shape[0] :].sum(dim=0, dtype=torch.float64)
        first = grad_nodes, grad_moved, grad_bn_weight, grad_bn_bias
        return *first, grad_weight, grad_moved2, grad_bn_weight2, grad_bn_bias2, *[None] * 7
