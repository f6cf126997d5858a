"""EdgeConv on packed clouds, in the place of torch_geometric's `EdgeConv` and `DynamicEdgeConv` with a two-layer MLP.

As `graph_edge_conv`, whose modules are for MLPs of one layer: no edges are formed, torch_geometric is not needed, and
its `Sequential` takes these modules.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pointkernels.nn.batch_norm_kind import synchronized_like
from pointkernels.nn.mlp_layers import edge_mlp, weight_of
from pointkernels.nn.packed_graph import OnGivenGraph, OnKnnGraph, PackedLayer
from pointkernels.ops.edge_conv_two_layer import edge_conv_two_layer
from pointkernels.ops.edge_layer import edge_layer
from pointkernels.reference import EdgeLayer

__all__ = ["TwoLayerDynamicEdgeConv", "TwoLayerGraphEdgeConv"]

_Layer = TypeVar("_Layer", bound="_TwoLayerEdgeConv")


class _TwoLayerEdgeConv(PackedLayer):
    """max over j of both layers of [x_i, x_j - x_i], each act(norm(weight x + bias)), norm a BatchNorm or nothing."""

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        *,
        batch_norm: tuple[bool, bool] = (True, True),
        bias: tuple[bool, bool] = (True, True),
        negative_slope: tuple[float, float] = (0.0, 0.0),
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.batch_norm = batch_norm
        self.negative_slope = negative_slope
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        # Modules that hold the parameters; they are not called. BatchNorm cancels a bias before it, so there is none.
        wanted = [with_bias and not norm for with_bias, norm in zip(bias, batch_norm, strict=True)]
        self.first = nn.Linear(2 * in_channels, hidden, bias=wanted[0], **options)
        self.first_norm = nn.BatchNorm1d(hidden, **options) if batch_norm[0] else None
        self.second = nn.Linear(hidden, out_channels, bias=wanted[1], **options)
        self.second_norm = nn.BatchNorm1d(out_channels, **options) if batch_norm[1] else None

    def convolve(self, x: Tensor, neighbors: Tensor) -> Tensor:
        """The layers on rows (N, C) with neighbour lists (N, K), -1 for none."""
        own, difference = weight_of(self.first).chunk(2, dim=1)
        weight = torch.cat([difference, own], dim=1)  # the operator's order is [x_j - x_i, x_i]
        first = _edge_layer(weight, self.first.bias, self.first_norm, self.negative_slope[0])
        second = _edge_layer(weight_of(self.second), self.second.bias, self.second_norm, self.negative_slope[1])
        return edge_conv_two_layer(x[None], neighbors[None], first, second)[0]

    def extra_repr(self) -> str:
        """The arguments that the parts do not show."""
        return f"negative_slope={self.negative_slope}"

    @classmethod
    def twin(cls: type[_Layer], mlp: nn.Module, **more: Any) -> _Layer:
        """The layer that does with edges what the MLP does, with copies of its weights; more arguments as given."""
        parts = edge_mlp(mlp, layers=2)
        layer = cls(
            parts[0].linear.weight.shape[1] // 2,
            parts[0].linear.weight.shape[0],
            parts[1].linear.weight.shape[0],
            batch_norm=(parts[0].norm is not None, parts[1].norm is not None),
            bias=(parts[0].linear.bias is not None, parts[1].linear.bias is not None),
            negative_slope=(parts[0].negative_slope, parts[1].negative_slope),
            device=parts[0].linear.weight.device,
            dtype=parts[0].linear.weight.dtype,
            **more,
        )
        pairs = ((layer.first, layer.first_norm), (layer.second, layer.second_norm))
        for part, (linear, norm) in zip(parts, pairs, strict=True):
            with torch.no_grad():
                linear.weight.copy_(part.linear.weight)
                if linear.bias is not None:
                    linear.bias.copy_(part.linear.bias)
            if norm is not None and part.norm is not None:
                norm.load_state_dict(part.norm.state_dict())
                norm.eps, norm.momentum = part.norm.eps, part.norm.momentum
                if part.linear.bias is not None and norm.running_mean is not None:
                    norm.running_mean -= part.linear.bias.detach()  # the bias moves the mean, and nothing else
        layer.train(mlp.training)
        for name, part in zip(("first_norm", "second_norm"), parts, strict=True):
            if part.norm is not None:
                setattr(layer, name, synchronized_like(getattr(layer, name), part.norm))
        return layer


class TwoLayerDynamicEdgeConv(OnKnnGraph, _TwoLayerEdgeConv):
    """EdgeConv with two layers over the kNN graph of its input, on packed clouds.

    Takes the place of torch_geometric's `DynamicEdgeConv(mlp, k)`, aggregated by maximum, whose MLP is Linear,
    BatchNorm1d, ReLU, Linear, BatchNorm1d, ReLU, or has some of the norms and activations only. Neighbours include the
    point itself; ties go to the lower index, where torch_geometric leaves them open.

    Args:
        in_channels: C.
        hidden: channels between the layers.
        out_channels: C'.
        k: number of neighbours.
        batch_norm: for each layer, whether there is a BatchNorm over all edges.
        bias: for each layer, whether there is a bias; only without BatchNorm, which has its own.
        negative_slope: for each layer, of the activation below zero: 0 is ReLU, 1 is none, others are LeakyReLU.
        device: where the parameters live.
        dtype: of the parameters.

    Example:
        >>> layer = pointkernels.nn.TwoLayerDynamicEdgeConv(3, 64, 128, k=20)
        >>> layer(torch.randn(500, 3), torch.arange(500) // 100).shape
        torch.Size([500, 128])
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int, k: int, **options: Any) -> None:
        super().__init__(in_channels, hidden, out_channels, **options)
        self.k = k


class TwoLayerGraphEdgeConv(OnGivenGraph, _TwoLayerEdgeConv):
    """EdgeConv with two layers over a given graph, on packed clouds.

    Takes the place of torch_geometric's `EdgeConv(mlp)`; arguments and MLPs as in `TwoLayerDynamicEdgeConv`, without k.

    Example:
        >>> layer = pointkernels.nn.TwoLayerGraphEdgeConv(3, 64, 128)
        >>> layer(torch.randn(4, 3), torch.tensor([[1, 2, 3], [0, 0, 2]])).shape
        torch.Size([4, 128])
    """


def _edge_layer(weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm1d | None, negative_slope: float) -> EdgeLayer:
    if norm is not None:
        return edge_layer(weight, norm, negative_slope)
    # Statistics of 0 and 1 make BatchNorm add the bias and nothing else.
    one, zero = torch.ones_like(weight[:, 0]), torch.zeros_like(weight[:, 0])
    bias = zero if bias is None else bias
    return EdgeLayer(weight, one, bias, zero, one, training=False, eps=0.0, negative_slope=negative_slope)
