"""Projection heads: from an encoder's features to the space of the losses."""

from __future__ import annotations

from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """Two-layer perceptron with BatchNorm and ReLU between the layers.

    Source: the authors' code of CrossPoint, with biases on clouds (2048 -> 1024 -> 256) and none on
    images (2048 -> 512 -> 256).

    Args:
        in_channels: Channels of the encoder's features.
        hidden: Hidden units.
        out_channels: Size of the projection.
        bias: Whether the linear layers have one.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_channels, hidden, bias=bias),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, out_channels, bias=bias),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Maps features (B, ``in_channels``) to projections (B, ``out_channels``), differentiably."""
        projections: Tensor = self.layers(features)
        return projections
