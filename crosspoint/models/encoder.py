"""What every cloud encoder has in common."""

from __future__ import annotations

from torch import Tensor, nn


class CloudEncoder(nn.Module):
    """Base of the encoders of whole clouds: points (B, N, D) to features (B, ``out_channels``).

    Attributes:
        in_channels: Coordinates per point, D.
        out_channels: Channels of a cloud's feature.
    """

    in_channels: int
    out_channels: int

    def check_points(self, points: Tensor) -> None:
        """Raises ValueError unless the points are (B, N, ``in_channels``)."""
        if points.dim() != 3 or points.shape[2] != self.in_channels:
            raise ValueError(f"points must be (B, N, {self.in_channels}), got {tuple(points.shape)}")
