"""An encoder with a classification head."""

from __future__ import annotations

from torch import Tensor, nn

from crosspoint.models.encoder import CloudEncoder
from crosspoint.models.heads import ClassificationHead


class Classifier(nn.Module):
    """Classifies clouds: any encoder, and the head of DGCNN that fine-tuning trains with it.

    Args:
        encoder: Kept as ``encoder``, not copied.
        classes: Number of classes.
        hidden: Hidden units of the head's two layers.
        dropout: Share of the hidden units dropped in training.
        negative_slope: Slope of the head's LeakyReLU below zero; 0 is ReLU.
        bias: Whether the head's first linear map has a bias (DGCNN's has none, PointNet's has one).
    """

    def __init__(
        self,
        encoder: CloudEncoder,
        classes: int,
        *,
        hidden: tuple[int, int] = (512, 256),
        dropout: float = 0.5,
        negative_slope: float = 0.2,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.encoder = encoder
        self.head = ClassificationHead(
            encoder.out_channels, classes, hidden=hidden, dropout=dropout, negative_slope=negative_slope, bias=bias
        )

    def forward(self, points: Tensor) -> Tensor:
        """Maps points (B, N, 3) to logits (B, ``classes``), differentiably."""
        logits: Tensor = self.head(self.encoder(points))
        return logits
