"""EdgeConv on packed clouds, in the place of torch_geometric's `EdgeConv` and `DynamicEdgeConv` with a one-layer MLP.

torch_geometric runs its MLP on a row [x_i, x_j - x_i] for every edge; these modules run the fused operator, which forms
no edges. They do not need torch_geometric, and work in its `Sequential`.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pointkernels.nn.batch_norm_kind import norm_of_kind, statistics_of, synchronized_like
from pointkernels.nn.mlp_layers import edge_mlp
from pointkernels.nn.packed_graph import OnGivenGraph, OnKnnGraph, PackedLayer
from pointkernels.ops.edge_conv import edge_conv
from pointkernels.ops.running_statistics import count_batch

__all__ = ["DynamicEdgeConv", "GraphEdgeConv"]

_Layer = TypeVar("_Layer", bound="_OneLayerEdgeConv")


class _OneLayerEdgeConv(PackedLayer):
    """max over j of act(norm(weight [x_i, x_j - x_i] + bias)), norm a BatchNorm over all edges or nothing.

    The child `norm` says over which processes, as in `EdgeConv`.
    """

    bias: nn.Parameter | None  # None with BatchNorm, which cancels it; all below are None without
    bn_weight: nn.Parameter
    bn_bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

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
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.batch_norm = batch_norm
        self.negative_slope = negative_slope
        self.eps = eps
        self.momentum = momentum
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.empty(out_channels, 2 * in_channels, **options))
        for name in ("bias", "bn_weight", "bn_bias"):
            wanted = batch_norm if name.startswith("bn_") else bias and not batch_norm
            self.register_parameter(name, nn.Parameter(torch.empty(out_channels, **options)) if wanted else None)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.empty(out_channels, **options) if batch_norm else None)
        count = torch.zeros((), dtype=torch.int64, device=device)
        self.register_buffer("num_batches_tracked", count if batch_norm else None)
        if batch_norm:
            self.norm = norm_of_kind(out_channels, eps, momentum)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as Linear and BatchNorm1d do."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(2 * self.in_channels)
            nn.init.uniform_(self.bias, -bound, bound)
        if not self.batch_norm:
            return
        nn.init.ones_(self.bn_weight)
        nn.init.zeros_(self.bn_bias)
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.num_batches_tracked.zero_()

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
        training, group = statistics_of(self)
        output = edge_conv(
            x[None],
            neighbors[None],
            weight,
            self.bn_weight,
            self.bn_bias,
            self.running_mean,
            self.running_var,
            training=training,
            momentum=count_batch(self.momentum, training, self.num_batches_tracked),
            eps=self.eps,
            negative_slope=self.negative_slope,
            process_group=group,
        )
        return output[0]

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
