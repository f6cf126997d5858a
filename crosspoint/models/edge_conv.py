"""EdgeConv with two layers on each edge."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

import pointkernels


class TwoLayerEdgeConv(nn.Module):
    """EdgeConv whose edge function is a perceptron of two layers, each linear, BatchNorm and LeakyReLU; then maximum.

    Takes the place of two `Conv2d` of kernel size 1 with BatchNorm2d and LeakyReLU on the edge features
    [x_j - x_i, x_i], and of the maximum over the neighbours. BatchNorm counts every edge as one sample. The first
    linear map is applied to the points, of which there are k times fewer than edges; its results meet on the edges.

    Source: Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", ACM TOG 2019, segmentation branch.

    Args:
        in_channels: C, channels of a point.
        hidden: Channels between the layers.
        out_channels: C'.
        k: Neighbours per point, itself included; where a cloud has fewer points, all of them.
        negative_slope: Slope of LeakyReLU below zero.
    """

    def __init__(
        self, in_channels: int, hidden: int, out_channels: int, *, k: int = 20, negative_slope: float = 0.2
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.k = k
        self.negative_slope = negative_slope
        self.first = nn.Linear(2 * in_channels, hidden, bias=False)
        self.first_norm = nn.BatchNorm1d(hidden)
        self.second = nn.Linear(hidden, out_channels, bias=False)
        self.second_norm = nn.BatchNorm1d(out_channels)

    def forward(self, features: Tensor, neighbors: Tensor | None = None) -> Tensor:
        """Applies the layer.

        Args:
            features: (B, N, C) floating point.
            neighbors: (B, N, K) int64, or None for the k nearest neighbours in feature space.

        Returns:
            (B, N, C'), differentiable in features and weights (not through the choice of neighbours).
        """
        if neighbors is None:
            neighbors = pointkernels.knn(features, min(self.k, features.shape[1]))
        edges = self._first_on_edges(features, neighbors)
        flat = functional.leaky_relu(self.first_norm(edges.flatten(0, 2)), self.negative_slope)
        flat = functional.leaky_relu(self.second_norm(self.second(flat)), self.negative_slope)
        return flat.view(*neighbors.shape, -1).max(dim=2).values

    def _first_on_edges(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """(B, N, K, hidden): U (x_j - x_i) + V x_i with [U, V] the first layer's weight."""
        of_difference, of_centre = self.first.weight.chunk(2, dim=1)
        # The difference does not see a common shift; taking it off first keeps the precision of clouds far away.
        nearby = features - features.detach().mean(dim=1, keepdim=True)
        mapped = functional.linear(nearby, of_difference)
        own = functional.linear(features, of_centre) - mapped
        cloud = torch.arange(len(features), device=features.device)[:, None, None]
        return mapped[cloud, neighbors] + own.unsqueeze(2)
