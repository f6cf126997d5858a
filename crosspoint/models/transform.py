"""T-Nets: networks that predict for each cloud a matrix to multiply its points or features with."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from crosspoint.models.pointwise import PointwiseLayer
from pointkernels.nn import TwoLayerEdgeConv

_POOLED = 1024  # channels that are pooled over the points, in both networks


class _MatrixRegression(nn.Module):
    """From pooled features (B, 1024) to matrices (B, size, size), the identity before training."""

    def __init__(self, size: int, *, bias: bool, negative_slope: float) -> None:
        super().__init__()
        self.size = size
        self.layers = nn.Sequential(
            PointwiseLayer(_POOLED, 512, bias=bias, negative_slope=negative_slope),
            PointwiseLayer(512, 256, bias=bias, negative_slope=negative_slope),
        )
        self.matrix = nn.Linear(256, size * size)
        nn.init.zeros_(self.matrix.weight)
        with torch.no_grad():
            self.matrix.bias.copy_(torch.eye(size).flatten())

    def forward(self, pooled: Tensor) -> Tensor:
        matrices: Tensor = self.matrix(self.layers(pooled))
        return matrices.view(-1, self.size, self.size)


class EdgeTransformNet(nn.Module):
    """The T-Net of DGCNN's part segmentation: an EdgeConv layer, pooling, a 3x3 matrix.

    Args:
        k: Neighbours per point, itself included.
    """

    def __init__(self, *, k: int) -> None:
        super().__init__()
        self.edges = TwoLayerEdgeConv(3, 64, 128, k=k)
        self.embed = PointwiseLayer(128, _POOLED)
        self.regression = _MatrixRegression(3, bias=False, negative_slope=0.2)

    def forward(self, points: Tensor) -> Tensor:
        """Matrices (B, 3, 3) for points (B, N, 3); a point is a row, so the matrix stands on its right."""
        matrices: Tensor = self.regression(self.embed(self.edges(points)).max(dim=1).values)
        return matrices


class PointTransformNet(nn.Module):
    """PointNet's T-Net: layers on each point, pooling, a C x C matrix.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = (channels, 64, 128, _POOLED)
        self.layers = nn.Sequential(
            *(PointwiseLayer(a, b, bias=True, negative_slope=0.0) for a, b in itertools.pairwise(sizes))
        )
        self.regression = _MatrixRegression(channels, bias=True, negative_slope=0.0)

    def forward(self, features: Tensor) -> Tensor:
        """Matrices (B, C, C) for features (B, N, C); a point is a row, so the matrix stands on its right."""
        matrices: Tensor = self.regression(self.layers(features).max(dim=1).values)
        return matrices
