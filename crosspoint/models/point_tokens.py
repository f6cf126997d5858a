"""A token for each group of points: a small PointNet."""

from __future__ import annotations

from torch import Tensor, nn

from crosspoint.models.pointwise import PointwiseLayer


class PointTokens(nn.Module):
    """Maps each group of points to one token.

    Two layers on each point, a maximum over the group, which each of its points gets beside its own features, two more
    layers, and the maximum again.

    Source: Yu et al., "Point-BERT", CVPR 2022, whose dVAE has this encoder (channels 128, 256, 512, 256).

    Args:
        widths: Channels of the four layers.

    Attributes:
        out_channels: Channels of a token.
    """

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.first = PointwiseLayer(3, widths[0], bias=True, negative_slope=0.0)
        self.second = nn.Linear(widths[0], widths[1])
        self.third = PointwiseLayer(2 * widths[1], widths[2], bias=True, negative_slope=0.0)
        self.fourth = nn.Linear(widths[2], widths[3])
        self.out_channels = widths[3]

    def forward(self, neighborhoods: Tensor) -> Tensor:
        """Maps neighbourhoods (B, G, M, 3), relative to their centres, to tokens (B, G, C), differentiably."""
        features: Tensor = self.second(self.first(neighborhoods.flatten(0, 1)))
        features = self.fourth(self.third(features, features.amax(dim=1)))
        return features.amax(dim=1).view(*neighborhoods.shape[:2], -1)
