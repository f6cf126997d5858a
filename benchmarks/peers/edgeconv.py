"""Every way to an EdgeConv layer that is compared, all with the same weights, in training mode.

A layer has one convolution or two. Each call returns the output, and in "forward+backward" also the gradients of
features, convolutions and BatchNorms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from harness.contenders import Contender, LeftOut, Settings, ours, require
from torch import Tensor, nn
from torch.nn import functional as F

import pointkernels
from pointkernels import EdgeLayer, reference

SLOPE = 0.2
Result = dict[str, Tensor]


class Convolution(NamedTuple):
    """Weights and running statistics of one convolution and its BatchNorm."""

    weight: Tensor  # (C', 2 C) of [x_j - x_i, x_i], or (C', C) of a second one
    gamma: Tensor  # (C')
    beta: Tensor
    mean: Tensor
    var: Tensor

    @property
    def learnt(self) -> tuple[Tensor, Tensor, Tensor]:
        """What gradients are taken of."""
        return self[:3]


@dataclass(frozen=True)
class Layer:
    """Inputs and weights of a layer.

    Attributes:
        features: (B, N, C).
        neighbors: (B, N, K) int64.
        weights: of each convolution its weight, and weight and bias of its BatchNorm.
        grad: (B, N, C'), of the output; None to measure the forward pass alone, without recording for a backward pass.
    """

    features: Tensor
    neighbors: Tensor
    weights: tuple[tuple[Tensor, Tensor, Tensor], ...]
    grad: Tensor | None

    def double(self) -> Layer:
        """The same in float64."""
        weights = tuple((weight.double(), gamma.double(), beta.double()) for weight, gamma, beta in self.weights)
        return Layer(self.features.double(), self.neighbors, weights, None if self.grad is None else self.grad.double())

    def leaves(self, channels_first: bool = False) -> tuple[Tensor, list[Convolution]]:
        """Copies of the features and weights that gradients are taken of, with fresh running statistics.

        Channels first, features are (B, C, N) and weights (C', C, 1, 1).
        """
        convolutions = []
        for weight, gamma, beta in self.weights:
            learnt = [_leaf(weight[:, :, None, None] if channels_first else weight), _leaf(gamma), _leaf(beta)]
            convolutions.append(Convolution(*learnt, torch.zeros_like(gamma), torch.ones_like(gamma)))
        return _leaf(self.features.transpose(1, 2) if channels_first else self.features), convolutions

    def rows(self) -> Tensor:
        """(B, N, K) the neighbours counted over the whole batch."""
        batch, count, _ = self.features.shape
        return self.neighbors + (torch.arange(batch, device=self.features.device) * count)[:, None, None]


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format).requires_grad_()


def _call_of(
    forward: Callable[[], Tensor], features: Tensor, parameters: Sequence[Tensor], grad: Tensor | None
) -> Callable[[], list[Tensor]]:
    """What is timed: the forward pass, or both."""
    if grad is None:

        def call() -> list[Tensor]:
            with torch.no_grad():
                return [forward()]
    else:

        def call() -> list[Tensor]:
            output = forward()
            return [output.detach(), *torch.autograd.grad(output, [features, *parameters], grad)]

    return call


def _parameters(convolutions: Sequence[Convolution]) -> list[Tensor]:
    return list(chain.from_iterable(convolution.learnt for convolution in convolutions))


def _named(values: list[Tensor], channels_first: bool = False) -> Result:
    """Results by name, the points before the channels; those of the second convolution end in 2."""
    names = [f"{name}{number}" for number in ("", "2") for name in ("weight", "gamma", "beta")]
    named = dict(zip(["output", "features", *names], values, strict=False))
    for name in named.keys() & {"output", "features"} if channels_first else ():
        named[name] = named[name].transpose(1, 2)
    for name in named.keys() & {"weight", "weight2"}:
        named[name] = named[name].flatten(1)
    return named


def pointkernels_layer(layer: Layer, settings: Settings) -> list[Contender]:
    """The operators of this project, as their modules call them."""
    features, convolutions = layer.leaves()

    def forward() -> Tensor:
        if len(convolutions) == 1:
            return pointkernels.edge_conv(
                features, layer.neighbors, *convolutions[0], training=True, negative_slope=SLOPE
            )
        first, second = (EdgeLayer(*convolution, negative_slope=SLOPE) for convolution in convolutions)
        return pointkernels.edge_conv_two_layer(features, layer.neighbors, first, second)

    return ours(_call_of(forward, features, _parameters(convolutions), layer.grad), settings, _named)


def materialised(layer: Layer, settings: Settings) -> Contender:
    """The layer of `pointkernels.reference`: channels last, a matrix product over all edges."""
    features, convolutions = layer.leaves()

    def forward() -> Tensor:
        if len(convolutions) == 1:
            return reference.edge_conv(
                features, layer.neighbors, *convolutions[0], training=True, momentum=0.1, eps=1e-5, negative_slope=SLOPE
            )
        first, second = (EdgeLayer(*convolution, negative_slope=SLOPE) for convolution in convolutions)
        return reference.edge_conv_two_layer(features, layer.neighbors, first, second)

    name = "reference.edge_conv" if len(convolutions) == 1 else "reference.edge_conv_two_layer"
    call = _call_of(forward, features, _parameters(convolutions), layer.grad)
    return Contender(name, call, "torch", result=_named)


def dgcnn_layer(features: Tensor, rows: Tensor, convolutions: Sequence[Convolution]) -> Tensor:
    """The layer as DGCNN's code writes it: edge features (B, 2 C, N, K), convolution, BatchNorm, LeakyReLU, maximum.

    Features are (B, C, N), rows (B, N, K) are neighbours counted over the whole batch, weights are (C', C, 1, 1).
    """
    batch, channels, count = features.shape
    k = rows.shape[2]
    points = features.transpose(2, 1).contiguous()
    x_j = points.view(batch * count, channels)[rows.view(-1)].view(batch, count, k, channels)
    x_i = points.view(batch, count, 1, channels).repeat(1, 1, k, 1)
    edges = torch.cat((x_j - x_i, x_i), dim=3).permute(0, 3, 1, 2).contiguous()
    for weight, gamma, beta, mean, var in convolutions:
        edges = F.batch_norm(F.conv2d(edges, weight), mean, var, gamma, beta, training=True, momentum=0.1)
        edges = F.leaky_relu(edges, SLOPE)
    return edges.max(dim=-1, keepdim=False)[0]


def _dgcnn_contender(layer: Layer, name: str, function: Callable[..., Tensor], compiles: bool) -> Contender:
    features, convolutions = layer.leaves(channels_first=True)
    rows = layer.rows()
    grad = None if layer.grad is None else layer.grad.transpose(1, 2).contiguous()
    call = _call_of(lambda: function(features, rows, convolutions), features, _parameters(convolutions), grad)
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
    parts: list[nn.Module] = []
    for weight, _, _ in layer.weights:
        parts += [nn.Linear(weight.shape[1], weight.shape[0], bias=False), nn.BatchNorm1d(weight.shape[0])]
        parts.append(nn.LeakyReLU(SLOPE))
    module = geometric.EdgeConv(nn.Sequential(*parts), aggr="max").to(layer.features)  # initialises the parts anew
    tensors = list(chain.from_iterable(layer.weights))
    tensors[0] = tensors[0].roll(channels, dims=1)
    for parameter, tensor in zip(module.parameters(), tensors, strict=True):
        parameter.data.copy_(tensor)
    features = _leaf(layer.features.reshape(batch * count, channels))
    targets = torch.arange(batch * count, device=features.device).repeat_interleave(layer.neighbors.shape[2])
    edges = torch.stack([layer.rows().reshape(-1), targets])

    def result(values: list[Tensor]) -> Result:
        named = _named(values)
        for name in named.keys() & {"output", "features"}:
            named[name] = named[name].view(batch, count, -1)
        if "weight" in named:
            named["weight"] = named["weight"].roll(channels, dims=1)
        return named

    grad = None if layer.grad is None else layer.grad.reshape(batch * count, -1)
    call = _call_of(lambda: module(features, edges), features, list(module.parameters()), grad)
    return Contender("torch_geometric EdgeConv", call, "torch_geometric", result=result)


BUILDERS: dict[str, Callable[[Layer, Settings], Any]] = {
    "pointkernels": pointkernels_layer,
    "the materialised reference": materialised,
    "Conv2d+BatchNorm2d+max (DGCNN)": dgcnn,
    "torch.compile of it": dgcnn_compiled,
    "torch_geometric": torch_geometric,
}
