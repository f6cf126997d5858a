"""EdgeConv with two layers on each edge, on batches of clouds of one size, as a module."""

from __future__ import annotations

from torch import Tensor, nn

from pointkernels import _checks
from pointkernels.nn.batch_norm_kind import synchronized_like
from pointkernels.nn.mlp_layers import weight_of
from pointkernels.ops.edge_conv_two_layer import edge_conv_two_layer
from pointkernels.ops.edge_layer import edge_layer
from pointkernels.ops.knn import neighbors_of_features

__all__ = ["TwoLayerEdgeConv"]


class TwoLayerEdgeConv(nn.Module):
    """EdgeConv whose edge function has two layers, over a kNN graph, without edge tensors.

    Takes the place of twice `Conv2d(..., 1, bias=False)`, `BatchNorm2d`, `LeakyReLU` on the edge features
    [x_j - x_i, x_i], and of the maximum over the neighbours, as in DGCNN for part and semantic segmentation; same
    initialisation, same statistics, same gradients. See `pointkernels.edge_conv_two_layer`.

    After `torch.nn.SyncBatchNorm.convert_sync_batchnorm`, training takes the statistics of all processes, as `EdgeConv`
    does.

    Args:
        in_channels: C.
        hidden: channels between the layers.
        out_channels: C'.
        k: number of neighbours of the dynamic graph, the point itself included.
        negative_slope: slope of both LeakyReLU below zero.

    Example:
        >>> layer = pointkernels.nn.TwoLayerEdgeConv(3, 64, 64, k=40)
        >>> layer(torch.randn(2, 256, 3)).shape
        torch.Size([2, 256, 64])
    """

    def __init__(
        self, in_channels: int, hidden: int, out_channels: int, *, k: int = 20, negative_slope: float = 0.2
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.hidden = hidden
        self.out_channels = out_channels
        self.k = k
        self.negative_slope = negative_slope
        # Modules that hold the parameters; they are not called.
        self.first = nn.Linear(2 * in_channels, hidden, bias=False)
        self.first_norm = nn.BatchNorm1d(hidden)
        self.second = nn.Linear(hidden, out_channels, bias=False)
        self.second_norm = nn.BatchNorm1d(out_channels)

    def forward(self, features: Tensor, neighbors: Tensor | None = None) -> Tensor:
        """Apply the layer.

        Args:
            features: (B, N, C).
            neighbors: (B, N, K) int64, -1 for none; None for the k nearest neighbours in feature space.

        Returns:
            (B, N, C').
        """
        _checks.check_channels(features, "features", "(B, N, C)", self.in_channels)
        if neighbors is None:
            neighbors = neighbors_of_features(features, self.k)
        first = edge_layer(weight_of(self.first), self.first_norm, self.negative_slope)
        second = edge_layer(weight_of(self.second), self.second_norm, self.negative_slope)
        return edge_conv_two_layer(features, neighbors, first, second)

    def extra_repr(self) -> str:
        """The arguments in short."""
        return f"k={self.k}, negative_slope={self.negative_slope}"

    @classmethod
    def from_conv_bn(
        cls,
        conv: nn.Conv2d,
        bn: nn.BatchNorm2d,
        conv2: nn.Conv2d,
        bn2: nn.BatchNorm2d,
        *,
        k: int = 20,
        negative_slope: float = 0.2,
    ) -> TwoLayerEdgeConv:
        """The fused twin of two 1x1 convolutions and their BatchNorms, with copies of their weights and statistics."""
        for name, convolution, norm in (("", conv, bn), ("2", conv2, bn2)):
            if convolution.kernel_size != (1, 1) or convolution.bias is not None or convolution.groups != 1:
                raise ValueError(f"conv{name} must be a 1x1 convolution without bias and groups, got {convolution}")
            if norm.num_features != convolution.out_channels or not norm.affine or not norm.track_running_stats:
                raise ValueError(
                    f"bn{name} must be affine, track statistics and have {convolution.out_channels} channels, "
                    f"got {norm}"
                )
        if conv.in_channels % 2 or conv2.in_channels != conv.out_channels:
            raise ValueError(
                f"conv must have 2 C input channels and conv2 those that conv gives, got {conv} and {conv2}"
            )
        layer = cls(conv.in_channels // 2, conv.out_channels, conv2.out_channels, k=k, negative_slope=negative_slope)
        layer.to(conv.weight.device, conv.weight.dtype)
        for own, norm in ((layer.first_norm, bn), (layer.second_norm, bn2)):
            own.eps, own.momentum = norm.eps, norm.momentum
            own.load_state_dict(norm.state_dict())
        layer.first.load_state_dict({"weight": conv.weight.flatten(1)})
        layer.second.load_state_dict({"weight": conv2.weight.flatten(1)})
        layer.train(bn.training)
        layer.first_norm, layer.second_norm = (
            synchronized_like(own, norm) for own, norm in ((layer.first_norm, bn), (layer.second_norm, bn2))
        )
        return layer

    def to_conv_bn(self) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d, nn.BatchNorm2d]:
        """The usual convolutions and their BatchNorms, with copies of the weights and statistics."""
        found: list[nn.Module] = []
        for linear, norm in ((self.first, self.first_norm), (self.second, self.second_norm)):
            conv = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=False).to(linear.weight)
            conv.load_state_dict({"weight": linear.weight[:, :, None, None]})
            bn = nn.BatchNorm2d(linear.out_features, norm.eps, norm.momentum).to(linear.weight)
            bn.load_state_dict(norm.state_dict())
            found += [conv.train(self.training), synchronized_like(bn.train(self.training), norm)]
        return tuple(found)  # type: ignore[return-value]
