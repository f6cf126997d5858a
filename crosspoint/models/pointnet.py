"""PointNet: layers on each point alone, then a maximum over the points."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from crosspoint.models.encoder import CloudEncoder
from crosspoint.models.pointwise import PointwiseLayer
from crosspoint.models.transform import PointTransformNet

_WIDTHS = (64, 64, 64, 128)  # between the coordinates and the embedding
_BEFORE_FEATURE_TRANSFORM = 2  # layers


class PointNet(CloudEncoder):
    """PointNet's encoder of whole clouds.

    Source: Qi et al., "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation", CVPR 2017,
    figure 2 up to the global feature. Without T-Nets it is the network that self-supervised methods compare.

    Args:
        embedding: Channels per point before pooling.
        t_net: Whether to multiply points (3x3) and features (64x64) with matrices that the network predicts.
        in_channels: Coordinates per point.

    Attributes:
        out_channels: Channels of the feature, ``embedding``.
    """

    def __init__(self, *, embedding: int = 1024, t_net: bool = False, in_channels: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            PointwiseLayer(incoming, outgoing, bias=True, negative_slope=0.0)
            for incoming, outgoing in itertools.pairwise((in_channels, *_WIDTHS, embedding))
        )
        self.input_transform = PointTransformNet(in_channels) if t_net else None
        self.feature_transform = PointTransformNet(_WIDTHS[1]) if t_net else None
        self.in_channels = in_channels
        self.out_channels = embedding

    def forward(self, points: Tensor) -> Tensor:
        """Encodes clouds.

        Args:
            points: (B, N, D) floating point, D = ``in_channels``.

        Returns:
            (B, ``out_channels``) features, differentiable in the points and the weights.

        Raises:
            ValueError: If the points have another shape.
        """
        self.check_points(points)
        features = points
        if self.input_transform is not None:
            features = torch.bmm(features, self.input_transform(features))
        for number, layer in enumerate(self.layers):
            if number == _BEFORE_FEATURE_TRANSFORM and self.feature_transform is not None:
                features = torch.bmm(features, self.feature_transform(features))
            features = layer(features)
        return features.max(dim=1).values
