"""The operators of one EdgeConv layer as torch sees them: what they give without data, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pointkernels._registration import differentiable, fake_kernel, float32_under_autocast, integers_only
from pointkernels._transforms import active, carried
from pointkernels.ops import edge_conv_formulas, mapped
from pointkernels.ops.reverse_graph import reverse_graph

__all__ = [
    "Results",
    "ResultsOfClouds",
    "edge_conv_of_clouds",
    "edge_conv_of_nodes",
    "kept_statistics",
    "statistics_gradient",
    "varying",
]


class Results(NamedTuple):
    """What `pointkernels::edge_conv` gives, in its order (see csrc/library.cpp)."""

    output: Tensor
    mean: Tensor
    var: Tensor
    edges: Tensor
    extremum: Tensor
    slot: Tensor
    gathered: Tensor


class ResultsOfClouds(NamedTuple):
    """What `pointkernels::_edge_conv_of_clouds` gives, in its order."""

    output: Tensor
    mean: Tensor
    var: Tensor
    edges: Tensor
    extremum: Tensor
    slot: Tensor
    shift: Tensor
    moved: Tensor
    used: Tensor


@fake_kernel("pointkernels::_used_rows")
def _fake_used_rows(neighbors: Tensor, cloud_size: int) -> Tensor:
    return neighbors.new_empty(neighbors.shape[0], dtype=torch.bool)


@fake_kernel("pointkernels::edge_conv")
def _fake(
    nodes: Tensor, neighbors: Tensor, cloud_size: int, bn_weight: Tensor, bn_bias: Tensor, mean: Tensor | None, *_: Any
) -> tuple[Tensor, ...]:
    return tuple(_fake_results(nodes, neighbors, bn_weight, mean))


@fake_kernel("pointkernels::_edge_conv_of_clouds")
def _fake_of_clouds(
    x: Tensor, weight: Tensor, neighbors: Tensor, bn_weight: Tensor, bn_bias: Tensor, mean: Tensor | None, *_: Any
) -> tuple[Tensor, ...]:
    used = x.new_empty(x.shape[0] * x.shape[1], dtype=torch.bool)
    centred = x.new_empty(x.shape[2]), torch.empty_like(bn_weight), used
    return (*_fake_results(x, neighbors, bn_weight, mean)[:-1], *centred)


def _fake_results(like: Tensor, neighbors: Tensor, bn_weight: Tensor, mean: Tensor | None) -> Results:
    shape = (*like.shape[:-1], bn_weight.shape[0])
    slot_dtype = torch.uint8 if neighbors.shape[-1] <= 255 else torch.int32
    return Results(
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


edge_conv_of_nodes: Callable[..., Any] = differentiable(
    "pointkernels::edge_conv",
    _backward,
    _setup_context,
    formula=edge_conv_formulas.with_found(edge_conv_formulas.one_layer, 5),
    vmap=lambda *arguments: mapped.edge_conv(edge_conv_of_nodes, *arguments),
)
edge_conv_of_clouds: Callable[..., Any] = differentiable(
    "pointkernels::_edge_conv_of_clouds",
    _of_clouds_backward,
    _setup_context_of_clouds,
    formula=edge_conv_formulas.with_found(edge_conv_formulas.of_clouds, 5, 6, 8),
    vmap=lambda *arguments: mapped.edge_conv_of_clouds(edge_conv_of_clouds, *arguments),
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
