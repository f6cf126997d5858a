"""The gradient of `edge_conv_two_layer` in plain torch, over chunks of edges: what runs on CUDA.

And on every device where BatchNorm's sums are those of several processes, which come in between the steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pointkernels.ops.edge_conv_two_layer_chunks import Edges, activate, chunks_of, product, transposed_product

__all__ = ["backward", "gradients"]


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
    options = cloud_size, offsets, edges, bn_weight, bn_bias, mean, var, eps, negative_slope
    options2 = weight, center, bn_weight2, bn_bias2, mean2, var2, eps2, negative_slope2
    alone = _Alone(count.clamp(min=1))
    return gradients(
        grad, nodes, neighbors, *options, *options2, deviation, slot, constant, constant2, alone, alone, False
    )


class _Alone:
    """Edges and sums of this process, as those of all."""

    def __init__(self, edges: Tensor) -> None:
        self.edges = edges

    def sums(self, *sums: Tensor) -> tuple[Tensor, ...]:
        return sums


def gradients(
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
    deviation: Tensor,
    slot: Tensor,
    constant: bool,
    constant2: bool,
    every: Any,
    every2: Any,
    with_h2: bool,
) -> tuple[Tensor, ...]:
    """What `backward` gives; and with `with_h2` the sum (O) of the gradients of the second pre-activations.

    Args: as of `pointkernels::_edge_conv_two_layer_backward` but for count, and

        every: of all over which the first BatchNorm has its statistics, `edges`, their number, at least 1, and
            `sums(...)`, which makes sums over these of sums over the edges that are here.
        every2: the same of the second BatchNorm.
        with_h2: see above.
    """
    rows, k = neighbors.shape
    hidden = bn_weight.shape[0]
    dtype, double = nodes.dtype, torch.float64
    inverse2 = 1 / (var2 + eps2).sqrt()
    scale2 = bn_weight2 * inverse2
    t = torch.where(scale2 * deviation + bn_bias2 > 0, grad, negative_slope2 * grad)
    t = torch.where(slot >= 0, t, 0)
    grad_bias2 = t.sum(dim=0, dtype=double)
    grad_weight2 = (t * (inverse2 * deviation)).sum(dim=0, dtype=double)
    winner = scale2 * t
    every_bias2, every_weight2 = (grad_bias2, grad_weight2) if constant2 else every2.sums(grad_bias2, grad_weight2)
    factor = scale2 * inverse2 * every_weight2 / every2.edges
    offset = factor * mean2 - scale2 * every_bias2 / every2.edges
    dense = product(weight.t() * -factor, weight.double())
    start = (offset[:, None] * weight).sum(dim=0)

    inverse = 1 / (var + eps).sqrt()
    scale = bn_weight * inverse
    grad_u, grad_v, deviations = torch.zeros(3, rows, hidden, dtype=dtype, device=nodes.device)
    p_sum, p_deviation, a_sum = torch.zeros(3, hidden, dtype=double, device=nodes.device)
    grad_weight = torch.zeros_like(weight, dtype=double)
    gram = torch.zeros(hidden, hidden, dtype=double, device=nodes.device)
    for chunk in chunks_of(rows, k, cloud_size):
        part = Edges(chunk, nodes, neighbors, cloud_size)
        d = part.only_valid(part.h - mean)
        z = scale * d + bn_bias
        a = part.only_valid(activate(z, negative_slope) - center)
        place = slot[chunk.begin : chunk.end, None].clamp(min=0).long()  # (rows, 1, outputs)
        won = torch.zeros(*part.lists.shape, weight.shape[0], dtype=dtype, device=nodes.device)
        won.scatter_(1, place, winner[chunk.begin : chunk.end, None])
        p = product(won, weight)
        if not constant2:
            p = p + product(a, dense.to(dtype)) + start.to(dtype)
            gram += transposed_product(a, a)
            a_sum += a.sum(dim=(0, 1), dtype=double)
        grad_weight += transposed_product(won, a)
        p = part.only_valid(torch.where(z > 0, p, negative_slope * p))
        p_sum += p.sum(dim=(0, 1), dtype=double)
        p_deviation += (p * d).sum(dim=(0, 1), dtype=double)
        grad_v[chunk.begin : chunk.end] = p.sum(dim=1)
        deviations[chunk.begin : chunk.end] = d.sum(dim=1)
        grad_u[chunk.low : chunk.high] += part.sum_at_targets(p)
    if not constant2:
        (every_a_sum,) = every2.sums(a_sum)
        covariance = gram - torch.outer(every_a_sum, a_sum) / every2.edges
        grad_weight -= torch.outer(scale2 * every_bias2 / every2.edges, a_sum) + product(
            factor[:, None] * weight, covariance
        )
    grad_bn_weight = p_deviation * inverse
    if not constant:
        every_p_sum, every_weight = every.sums(p_sum, grad_bn_weight)
        dense_bias = (every_p_sum / every.edges).to(dtype)
        dense_scale = (inverse * every_weight / every.edges).to(dtype)
        u, v = (part.contiguous() for part in nodes.chunk(2, dim=1))
        in_edges = offsets.diff().to(dtype)[:, None]
        out_edges = (neighbors >= 0).sum(dim=1, keepdim=True).to(dtype)
        gathered = torch.ops.pointkernels._sum_over_edges(v, None, offsets, edges, k)
        grad_u = grad_u - in_edges * dense_bias - dense_scale * (in_edges * (u - mean) + gathered)
        grad_v = grad_v - out_edges * dense_bias - dense_scale * deviations
    grads: tuple[Any, ...] = (grad_bn_weight, p_sum, grad_weight, grad_weight2, grad_bias2)
    results = (torch.cat([scale * grad_u, scale * grad_v], dim=1), *(g.to(dtype) for g in grads))
    if not with_h2:
        return results
    grad_h2 = scale2 * grad_bias2
    if not constant2:
        share = (neighbors >= 0).sum() / every2.edges
        grad_h2 = grad_h2 - scale2 * every_bias2 * share - factor * (weight * (a_sum - every_a_sum * share)).sum(dim=1)
    return *results, grad_h2


torch.library.impl("pointkernels::_edge_conv_two_layer_backward", "CUDA", backward)
