"""Every way to one EdgeConv layer with two convolutions that is compared, all with the same weights, in training mode.

Each call returns the output, and in "forward+backward" also the gradients of features, convolutions and BatchNorms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from contenders import Contender, LeftOut, Settings, ours, require
from edgeconv_peers import SLOPE, Result, call_of
from torch import Tensor, nn
from torch.nn import functional as F

import pointkernels
from pointkernels import EdgeLayer, reference

PARAMETERS = ("weight", "gamma", "beta", "weight2", "gamma2", "beta2")


@dataclass(frozen=True)
class TwoLayers:
    """Inputs and weights; as `edgeconv_peers.Layer`, and of the second convolution."""

    features: Tensor  # (B, N, C)
    neighbors: Tensor  # (B, N, K) int64
    weight: Tensor  # (H, 2 C), of [x_j - x_i, x_i]
    gamma: Tensor  # (H)
    beta: Tensor
    weight2: Tensor  # (C', H)
    gamma2: Tensor  # (C')
    beta2: Tensor
    grad: Tensor | None  # (B, N, C') of the output; None to measure the forward pass alone

    def leaves(self, channels_first: bool = False) -> list[Tensor]:
        """Copies of the features and parameters that gradients are taken of."""
        features = self.features.transpose(1, 2).contiguous() if channels_first else self.features
        tensors = [features, *(getattr(self, name) for name in PARAMETERS)]
        if channels_first:
            tensors[1], tensors[4] = tensors[1][:, :, None, None], tensors[4][:, :, None, None]
        return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def _named(values: list[Tensor], channels_first: bool = False) -> Result:
    named = dict(zip(("output", "features", *PARAMETERS), values, strict=False))
    for name in named.keys() & {"weight", "weight2"}:
        named[name] = named[name].flatten(1)
    for name in named.keys() & {"output", "features"} if channels_first else ():
        named[name] = named[name].transpose(1, 2)
    return named


def _ours_or_reference(layer: TwoLayers, function: Callable[..., Tensor]) -> Callable[[], list[Tensor]]:
    leaves = layer.leaves()
    layers = []
    for weight, gamma, beta in (leaves[1:4], leaves[4:]):
        running = torch.zeros_like(gamma.detach()), torch.ones_like(gamma.detach())
        layers.append(EdgeLayer(weight, gamma, beta, *running, negative_slope=SLOPE))
    return call_of(lambda: function(leaves[0], layer.neighbors, *layers), leaves, layer.grad)


def pointkernels_layers(layer: TwoLayers, settings: Settings) -> list[Contender]:
    """The operator of this project, as its module calls it."""
    return ours(_ours_or_reference(layer, pointkernels.edge_conv_two_layer), settings, _named)


def materialised(layer: TwoLayers, settings: Settings) -> Contender:
    """`pointkernels.reference.edge_conv_two_layer`: channels last, a matrix product over all edges."""
    call = _ours_or_reference(layer, reference.edge_conv_two_layer)
    return Contender("reference.edge_conv_two_layer", call, "torch", result=_named)


def dgcnn_layers(features: Tensor, rows: Tensor, *parameters: Tensor) -> Tensor:
    """The layers as DGCNN's code for part segmentation writes them; shapes as in `edgeconv_peers.dgcnn_layer`."""
    batch, channels, count = features.shape
    k = rows.shape[2]
    points = features.transpose(2, 1).contiguous()
    x_j = points.view(batch * count, channels)[rows.view(-1)].view(batch, count, k, channels)
    x_i = points.view(batch, count, 1, channels).repeat(1, 1, k, 1)
    edges = torch.cat((x_j - x_i, x_i), dim=3).permute(0, 3, 1, 2).contiguous()
    for weight, gamma, beta in (parameters[:3], parameters[3:]):
        normalised = F.batch_norm(F.conv2d(edges, weight), None, None, gamma, beta, training=True)
        edges = F.leaky_relu(normalised, SLOPE)
    return edges.max(dim=-1, keepdim=False)[0]


def _dgcnn_contender(layer: TwoLayers, name: str, function: Callable[..., Tensor], compiles: bool) -> Contender:
    leaves = layer.leaves(channels_first=True)
    batch, count, _ = layer.features.shape
    rows = layer.neighbors + (torch.arange(batch, device=layer.features.device) * count)[:, None, None]
    call = call_of(
        lambda: function(leaves[0], rows, *leaves[1:]),
        leaves,
        None if layer.grad is None else layer.grad.transpose(1, 2).contiguous(),
    )
    return Contender(name, call, "torch", result=lambda values: _named(values, channels_first=True), compiles=compiles)


def dgcnn(layer: TwoLayers, settings: Settings) -> Contender:
    """Conv2d, BatchNorm2d and LeakyReLU, twice, and maximum over edge features, as in DGCNN."""
    return _dgcnn_contender(layer, "Conv2d+BatchNorm2d+max (DGCNN)", dgcnn_layers, compiles=False)


def dgcnn_compiled(layer: TwoLayers, settings: Settings) -> Contender:
    """The same, compiled."""
    if not settings.compiled:
        raise LeftOut("asked for with --compile")
    torch.compiler.reset()
    return _dgcnn_contender(layer, "torch.compile of it", torch.compile(dgcnn_layers, dynamic=False), compiles=True)


def torch_geometric(layer: TwoLayers, settings: Settings) -> Contender:
    """EdgeConv of torch_geometric with an MLP of two layers, whose edge features are [x_i, x_j - x_i]."""
    geometric = require("torch_geometric.nn")
    batch, count, channels = layer.features.shape
    k = layer.neighbors.shape[2]
    weights = (layer.weight.roll(channels, dims=1), layer.weight2)
    linears = [nn.Linear(weight.shape[1], weight.shape[0], bias=False) for weight in weights]
    norms = [nn.BatchNorm1d(weight.shape[0]) for weight in weights]
    parts = [part for pair in zip(linears, norms, strict=True) for part in (*pair, nn.LeakyReLU(SLOPE))]
    module = geometric.EdgeConv(nn.Sequential(*parts), aggr="max").to(layer.features)  # initialises the parts anew
    for linear, norm, *tensors in zip(
        linears, norms, weights, (layer.gamma, layer.gamma2), (layer.beta, layer.beta2), strict=True
    ):
        for parameter, tensor in zip((linear.weight, norm.weight, norm.bias), tensors, strict=True):
            parameter.data.copy_(tensor)
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
        [features, *module.parameters()],
        None if layer.grad is None else layer.grad.reshape(batch * count, -1),
    )
    return Contender("torch_geometric EdgeConv", call, "torch_geometric", result=result)


BUILDERS: dict[str, Callable[[TwoLayers, Settings], Any]] = {
    "pointkernels": pointkernels_layers,
    "reference.edge_conv_two_layer": materialised,
    "Conv2d+BatchNorm2d+max (DGCNN)": dgcnn,
    "torch.compile of it": dgcnn_compiled,
    "torch_geometric": torch_geometric,
}
