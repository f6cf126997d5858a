"""One perceptron layer shared by all points."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from pointkernels import linear


class PointwiseLayer(nn.Module):
    """Linear, BatchNorm and LeakyReLU on every point: what others write as a convolution of kernel size 1.

    Args:
        in_channels: Channels of a point, after those of the cloud if the layer gets both.
        out_channels: Channels of the result.
        bias: Whether the linear map has one.
        negative_slope: Slope of LeakyReLU below zero; 0 is ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = False, negative_slope: float = 0.2) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=bias)
        self.norm = nn.BatchNorm1d(out_channels)
        self.negative_slope = negative_slope

    def forward(self, features: Tensor, cloud: Tensor | None = None) -> Tensor:
        """Applies the layer.

        Args:
            features: (..., C).
            cloud: (B, G) features of whole clouds that each of the (B, N, C) points gets too, before its own; they are
                mapped once per cloud instead of once per point.

        Returns:
            (..., ``out_channels``). BatchNorm counts every point as one sample.
        """
        if cloud is None:
            mapped = linear(features, self.linear.weight, self.linear.bias)
        else:
            of_cloud, of_point = self.linear.weight[:, : cloud.shape[1]], self.linear.weight[:, cloud.shape[1] :]
            shared = functional.linear(cloud, of_cloud, self.linear.bias)
            mapped = linear(features, of_point) + shared.unsqueeze(1)
        normed = self.norm(mapped.flatten(0, -2)).view_as(mapped)
        return functional.leaky_relu(normed, self.negative_slope)
