"""Heads: from an encoder's features to the space of the losses, or to classes."""

from __future__ import annotations

from torch import Tensor, nn

from crosspoint.models.pointwise import PointwiseLayer


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


class ClassificationHead(nn.Module):
    """Two hidden layers (linear, BatchNorm, LeakyReLU, dropout) and a linear map to classes.

    Source: the classification branch of DGCNN (2048 -> 512 -> 256 -> classes), which CrossPoint is fine-tuned with.

    Args:
        in_channels: Channels of the encoder's features.
        classes: Number of classes.
        hidden: Hidden units of the two layers.
        dropout: Share of the hidden units dropped in training.
        negative_slope: Slope of LeakyReLU below zero; 0 is ReLU.
        bias: Whether the first linear map has a bias.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        hidden: tuple[int, int] = (512, 256),
        dropout: float = 0.5,
        negative_slope: float = 0.2,
        bias: bool = False,
    ) -> None:
        super().__init__()
        first, second = hidden
        self.layers = nn.Sequential(
            PointwiseLayer(in_channels, first, bias=bias, negative_slope=negative_slope),
            nn.Dropout(dropout),
            PointwiseLayer(first, second, bias=True, negative_slope=negative_slope),
            nn.Dropout(dropout),
            nn.Linear(second, classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Maps features (B, ``in_channels``) to logits (B, ``classes``), differentiably."""
        logits: Tensor = self.layers(features)
        return logits
