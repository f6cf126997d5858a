"""DGCNN's encoder for segmentation: three graphs, features of every point and of the whole cloud."""

from __future__ import annotations

import torch
from torch import Tensor

import pointkernels
from crosspoint.models.encoder import CloudEncoder
from crosspoint.models.pointwise import PointwiseLayer
from crosspoint.models.transform import EdgeTransformNet
from pointkernels.nn import EdgeConv, TwoLayerEdgeConv

_WIDTH = 64  # of each of the three stages


class DGCNNSeg(CloudEncoder):
    """DGCNN for segmentation without its head: T-Net, two two-layer EdgeConvs, one EdgeConv, and a pooled embedding.

    Source: Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", ACM TOG 2019, segmentation branch of
    figure 3, as CrossPoint pre-trains it for part segmentation.

    Args:
        k: Neighbours per point, itself included; where a cloud has fewer points, all of them.
        embedding: Channels per point before pooling.
        in_channels: Channels of a point. The last three are the coordinates that the first graph is built on: all of
            them for clouds, the position in the room for the nine channels of indoor scenes.
        t_net: Whether a 3x3 matrix predicted from the cloud turns it first; only with three channels.

    Attributes:
        out_channels: Channels of the cloud's feature, ``embedding``.
        point_channels: Channels of a point's feature.

    Raises:
        ValueError: If there are fewer than three channels, or a T-Net on other than three.
    """

    def __init__(self, *, k: int = 40, embedding: int = 1024, in_channels: int = 3, t_net: bool = True) -> None:
        super().__init__()
        if in_channels < 3 or (t_net and in_channels != 3):
            raise ValueError(f"in_channels must be 3, or more than 3 without a T-Net, got {in_channels}")
        self.transform = EdgeTransformNet(k=k) if t_net else None
        self.first = TwoLayerEdgeConv(in_channels, _WIDTH, _WIDTH, k=k)
        self.second = TwoLayerEdgeConv(_WIDTH, _WIDTH, _WIDTH, k=k)
        self.third = EdgeConv(_WIDTH, _WIDTH, k=k)
        self.embed = PointwiseLayer(3 * _WIDTH, embedding)
        self.k = k
        self.in_channels = in_channels
        self.out_channels = embedding
        self.point_channels = 3 * _WIDTH

    def encode(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Features of every point and of the cloud.

        Args:
            points: (B, N, D) floating point, D = ``in_channels``.

        Returns:
            (B, N, ``point_channels``) and (B, ``out_channels``), differentiable in the points and the weights (not
            through the choice of neighbours).

        Raises:
            ValueError: If the points have another shape.
        """
        self.check_points(points)
        if self.transform is not None:
            points = torch.bmm(points, self.transform(points))
        first = self.first(points, pointkernels.knn(points[..., -3:], min(self.k, points.shape[1])))
        second = self.second(first)
        features = torch.cat([first, second, self.third(second)], dim=2)
        return features, self.embed(features).max(dim=1).values

    def forward(self, points: Tensor) -> Tensor:
        """The cloud's feature alone, (B, ``out_channels``); see :meth:`encode`."""
        return self.encode(points)[1]
