"""EdgeConv on batches of clouds of one size, as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointkernels import _checks
from pointkernels.nn.batch_norm_kind import synchronized_like
from pointkernels.nn.edge_layer_parameters import EdgeLayerParameters
from pointkernels.ops.knn import neighbors_of_features

__all__ = ["EdgeConv"]


class EdgeConv(EdgeLayerParameters):
    """One DGCNN layer: EdgeConv over a kNN graph, with training-mode BatchNorm, without edge tensors.

    Takes the place of `Conv2d(2 C, C', 1, bias=False)`, `BatchNorm2d(C')`, `LeakyReLU`, max over the neighbours; same
    initialisation, same statistics, same gradients. See `pointkernels.edge_conv`.

    After `torch.nn.SyncBatchNorm.convert_sync_batchnorm`, training takes the statistics of all processes, forward and
    backward, on a CPU, too; their numbers of clouds may differ. The child `norm` says so, and holds nothing itself.

    Args:
        in_channels: C.
        out_channels: C'.
        k: number of neighbours of the dynamic graph, the point itself included.
        negative_slope: slope of LeakyReLU below zero.
        eps: added to BatchNorm's variance.
        momentum: weight of a batch in BatchNorm's running statistics; None for their cumulative average.
        device: where the parameters live.
        dtype: of the parameters.

    Example:
        >>> layer = pointkernels.nn.EdgeConv(3, 64, k=20)
        >>> layer(torch.randn(2, 1024, 3)).shape
        torch.Size([2, 1024, 64])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        k: int = 20,
        negative_slope: float = 0.2,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            batch_norm=True,
            bias=False,
            negative_slope=negative_slope,
            eps=eps,
            momentum=momentum,
            device=device,
            dtype=dtype,
        )
        self.k = k

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
        return self.normalised(features, neighbors, self.weight)

    def extra_repr(self) -> str:
        """The arguments in short."""
        return f"{self.in_channels}, {self.out_channels}, k={self.k}, negative_slope={self.negative_slope}"

    @classmethod
    def from_conv_bn(cls, conv: nn.Conv2d, bn: nn.BatchNorm2d, *, k: int = 20, negative_slope: float = 0.2) -> EdgeConv:
        """The fused twin of a 1x1 convolution and its BatchNorm, with copies of their weights and statistics."""
        if conv.kernel_size != (1, 1) or conv.bias is not None or conv.groups != 1 or conv.in_channels % 2:
            raise ValueError(f"conv must be a 1x1 convolution of 2 C channels, without bias and groups, got {conv}")
        if bn.num_features != conv.out_channels or not bn.affine or not bn.track_running_stats:
            raise ValueError(f"bn must be affine, track statistics and have {conv.out_channels} channels, got {bn}")
        layer = cls(
            conv.in_channels // 2,
            conv.out_channels,
            k=k,
            negative_slope=negative_slope,
            eps=bn.eps,
            momentum=bn.momentum,
            device=conv.weight.device,
            dtype=conv.weight.dtype,
        )
        layer.load_state_dict(
            {
                "weight": conv.weight.flatten(1),
                "bn_weight": bn.weight,
                "bn_bias": bn.bias,
                "running_mean": bn.running_mean,
                "running_var": bn.running_var,
                "num_batches_tracked": bn.num_batches_tracked,
            }
        )
        return synchronized_like(layer.train(bn.training), bn)

    def to_conv_bn(self) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        """The usual pair of modules with copies of this layer's weights and statistics."""
        conv = nn.Conv2d(2 * self.in_channels, self.out_channels, 1, bias=False).to(self.weight)
        bn = nn.BatchNorm2d(self.out_channels, eps=self.eps, momentum=self.momentum).to(self.weight)
        state = self.state_dict()
        conv.load_state_dict({"weight": state.pop("weight")[:, :, None, None]})
        bn.load_state_dict({name.removeprefix("bn_"): value for name, value in state.items()})
        return conv.train(self.training), synchronized_like(bn.train(self.training), self.norm)
