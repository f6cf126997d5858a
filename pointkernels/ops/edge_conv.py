"""The fused EdgeConv layer of DGCNN: no tensor of B * N * K * C elements, forward or backward.

An edge's convolution splits into node products: with W = [W1 W2], W [x_j - x_i, x_i] = u_j + v_i for u = W1 x and
v = (W2 - W1) x, so K times fewer multiplications are needed. BatchNorm and LeakyReLU are monotone in each channel, so
the maximum over neighbours is taken of u_j alone (the minimum where BatchNorm's weight is negative), and BatchNorm's
statistics and gradient over all edges are sums over nodes and their neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pointkernels import _checks
from pointkernels._registration import (
    as_dtype,
    differentiable,
    fake_kernel,
    float32_under_autocast,
    integers_only,
    without_autocast,
)
from pointkernels._transforms import active, carried
from pointkernels.ops import edge_conv_formulas, mapped
from pointkernels.ops.edge_conv_synchronized import edge_conv_synchronized
from pointkernels.ops.linear import centered, linear, times_vector
from pointkernels.ops.reverse_graph import reverse_graph
from pointkernels.ops.running_statistics import update_running_statistics

__all__ = ["edge_conv", "kept_statistics", "statistics_gradient", "varying"]

# Devices where one operator does the node products, too.
_OF_CLOUDS = frozenset({"cpu"})


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
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    negative_slope: float = 0.2,
    process_group: Any = None,
) -> Tensor:
    """One EdgeConv layer (Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", 2019).

    max over j in neighbors(i) of LeakyReLU(BatchNorm(weight [x_j - x_i, x_i])), exact in training mode: BatchNorm takes
    its statistics over all edges of the batch, and the gradient goes through them. Computed in float32 (float64 for
    float64 features) whatever the dtype and under autocast. Features far from the origin lose no precision: one common
    vector is subtracted from all of them first, which BatchNorm cancels.

    Args:
        features: (B, N, C) float16, bfloat16, float32 or float64.
        neighbors: (B, N, K) int64 indices into the points of the same cloud, -1 for none.
        weight: (C', 2 C), the 1x1 convolution; the first half applies to x_j - x_i, the second to x_i.
        bn_weight: (C',) weight of BatchNorm.
        bn_bias: (C',) bias of BatchNorm.
        running_mean: (C',), or None to keep no running statistics. Updated in place when training.
        running_var: (C',), or None. Updated in place when training.
        training: normalise by the statistics of this batch rather than the running ones.
        momentum: weight of this batch in the running statistics, a number or a tensor ().
        eps: added to the variance.
        negative_slope: slope of LeakyReLU below zero, at least 0.
        process_group: in training, the processes of torch.distributed over whose edges BatchNorm takes its statistics,
            each with as many clouds as it likes; all of them must call, forward and backward. None: this process alone.

    Returns:
        (B, N, C') in the dtype of the features; zeros for a point without neighbours. Differentiable any number of
        times in features, weight, bn_weight and bn_bias.

    Raises:
        TypeError: dtypes other than those above.
        ValueError: wrong shapes or devices, neighbours out of range, a negative slope, no running statistics in
            evaluation, or a single edge in training.

    Example:
        >>> features = torch.randn(2, 100, 8)
        >>> neighbors = pointkernels.knn(features, 20)
        >>> weight, one, zero = torch.randn(16, 16), torch.ones(16), torch.zeros(16)
        >>> pointkernels.edge_conv(features, neighbors, weight, one, zero, None, None, training=True).shape
        torch.Size([2, 100, 16])
    """
    _check(features, neighbors, weight, bn_weight, bn_bias, running_mean, running_var, training, negative_slope)
    if training and process_group is None and neighbors.numel() == 1:
        raise ValueError("training must see more than one edge to have a variance, got one")
    compute = torch.float64 if features.dtype == torch.float64 else torch.float32
    if process_group is not None and training:
        _checks.check_neighbors(neighbors, features.shape[1])
        with without_autocast(features.device.type):
            x, matrix, scale, bias = (as_dtype(part, compute) for part in (features, weight, bn_weight, bn_bias))
            output, mean, var, edges = edge_conv_synchronized(
                x, matrix, neighbors, scale, bias, eps, negative_slope, process_group
            )
            if running_mean is not None and running_var is not None:
                update_running_statistics(running_mean, running_var, mean, torch.zeros_like(mean), var, edges, momentum)
        return as_dtype(output, features.dtype)
    operator: Callable[..., tuple[Tensor, ...]]
    operator = _of_clouds if features.device.type in _OF_CLOUDS else _of_node_products
    given_mean, given_var = (None, None) if training else (running_mean, running_var)
    with without_autocast(features.device.type):
        inputs: tuple[Any, ...] = as_dtype(features, compute), as_dtype(weight, compute), neighbors.contiguous()
        vectors = [None if v is None else as_dtype(v, compute) for v in (bn_weight, bn_bias, given_mean, given_var)]
        output, mean, moved, var, edges = _checks.neighbors_checked_by(
            lambda: operator(*inputs, *vectors, eps, negative_slope), neighbors, features.shape[1]
        )
        if training and running_mean is not None and running_var is not None:
            update_running_statistics(running_mean, running_var, mean, moved, var, edges, momentum)
    return as_dtype(output, features.dtype)


def _of_clouds(features: Tensor, weight: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """Output, mean, what has been taken off the mean, variance, and the number of edges."""
    output, mean, var, edges, _, _, _, moved, _ = _edge_conv_of_clouds(
        features.contiguous(), weight.contiguous(), *arguments
    )
    return output, mean, moved, var, edges


def _of_node_products(
    features: Tensor, weight: Tensor, neighbors: Tensor, bn_weight: Tensor, bn_bias: Tensor, mean: Tensor | None,
    *arguments: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The same with an operator for the node products."""
    batch, count, channels = features.shape
    lists, x = neighbors.flatten(0, 1), features.reshape(-1, channels)
    used = torch.ops.pointkernels._used_rows(lists, count)
    difference, center = weight.chunk(2, dim=1)
    x, shift = centered(x, used)
    moved = times_vector(center, shift)  # what the shift takes off every pre-activation
    nodes = linear(x, torch.cat([difference, center - difference]))
    results = _edge_conv(nodes, lists, count, bn_weight, bn_bias, None if mean is None else mean - moved, *arguments)
    output, batch_mean, var, edges = results[:4]
    return output.view(batch, count, weight.shape[0]), batch_mean, moved, var, edges


def _check(
    features: Tensor,
    neighbors: Tensor,
    weight: Tensor,
    bn_weight: Tensor,
    bn_bias: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    negative_slope: float,
) -> None:
    _checks.check_floating(features, "features", "(B, N, C)")
    _checks.check_floating(weight, "weight", "(C', 2 C)")
    batch, count, channels = features.shape
    if weight.shape[1] != 2 * channels:
        raise ValueError(
            f"weight must have shape (C', {2 * channels}) for {channels} channels, got {tuple(weight.shape)}"
        )
    vectors = {"bn_weight": bn_weight, "bn_bias": bn_bias, "running_mean": running_mean, "running_var": running_var}
    for name, vector in vectors.items():
        if vector is None:
            continue
        _checks.check_floating(vector, name, "(C')")
        if vector.shape != weight.shape[:1]:
            raise ValueError(f"{name} must have shape ({weight.shape[0]},), got {tuple(vector.shape)}")
    for name, tensor in {"weight": weight, **vectors}.items():
        if tensor is not None and tensor.device != features.device:
            raise ValueError(f"{name} must be on the device of features, {features.device}, got {tensor.device}")
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must both be tensors or both None, got one of each")
    if not training and running_mean is None:
        raise ValueError("running_mean and running_var must be given unless training, got None")
    _checks.check_rank(neighbors, "neighbors", "(B, N, K)")
    _checks.check_integers(neighbors, "neighbors", (batch, count, neighbors.shape[2]), features, "features")
    _checks.at_least_one(neighbors.shape[2], "the number of neighbours")
    if not negative_slope >= 0:
        raise ValueError(f"negative_slope must be at least 0, got {negative_slope}")


@fake_kernel("pointkernels::_used_rows")
def _fake_used_rows(neighbors: Tensor, cloud_size: int) -> Tensor:
    return neighbors.new_empty(neighbors.shape[0], dtype=torch.bool)


@fake_kernel("pointkernels::edge_conv")
def _fake(nodes: Tensor, neighbors: Tensor, cloud_size: int, bn_weight: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return _fake_results(nodes, neighbors, bn_weight, rest[1])


@fake_kernel("pointkernels::_edge_conv_of_clouds")
def _fake_of_clouds(x: Tensor, weight: Tensor, neighbors: Tensor, bn_weight: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    used = x.new_empty(x.shape[0] * x.shape[1], dtype=torch.bool)
    centred = x.new_empty(x.shape[2]), torch.empty_like(bn_weight), used
    return (*_fake_results(x, neighbors, bn_weight, rest[1])[:-1], *centred)


def _fake_results(like: Tensor, neighbors: Tensor, bn_weight: Tensor, mean: Tensor | None) -> tuple[Tensor, ...]:
    shape = (*like.shape[:-1], bn_weight.shape[0])
    slot_dtype = torch.uint8 if neighbors.shape[-1] <= 255 else torch.int32
    return (
        like.new_empty(shape),
        torch.empty_like(bn_weight),
        torch.empty_like(bn_weight),
        like.new_empty((), dtype=torch.float64),
        like.new_empty(shape),
        like.new_empty(shape, dtype=slot_dtype),
        like.new_empty(shape) if mean is None else like.new_empty(0),
    )


@fake_kernel("pointkernels::_edge_conv_backward")
def _fake_backward(grad: Tensor, nodes: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    bn_weight = rest[4]
    return torch.empty_like(nodes), torch.empty_like(bn_weight), torch.empty_like(bn_weight)


@fake_kernel("pointkernels::_edge_conv_of_clouds_backward")
def _fake_of_clouds_backward(grad: Tensor, x: Tensor, weight: Tensor, for_x: bool, *rest: Any) -> tuple[Tensor, ...]:
    bn_weight = rest[1]
    grad_x = torch.empty_like(x) if for_x else x.new_empty(0)
    return grad_x, torch.empty_like(weight), torch.empty_like(bn_weight), torch.empty_like(bn_weight)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    nodes, neighbors, cloud_size, *rest = inputs
    _save(ctx, (nodes, neighbors), rest, output)
    ctx.cloud_size = cloud_size


def _setup_context_of_clouds(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, neighbors, *rest = inputs
    _save(ctx, (x, weight, neighbors), rest, output)


def _save(ctx: Any, first: tuple[Tensor, ...], rest: list[Any], output: tuple[Tensor, ...]) -> None:
    bn_weight, bn_bias, given_mean, given_var, eps, negative_slope = rest
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*first, bn_weight, bn_bias, *output[1:], *kept_statistics(given_mean, given_var))
    ctx.statistics_given = given_mean is not None
    ctx.numbers = (eps, negative_slope)


def kept_statistics(mean: Tensor | None, var: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Of given statistics, what a backward pass needs beside the copies among the outputs, which are constants."""
    varies = (mean is not None and mean.requires_grad) or (var is not None and var.requires_grad)
    return (mean, var) if varies or (mean is not None and active()) else (None, None)


def varying(copy: Tensor, given: Tensor | None) -> Tensor:
    """The copy of a given statistic, with the derivatives of that one where they may be asked for."""
    return carried(copy, given) if given is not None and torch.is_grad_enabled() else copy


def _backward(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 9
    nodes, neighbors, bn_weight, bn_bias, mean, var, *statistics, gathered, given_mean, given_var = ctx.saved_tensors
    mean, var = varying(mean, given_mean), varying(var, given_var)
    cloud_size = ctx.cloud_size
    grad_nodes, grad_weight, grad_bias = _edge_conv_backward(
        grad.contiguous(), nodes, neighbors, cloud_size,
        *reverse_graph(neighbors, cloud_size, cloud_size, neighbors.shape[0]),
        bn_weight, bn_bias, mean, var, *statistics, None if ctx.statistics_given else gathered, *ctx.numbers,
    )  # fmt: skip
    of_batch_norm = _of_batch_norm(ctx, grad_weight, grad_bias, bn_weight, var)
    return (grad_nodes if ctx.needs_input_grad[0] else None, None, None, *of_batch_norm)


def _of_clouds_backward(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 9
    x, weight, neighbors, bn_weight, bn_bias, mean, var, *statistics, _, used, given_mean, given_var = ctx.saved_tensors
    mean, var = varying(mean, given_mean), varying(var, given_var)
    for_x = ctx.needs_input_grad[0]
    grad_x, grad_weight, grad_bn_weight, grad_bn_bias = _edge_conv_of_clouds_backward(
        grad.contiguous(), x, weight, for_x, neighbors,
        bn_weight, bn_bias, mean, var, *statistics, used, ctx.statistics_given, *ctx.numbers,
    )  # fmt: skip
    of_batch_norm = _of_batch_norm(ctx, grad_bn_weight, grad_bn_bias, bn_weight, var)
    return (grad_x if for_x else None, grad_weight, None, *of_batch_norm)


def _of_batch_norm(
    ctx: Any, grad_weight: Tensor, grad_bias: Tensor, bn_weight: Tensor, var: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients of the arguments from `bn_weight` on."""
    of_statistics = statistics_gradient(grad_weight, grad_bias, bn_weight, var, ctx.numbers[0], ctx.statistics_given)
    return grad_weight, grad_bias, *of_statistics, None, None


def statistics_gradient(
    grad_weight: Tensor, grad_bias: Tensor, bn_weight: Tensor, var: Tensor, eps: float, given: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of BatchNorm's mean and variance where they were given, from those of its weight and bias."""
    if not given:
        return None, None
    inverse = torch.rsqrt(var + eps)
    return -grad_bias * bn_weight * inverse, -0.5 * grad_weight * bn_weight * inverse.square()


_edge_conv: Callable[..., Any] = differentiable(
    "pointkernels::edge_conv",
    _backward,
    _setup_context,
    formula=edge_conv_formulas.with_found(edge_conv_formulas.one_layer, 5),
    vmap=lambda *arguments: mapped.edge_conv(_edge_conv, *arguments),
)
_edge_conv_of_clouds: Callable[..., Any] = differentiable(
    "pointkernels::_edge_conv_of_clouds",
    _of_clouds_backward,
    _setup_context_of_clouds,
    formula=edge_conv_formulas.with_found(edge_conv_formulas.of_clouds, 5, 6, 8),
    vmap=lambda *arguments: mapped.edge_conv_of_clouds(_edge_conv_of_clouds, *arguments),
)
for _name in ("edge_conv", "_edge_conv_of_clouds"):
    float32_under_autocast(f"pointkernels::{_name}")
integers_only(
    "pointkernels::_used_rows",
    lambda *arguments: mapped.used_rows(torch.ops.pointkernels._used_rows.default, *arguments),
)
_edge_conv_backward = edge_conv_formulas.backward_operator(
    "pointkernels::_edge_conv_backward", edge_conv_formulas.one_layer_gradient
)
_edge_conv_of_clouds_backward = edge_conv_formulas.backward_operator(
    "pointkernels::_edge_conv_of_clouds_backward", edge_conv_formulas.of_clouds_gradient
)
