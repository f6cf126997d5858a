"""Every way to one EdgeConv layer that is compared, all with the same weights, in training mode.

Each call returns the output, and in "forward+backward" also the gradients of features, convolution and BatchNorm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from contenders import Contender, LeftOut, Settings, ours, require
from torch import Tensor, nn
from torch.nn import functional as F

import pointkernels
from pointkernels import reference

SLOPE = 0.2
Result = dict[str, Tensor]


@dataclass(frozen=True)
class Layer:
    """Inputs and weights of a layer.

    Attributes:
        features: (B, N, C).
        neighbors: (B, N, K) int64.
        weight: (C', 2 C), of [x_j - x_i, x_i].
        gamma: (C',) weight of BatchNorm.
        beta: (C',) bias of BatchNorm.
        grad: (B, N, C'), of the output; None to measure the forward pass alone, without recording for a backward pass.
    """

    features: Tensor
    neighbors: Tensor
    weight: Tensor
    gamma: Tensor
    beta: Tensor
    grad: Tensor | None

    def leaf(self, name: str, transposed: bool = False) -> Tensor:
        """A copy of a tensor that gradients are taken of."""
        tensor: Tensor = getattr(self, name)
        tensor = tensor.transpose(1, 2) if transposed else tensor
        return tensor.detach().clone(memory_format=torch.contiguous_format).requires_grad_()


def call_of(forward: Callable[[], Tensor], leaves: list[Tensor], grad: Tensor | None) -> Callable[[], list[Tensor]]:
    """What is timed: the forward pass, or both."""
    if grad is None:

        def call() -> list[Tensor]:
            with torch.no_grad():
                return [forward()]
    else:

        def call() -> list[Tensor]:
            output = forward()
            return [output.detach(), *torch.autograd.grad(output, leaves, grad)]

    return call


def _named(values: list[Tensor], channels_first: bool = False) -> Result:
    """Results by name, the points before the channels."""
    named = dict(zip(("output", "features", "weight", "gamma", "beta"), values, strict=False))
    if channels_first:
        for name in named.keys() & {"output", "features"}:
            named[name] = named[name].transpose(1, 2)
    if "weight" in named:
        named["weight"] = named["weight"].flatten(1)
    return named


def pointkernels_layer(layer: Layer, settings: Settings) -> list[Contender]:
    """The operator of this project, as its module calls it."""
    features, weight, gamma, beta = (layer.leaf(name) for name in ("features", "weight", "gamma", "beta"))
    mean, var = torch.zeros_like(gamma.detach()), torch.ones_like(gamma.detach())
    call = call_of(
        lambda: pointkernels.edge_conv(
            features, layer.neighbors, weight, gamma, beta, mean, var, training=True, negative_slope=SLOPE
        ),
        [features, weight, gamma, beta],
        layer.grad,
    )
    return ours(call, settings, _named)


def materialised(layer: Layer, settings: Settings) -> Contender:
    """`pointkernels.reference.edge_conv`: channels last, a matrix product over all edges."""
    features, weight, gamma, beta = (layer.leaf(name) for name in ("features", "weight", "gamma", "beta"))
    mean, var = torch.zeros_like(gamma.detach()), torch.ones_like(gamma.detach())
    call = call_of(
        lambda: reference.edge_conv(
            features, layer.neighbors, weight, gamma, beta, mean, var,
            training=True, momentum=0.1, eps=1e-5, negative_slope=SLOPE,
        ),
        [features, weight, gamma, beta],
        layer.grad,
    )  # fmt: skip
    return Contender("reference.edge_conv", call, "torch", result=_named)


def dgcnn_layer(
    features: Tensor, rows: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor
) -> Tensor:
    """The layer as DGCNN's code writes it: edge features (B, 2 C, N, K), convolution, BatchNorm, LeakyReLU, maximum.

    Features are (B, C, N) and rows (B, N, K) are neighbours counted over the whole batch.
    """
    batch, channels, count = features.shape
    k = rows.shape[2]
    points = features.transpose(2, 1).contiguous()
    x_j = points.view(batch * count, channels)[rows.view(-1)].view(batch, count, k, channels)
    x_i = points.view(batch, count, 1, channels).repeat(1, 1, k, 1)
    edges = torch.cat((x_j - x_i, x_i), dim=3).permute(0, 3, 1, 2).contiguous()
    normalised = F.batch_norm(F.conv2d(edges, weight), mean, var, gamma, beta, training=True, momentum=0.1)
    return F.leaky_relu(normalised, SLOPE).max(dim=-1, keepdim=False)[0]


def _dgcnn_contender(layer: Layer, name: str, function: Callable[..., Tensor], compiles: bool) -> Contender:
    features, weight, gamma, beta = (
        layer.leaf(name, name == "features") for name in ("features", "weight", "gamma", "beta")
    )
    weight = weight.detach()[:, :, None, None].clone().requires_grad_()
    batch, count, _ = layer.features.shape
    rows = layer.neighbors + (torch.arange(batch, device=features.device) * count)[:, None, None]
    mean, var = torch.zeros_like(gamma.detach()), torch.ones_like(gamma.detach())
    call = call_of(
        lambda: function(features, rows, weight, gamma, beta, mean, var),
        [features, weight, gamma, beta],
        None if layer.grad is None else layer.grad.transpose(1, 2).contiguous(),
    )
    return Contender(name, call, "torch", result=lambda values: _named(values, channels_first=True), compiles=compiles)


def dgcnn(layer: Layer, settings: Settings) -> Contender:
    """Conv2d, BatchNorm2d, LeakyReLU and maximum over edge features, as in DGCNN."""
    return _dgcnn_contender(layer, "Conv2d+BatchNorm2d+max (DGCNN)", dgcnn_layer, compiles=False)


def dgcnn_compiled(layer: Layer, settings: Settings) -> Contender:
    """The same, compiled."""
    if not settings.compiled:
        raise LeftOut("asked for with --compile")
    torch.compiler.reset()
    return _dgcnn_contender(layer, "torch.compile of it", torch.compile(dgcnn_layer, dynamic=False), compiles=True)


def torch_geometric(layer: Layer, settings: Settings) -> Contender:
    """EdgeConv of torch_geometric, whose edge features are [x_i, x_j - x_i]."""
    geometric = require("torch_geometric.nn")
    batch, count, channels = layer.features.shape
    k = layer.neighbors.shape[2]
    linear = nn.Linear(2 * channels, layer.weight.shape[0], bias=False)
    norm = nn.BatchNorm1d(layer.weight.shape[0])
    module = geometric.EdgeConv(nn.Sequential(linear, norm, nn.LeakyReLU(SLOPE)), aggr="max").to(layer.features)
    with torch.no_grad():
        linear.weight.copy_(layer.weight.roll(channels, dims=1))
        norm.weight.copy_(layer.gamma)
        norm.bias.copy_(layer.beta)
    features = layer.features.reshape(batch * count, channels).detach().clone().requires_grad_()
    rows = torch.arange(batch * count, device=features.device)
    first = (torch.arange(batch, device=features.device) * count)[:, None, None]
    edges = torch.stack([(layer.neighbors + first).reshape(-1), rows.repeat_interleave(k)])

    def result(values: list[Tensor]) -> Result:
        named = _named(values)
        for name in named.keys() & {"output", "features"}:
            named[name] = named[name].view(batch, count, -1)
        if "weight" in named:
            named["weight"] = named["weight"].roll(channels, dims=1)
        return named

    call = call_of(
        lambda: module(features, edges),
        [features, linear.weight, norm.weight, norm.bias],
        None if layer.grad is None else layer.grad.reshape(batch * count, -1),
    )
    return Contender("torch_geometric EdgeConv", call, "torch_geometric", result=result)


BUILDERS: dict[str, Callable[[Layer, Settings], Any]] = {
    "pointkernels": pointkernels_layer,
    "reference.edge_conv": materialised,
    "Conv2d+BatchNorm2d+max (DGCNN)": dgcnn,
    "torch.compile of it": dgcnn_compiled,
    "torch_geometric": torch_geometric,
}
