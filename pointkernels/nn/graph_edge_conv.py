"""EdgeConv on packed clouds, in the place of torch_geometric's `EdgeConv` and `DynamicEdgeConv` with a one-layer MLP.

torch_geometric runs its MLP on a row [x_i, x_j - x_i] for every edge; these modules run the fused operator, which forms
no edges. They do not need torch_geometric, and work in its `Sequential`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pointkernels.nn.batch_norm_kind import synchronized_like
from pointkernels.nn.edge_layer_parameters import EdgeLayerParameters
from pointkernels.nn.mlp_layers import edge_mlp
from pointkernels.nn.packed_graph import OnGivenGraph, OnKnnGraph, PackedLayer
from pointkernels.ops.edge_conv import edge_conv

__all__ = ["DynamicEdgeConv", "GraphEdgeConv"]

_Layer = TypeVar("_Layer", bound="_OneLayerEdgeConv")


class _OneLayerEdgeConv(EdgeLayerParameters, PackedLayer):
    """max over j of act(norm(weight [x_i, x_j - x_i] + bias)), norm a BatchNorm over all edges or nothing."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        batch_norm: bool = True,
        bias: bool = True,
        negative_slope: float = 0.0,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            batch_norm=batch_norm,
            bias=bias,
            negative_slope=negative_slope,
            eps=eps,
            momentum=momentum,
            device=device,
            dtype=dtype,
        )

    def convolve(self, x: Tensor, neighbors: Tensor) -> Tensor:
        """The layer on rows (N, C) with neighbour lists (N, K), -1 for none."""
        own, difference = self.weight.chunk(2, dim=1)
        weight = torch.cat([difference, own], dim=1)  # the operator's order is [x_j - x_i, x_i]
        if not self.batch_norm:
            # Statistics of 0 and 1 make BatchNorm add the bias and nothing else.
            one, zero = torch.ones_like(self.weight[:, 0]), torch.zeros_like(self.weight[:, 0])
            bias = zero if self.bias is None else self.bias
            options: dict[str, Any] = {"training": False, "eps": 0.0, "negative_slope": self.negative_slope}
            return edge_conv(x[None], neighbors[None], weight, one, bias, zero, one, **options)[0]
        return self.normalised(x[None], neighbors[None], weight)[0]

    def extra_repr(self) -> str:
        """The arguments in short."""
        norm = "" if self.batch_norm else ", batch_norm=False"
        return f"{self.in_channels}, {self.out_channels}{norm}, negative_slope={self.negative_slope}"

    @classmethod
    def twin(cls: type[_Layer], mlp: nn.Module, **more: Any) -> _Layer:
        """The layer that does with edges what the MLP does, with copies of its weights; more arguments as given."""
        (found,) = edge_mlp(mlp, layers=1)
        weight, bias, norm = found.linear.weight, found.linear.bias, found.norm
        if norm is not None:
            more = {**more, "eps": norm.eps, "momentum": norm.momentum}
        layer = cls(
            weight.shape[1] // 2,
            weight.shape[0],
            batch_norm=norm is not None,
            bias=bias is not None,
            negative_slope=found.negative_slope,
            device=weight.device,
            dtype=weight.dtype,
            **more,
        )
        with torch.no_grad():
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.copy_(bias)
            if norm is None:
                return layer
            layer.bn_weight.copy_(norm.weight)
            layer.bn_bias.copy_(norm.bias)
            assert norm.running_mean is not None and norm.running_var is not None  # noqa: PT018
            assert norm.num_batches_tracked is not None
            # The bias moves the mean, and nothing else.
            layer.running_mean.copy_(norm.running_mean if bias is None else norm.running_mean - bias)
            layer.running_var.copy_(norm.running_var)
            layer.num_batches_tracked.copy_(norm.num_batches_tracked)
        return synchronized_like(layer.train(norm.training), norm)


class DynamicEdgeConv(OnKnnGraph, _OneLayerEdgeConv):
    """One EdgeConv layer over the kNN graph of its input, on packed clouds.

    Takes the place of torch_geometric's `DynamicEdgeConv(Sequential(Linear(2 C, C'), BatchNorm1d(C'), ReLU()), k)`,
    with or without the BatchNorm and its activation, aggregated by maximum. Neighbours include the point itself; ties
    go to the lower index, where torch_geometric leaves them open. For an MLP of two layers see
    `TwoLayerDynamicEdgeConv`.

    Args:
        in_channels: C.
        out_channels: C'.
        k: number of neighbours.
        batch_norm: whether there is a BatchNorm over all edges.
        bias: whether there is a bias; only without BatchNorm, which has its own.
        negative_slope: of the activation below zero: 0 is ReLU, 1 is none, others are LeakyReLU.
        eps: added to BatchNorm's variance.
        momentum: weight of a batch in BatchNorm's running statistics; None for their cumulative average.
        device: where the parameters live.
        dtype: of the parameters.

    Example:
        >>> layer = pointkernels.nn.DynamicEdgeConv(3, 64, k=20)
        >>> layer(torch.randn(500, 3), torch.arange(500) // 100).shape
        torch.Size([500, 64])
    """

    def __init__(self, in_channels: int, out_channels: int, k: int, **options: Any) -> None:
        super().__init__(in_channels, out_channels, **options)
        self.k = k


class GraphEdgeConv(OnGivenGraph, _OneLayerEdgeConv):
    """One EdgeConv layer over a given graph, on packed clouds.

    Takes the place of torch_geometric's `EdgeConv(Sequential(Linear(2 C, C'), BatchNorm1d(C'), ReLU()))`, with or
    without the BatchNorm and its activation, aggregated by maximum. Arguments as in `DynamicEdgeConv`, without k.

    Example:
        >>> layer = pointkernels.nn.GraphEdgeConv(3, 64)
        >>> layer(torch.randn(4, 3), torch.tensor([[1, 2, 3], [0, 0, 2]])).shape
        torch.Size([4, 64])
    """
