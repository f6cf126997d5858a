"""From the settings to the encoder they name."""

from __future__ import annotations

from crosspoint.config.pretrain import ModelConfig
from crosspoint.models.dgcnn import DGCNN
from crosspoint.models.dgcnn_seg import DGCNNSeg
from crosspoint.models.encoder import CloudEncoder
from crosspoint.models.pointnet import PointNet


def build_cloud_encoder(config: ModelConfig) -> CloudEncoder:
    """The cloud encoder of a configuration, at random weights.

    Args:
        config: Sizes; ``config.encoder`` chooses the network.

    Returns:
        A module that maps points (B, N, 3) to features (B, ``out_channels``).
    """
    if config.encoder == "pointnet":
        return PointNet(embedding=config.embedding, t_net=config.t_net)
    if config.encoder == "dgcnn_seg":
        return DGCNNSeg(k=config.k, embedding=config.embedding)
    return DGCNN(k=config.k, widths=config.widths, embedding=config.embedding)
