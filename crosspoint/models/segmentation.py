"""DGCNN's segmentation networks: parts of objects, and what the points of a scene belong to."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from crosspoint.models.dgcnn_seg import DGCNNSeg
from crosspoint.models.pointwise import PointwiseLayer
from crosspoint.models.transfer import Transfer, transfer_weights

_CATEGORY_CHANNELS = 64


class PartSegmenter(nn.Module):
    """Names the part that each point of an object belongs to; the object's category is given.

    Source: Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", ACM TOG 2019, section 5.4.

    Args:
        categories: Number of categories.
        parts: Number of parts of all categories together.
        k: Neighbours per point, itself included.
        embedding: Channels of the cloud's feature.
        dropout: Share of the features dropped in training.
    """

    def __init__(
        self, categories: int, parts: int, *, k: int = 40, embedding: int = 1024, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.categories = categories
        self.parts = parts
        self.encoder = DGCNNSeg(k=k, embedding=embedding)
        self.category = PointwiseLayer(categories, _CATEGORY_CHANNELS)
        self.fuse = PointwiseLayer(embedding + _CATEGORY_CHANNELS + self.encoder.point_channels, 256)
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            PointwiseLayer(256, 256),
            nn.Dropout(dropout),
            PointwiseLayer(256, 128),
            nn.Linear(128, parts, bias=False),
        )

    @classmethod
    def from_pretrained_encoder(
        cls, encoder: DGCNNSeg, categories: int, parts: int, *, k: int = 40, dropout: float = 0.5
    ) -> tuple[PartSegmenter, Transfer]:
        """A network whose encoder starts from the weights of a pre-trained one, and whose head starts at random.

        Args:
            encoder: Pre-trained, with a T-Net; its weights are copied.
            categories: Number of categories.
            parts: Number of parts.
            k: Neighbours per point, which may differ from the pre-training's.
            dropout: As in the constructor.

        Returns:
            The network, and what its encoder took over.

        Raises:
            ValueError: If the encoder has no weight of this network's.
        """
        network = cls(categories, parts, k=k, embedding=encoder.out_channels, dropout=dropout)
        return network, transfer_weights(network.encoder, encoder.state_dict())

    def forward(self, points: Tensor, category: Tensor) -> Tensor:
        """Scores every part at every point.

        Args:
            points: (B, N, 3).
            category: (B,) int64 categories of the objects.

        Returns:
            (B, N, ``parts``) logits over the parts of all categories, differentiable in points and weights.

        Raises:
            ValueError: If the shapes are others.
        """
        if category.shape != points.shape[:1]:
            raise ValueError(f"category must be ({len(points)},) for {len(points)} clouds, got {tuple(category.shape)}")
        features, cloud = self.encoder.encode(points)
        named = self.category(functional.one_hot(category, self.categories).to(cloud.dtype))
        logits: Tensor = self.head(self.fuse(features, torch.cat([cloud, named], dim=1)))
        return logits


class SemanticSegmenter(nn.Module):
    """Names what each point of a scene belongs to.

    Source: Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", ACM TOG 2019, section 5.5; the sizes are
    those of dgcnn.pytorch on S3DIS.

    Args:
        classes: Number of classes.
        in_channels: Channels of a point: position in the block, colour and position in the room (three each). The
            last three define the first graph.
        k: Neighbours per point, itself included.
        embedding: Channels of the scene's feature.
        dropout: Share of the features dropped in training.
    """

    def __init__(
        self, classes: int, *, in_channels: int = 9, k: int = 20, embedding: int = 1024, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.classes = classes
        self.encoder = DGCNNSeg(k=k, embedding=embedding, in_channels=in_channels, t_net=False)
        self.fuse = PointwiseLayer(embedding + self.encoder.point_channels, 512)
        self.head = nn.Sequential(PointwiseLayer(512, 256), nn.Dropout(dropout), nn.Linear(256, classes, bias=False))

    def forward(self, points: Tensor) -> Tensor:
        """Scores every class at every point.

        Args:
            points: (B, N, ``in_channels``).

        Returns:
            (B, N, ``classes``) logits, differentiable in points and weights.

        Raises:
            ValueError: If the points have another shape.
        """
        features, scene = self.encoder.encode(points)
        logits: Tensor = self.head(self.fuse(features, scene))
        return logits
