"""DGCNN: the point cloud encoder with a dynamic neighbour graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crosspoint.models.encoder import CloudEncoder
from pointkernels import linear
from pointkernels.nn import EdgeConv

_NEGATIVE_SLOPE = 0.2  # of every LeakyReLU, as in the paper's code


class DGCNN(CloudEncoder):
    """Encoder of whole clouds: EdgeConv layers, each on the kNN graph of its own input, then global pooling.

    The outputs of all EdgeConv layers are concatenated per point, mapped to ``embedding`` channels
    (linear, BatchNorm, LeakyReLU), and pooled over the points by maximum and mean, which are concatenated.

    Source: Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", ACM TOG 2019, section 4 and figure 3
    (classification branch up to the global feature); the sizes are those of CrossPoint.

    Args:
        k: Neighbours per point, itself included; where a cloud has fewer points, all of them.
        widths: Output channels of the EdgeConv layers.
        embedding: Channels per point before pooling.
        in_channels: Coordinates per point.

    Attributes:
        out_channels: Channels of the feature, ``2 * embedding``.
    """

    def __init__(
        self,
        *,
        k: int = 15,
        widths: Sequence[int] = (64, 64, 128, 256),
        embedding: int = 1024,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        inputs = [in_channels, *widths[:-1]]
        self.layers = nn.ModuleList(
            EdgeConv(incoming, outgoing, k=k, negative_slope=_NEGATIVE_SLOPE)
            for incoming, outgoing in zip(inputs, widths, strict=True)
        )
        self.embed = nn.Linear(sum(widths), embedding, bias=False)
        self.norm = nn.BatchNorm1d(embedding)
        self.activation = nn.LeakyReLU(_NEGATIVE_SLOPE)
        self.in_channels = in_channels
        self.out_channels = 2 * embedding

    def forward(self, points: Tensor) -> Tensor:
        """Encodes clouds.

        Args:
            points: (B, N, D) floating point, D = ``in_channels``.

        Returns:
            (B, ``out_channels``) features, differentiable in the points and the weights (not through the choice of
            neighbours, which is piecewise constant).

        Raises:
            ValueError: If the points have another shape.
        """
        self.check_points(points)
        features, outputs = points, []
        for layer in self.layers:
            features = layer(features)
            outputs.append(features)
        embedded = linear(torch.cat(outputs, dim=2), self.embed.weight)
        # BatchNorm1d counts every point as one sample, so clouds and points are merged for it.
        embedded = self.activation(self.norm(embedded.flatten(0, 1))).unflatten(0, points.shape[:2])
        # Not amax, which shares the gradient among equal maxima and so passes over all points several times more.
        return torch.cat([embedded.max(dim=1).values, embedded.mean(dim=1)], dim=1)
