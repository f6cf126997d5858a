"""EdgeConv with two layers on each edge: no tensor of B * N * K * C elements, forward or backward.

The first layer splits into node products, as in `edge_conv`. The second is a matrix product for every edge, made on
tiles of edges that stay in the cache, forward once and backward once: BatchNorm's statistics, the winners, and all sums
that the gradients need come out of these sweeps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pointkernels import _checks
from pointkernels._registration import (
    differentiable,
    fake_kernel,
    float32_under_autocast,
    without_autocast,
)
from pointkernels.ops import (
    edge_conv_formulas,
    edge_conv_two_layer_chunks,  # noqa: F401  (the operators on CUDA)
    edge_conv_two_layer_chunks_backward,  # noqa: F401
    mapped,
)
from pointkernels.ops.edge_conv_operators import kept_statistics, statistics_gradient, varying
from pointkernels.ops.edge_conv_two_layer_synchronized import edge_conv_two_layer_synchronized
from pointkernels.ops.linear import centered, linear, times_vector
from pointkernels.ops.reverse_graph import reverse_graph
from pointkernels.ops.running_statistics import update_running_statistics
from pointkernels.reference import EdgeLayer

__all__ = ["edge_conv_two_layer"]


def edge_conv_two_layer(features: Tensor, neighbors: Tensor, first: EdgeLayer, second: EdgeLayer) -> Tensor:
    """EdgeConv with two layers (Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", 2019, segmentation).

    max over j in neighbors(i) of second(first([x_j - x_i, x_i])), where each layer is a linear map, BatchNorm over all
    edges and LeakyReLU; exact in training mode, gradients through the statistics included. Computed in float32 (float64
    for float64 features) whatever the dtype and under autocast. Features far from the origin lose no precision: one
    common vector is subtracted from all of them first, which BatchNorm cancels.

    Args:
        features: (B, N, C) float16, bfloat16, float32 or float64.
        neighbors: (B, N, K) int64 indices into the points of the same cloud, -1 for none.
        first: weight (H, 2 C), whose first half applies to x_j - x_i and the second to x_i.
        second: weight (C', H).
            With a `process_group` in either, which trains, all its processes must call, forward and backward, each with
            as many clouds as it likes.

    Returns:
        (B, N, C') in the dtype of the features; zeros for a point without neighbours. Differentiable any number of
        times in features, and in weight, bn_weight and bn_bias of both layers. Second
        derivatives and forward mode form the tensors of all edges, (B, N, K, H) and (B, N, K, C').

    Raises:
        TypeError: dtypes other than those above.
        ValueError: wrong shapes or devices, neighbours out of range, a negative slope, no running statistics in
            evaluation, or a single edge in training.

    Example:
        >>> features = torch.randn(2, 100, 8)
        >>> neighbors = pointkernels.knn(features, 20)
        >>> first = pointkernels.EdgeLayer(torch.randn(16, 16), torch.ones(16), torch.zeros(16))
        >>> second = pointkernels.EdgeLayer(torch.randn(32, 16), torch.ones(32), torch.zeros(32))
        >>> pointkernels.edge_conv_two_layer(features, neighbors, first, second).shape
        torch.Size([2, 100, 32])
    """
    _check(features, neighbors, first, second)
    batch, count, channels = features.shape
    compute = torch.float64 if features.dtype == torch.float64 else torch.float32
    if any(layer.training and layer.process_group is not None for layer in (first, second)):
        return _synchronized(features, neighbors, first, second, compute)
    with without_autocast(features.device.type):
        lists = neighbors.reshape(-1, neighbors.shape[2]).contiguous()
        used = torch.ops.pointkernels._used_rows(lists, count)
        difference, own = first.weight.to(compute).chunk(2, dim=1)
        x, shift = centered(features.to(compute).reshape(-1, channels), used)
        nodes = linear(x, torch.cat([difference, own - difference]))
        weight, bn_bias = second.weight.to(compute), first.bn_bias.to(compute)
        # Activations scatter about that of the mean pre-activation, where the second BatchNorm cancels it too.
        center = F.leaky_relu(bn_bias.detach(), first.negative_slope).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        moved = times_vector(own, shift), times_vector(weight, center)  # what both take off every pre-activation
        mean, var = _given(first, moved[0], compute)
        mean2, var2 = _given(second, moved[1], compute)
        output, *statistics, edges, _, _ = _edge_conv_two_layer(
            nodes,
            lists,
            count,
            first.bn_weight.to(compute),
            bn_bias,
            mean,
            var,
            first.eps,
            first.negative_slope,
            weight,
            center,
            second.bn_weight.to(compute),
            second.bn_bias.to(compute),
            mean2,
            var2,
            second.eps,
            second.negative_slope,
        )
        for layer, average, variance, off in zip((first, second), statistics[::2], statistics[1::2], moved):  # noqa: B905
            if layer.training and layer.running_mean is not None and layer.running_var is not None:
                update_running_statistics(
                    layer.running_mean, layer.running_var, average, off, variance, edges, layer.momentum
                )
    shaped: Tensor = output.view(batch, count, weight.shape[0])
    return shaped.to(features.dtype)


def _synchronized(
    features: Tensor, neighbors: Tensor, first: EdgeLayer, second: EdgeLayer, compute: torch.dtype
) -> Tensor:
    layers = [
        EdgeLayer(*(None if part is None else part.to(compute) for part in layer[:5]), *layer[5:])  # type: ignore[arg-type, call-arg]
        for layer in (first, second)
    ]
    with without_autocast(features.device.type):
        output, *statistics = edge_conv_two_layer_synchronized(features.to(compute), neighbors, *layers)
        for layer, (edges, mean, var) in zip((first, second), statistics, strict=True):
            if layer.training and layer.running_mean is not None and layer.running_var is not None:
                running = layer.running_mean, layer.running_var
                update_running_statistics(*running, mean, torch.zeros_like(mean), var, edges, layer.momentum)
    shaped: Tensor = output.to(features.dtype)
    return shaped


def _given(layer: EdgeLayer, moved: Tensor, compute: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
    """The statistics that a layer does not take from this batch."""
    if layer.training or layer.running_mean is None or layer.running_var is None:
        return None, None
    return layer.running_mean.to(compute) - moved, layer.running_var.to(compute)


def _check(features: Tensor, neighbors: Tensor, first: EdgeLayer, second: EdgeLayer) -> None:
    _checks.check_floating(features, "features", "(B, N, C)")
    batch, count, channels = features.shape
    for name, layer in (("first", first), ("second", second)):
        if not isinstance(layer, EdgeLayer):
            raise TypeError(f"{name} must be a pointkernels.EdgeLayer, got {type(layer).__name__}")
        _checks.check_floating(layer.weight, f"{name}.weight", "(H, 2 C)" if name == "first" else "(C', H)")
    hidden = first.weight.shape[0]
    if first.weight.shape[1] != 2 * channels:
        raise ValueError(
            f"first.weight must have shape (H, {2 * channels}) for {channels} channels, got {tuple(first.weight.shape)}"
        )
    if second.weight.shape[1] != hidden:
        raise ValueError(
            f"second.weight must have shape (C', {hidden}) after {hidden} channels, got {tuple(second.weight.shape)}"
        )
    for name, layer in (("first", first), ("second", second)):
        _check_layer(layer, name, features)
    _checks.check_rank(neighbors, "neighbors", "(B, N, K)")
    _checks.check_integers(neighbors, "neighbors", (batch, count, neighbors.shape[2]), features, "features")
    _checks.at_least_one(neighbors.shape[2], "the number of neighbours")
    alone = any(layer.training and layer.process_group is None for layer in (first, second))
    if alone and batch * count * neighbors.shape[2] == 1:
        raise ValueError("training must see more than one edge to have a variance, got one")
    _checks.check_neighbors(neighbors, count)


def _check_layer(layer: EdgeLayer, name: str, features: Tensor) -> None:
    vectors = layer._asdict()
    for part in ("weight", "bn_weight", "bn_bias", "running_mean", "running_var"):
        tensor = vectors[part]
        if tensor is None and part.startswith("running"):
            continue
        if part != "weight":
            _checks.check_floating(tensor, f"{name}.{part}", "(H)")
            if tensor.shape != layer.weight.shape[:1]:
                raise ValueError(f"{name}.{part} must have shape ({layer.weight.shape[0]},), got {tuple(tensor.shape)}")
        if tensor.device != features.device:
            raise ValueError(f"{name}.{part} must be on the device of features, {features.device}, got {tensor.device}")
    if (layer.running_mean is None) != (layer.running_var is None):
        raise ValueError(
            f"{name}.running_mean and {name}.running_var must both be tensors or both None, got one of each"
        )
    if not layer.training and layer.running_mean is None:
        raise ValueError(f"{name}.running_mean and {name}.running_var must be given unless training, got None")
    if not layer.negative_slope >= 0:
        raise ValueError(f"{name}.negative_slope must be at least 0, got {layer.negative_slope}")


@fake_kernel("pointkernels::edge_conv_two_layer")
def _fake(nodes: Tensor, neighbors: Tensor, cloud_size: int, bn_weight: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    bn_weight2 = arguments[7]
    shape = (nodes.shape[0], bn_weight2.shape[0])
    return (
        nodes.new_empty(shape),
        torch.empty_like(bn_weight),
        torch.empty_like(bn_weight),
        torch.empty_like(bn_weight2),
        torch.empty_like(bn_weight2),
        nodes.new_empty((), dtype=torch.float64),
        nodes.new_empty(shape),
        nodes.new_empty(shape, dtype=torch.int32),
    )


@fake_kernel("pointkernels::_edge_conv_two_layer_backward")
def _fake_backward(grad: Tensor, nodes: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    # bn_weight, bn_bias, weight, bn_weight2, bn_bias2
    return (torch.empty_like(nodes), *(torch.empty_like(arguments[n]) for n in (4, 5, 10, 12, 13)))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    nodes, neighbors, cloud_size, bn_weight, bn_bias, mean, var, eps, slope, *second = inputs
    weight, center, bn_weight2, bn_bias2, mean2, var2, eps2, slope2 = second
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        nodes, neighbors, bn_weight, bn_bias, weight, center, bn_weight2, bn_bias2, *output[1:],
        *kept_statistics(mean, var), *kept_statistics(mean2, var2),
    )  # fmt: skip
    ctx.numbers = (cloud_size, eps, slope, eps2, slope2)
    ctx.constant = (mean is not None, mean2 is not None)


def _backward(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 17
    nodes, neighbors, bn_weight, bn_bias, weight, center, bn_weight2, bn_bias2, *saved = ctx.saved_tensors
    *statistics, count, deviation, slot = saved[:7]
    mean, var, mean2, var2 = map(varying, statistics, saved[7:])
    cloud_size, eps, slope, eps2, slope2 = ctx.numbers
    offsets, edges = reverse_graph(neighbors, cloud_size, cloud_size, nodes.shape[0])
    (grad_nodes, grad_bn_weight, grad_bn_bias, grad_weight, grad_bn_weight2, grad_bn_bias2) = (
        _edge_conv_two_layer_backward(
            grad.contiguous(), nodes, neighbors, cloud_size, offsets, edges, bn_weight, bn_bias, mean, var, eps, slope,
            weight, center, bn_weight2, bn_bias2, mean2, var2, eps2, slope2, count, deviation, slot, *ctx.constant,
        )
    )  # fmt: skip
    given = statistics_gradient(grad_bn_weight, grad_bn_bias, bn_weight, var, eps, ctx.constant[0])
    given2 = statistics_gradient(grad_bn_weight2, grad_bn_bias2, bn_weight2, var2, eps2, ctx.constant[1])
    first = (grad_nodes, None, None, grad_bn_weight, grad_bn_bias, *given, None, None)
    return (*first, grad_weight, None, grad_bn_weight2, grad_bn_bias2, *given2, None, None)


_edge_conv_two_layer: Callable[..., Any] = differentiable(
    "pointkernels::edge_conv_two_layer",
    _backward,
    _setup_context,
    formula=edge_conv_formulas.with_found(edge_conv_formulas.two_layers, 7),
    vmap=lambda *arguments: mapped.edge_conv_two_layer(_edge_conv_two_layer, *arguments),
)
_edge_conv_two_layer_backward = edge_conv_formulas.backward_operator(
    "pointkernels::_edge_conv_two_layer_backward", edge_conv_formulas.two_layers_gradient
)
float32_under_autocast("pointkernels::edge_conv_two_layer")
