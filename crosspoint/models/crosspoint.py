"""The CrossPoint network: a cloud encoder and an image encoder that meet in one projection space."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from crosspoint.config.pretrain import ModelConfig
from crosspoint.models.build import build_cloud_encoder
from crosspoint.models.heads import ProjectionHead
from crosspoint.models.image import ImageEncoder


class Projections(NamedTuple):
    """Projections (B, C) of two clouds and an image of each object; not scaled to length one."""

    first: Tensor
    second: Tensor
    image: Tensor


class CrossPoint(nn.Module):
    """An encoder of clouds (DGCNN or PointNet), ResNet on images, and a projection head on each.

    Source: Afham et al., CVPR 2022, figure 2.

    Args:
        config: Sizes.

    Attributes:
        cloud_encoder: What is kept after pre-training.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cloud_encoder = build_cloud_encoder(config)
        self.cloud_head = ProjectionHead(self.cloud_encoder.out_channels, config.cloud_hidden, config.projection)
        self.image_encoder = ImageEncoder(depth=config.resnet, width=config.resnet_width, weights=config.resnet_weights)
        self.image_head = ProjectionHead(
            self.image_encoder.out_channels, config.image_hidden, config.projection, bias=False
        )

    def forward(self, first: Tensor, second: Tensor, images: Tensor) -> Projections:
        """Projects two augmented clouds and an image of each object.

        The two sets of clouds pass through the encoder as one batch, so BatchNorm sees them together.

        Args:
            first: (B, N, 3) one augmented cloud of each object.
            second: (B, N, 3) another.
            images: (B, 3, H, W), normalised.

        Returns:
            The projections, (B, C) each.
        """
        clouds = self.cloud_head(self.cloud_encoder(torch.cat([first, second])))
        one, two = clouds.chunk(2)
        return Projections(one, two, self.image_head(self.image_encoder(images)))
