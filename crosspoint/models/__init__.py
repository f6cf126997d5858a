"""Encoders, heads, and the networks made of them."""

from crosspoint.models.build import build_cloud_encoder
from crosspoint.models.classifier import Classifier
from crosspoint.models.crosspoint import CrossPoint, Projections
from crosspoint.models.dgcnn import DGCNN
from crosspoint.models.dgcnn_seg import DGCNNSeg
from crosspoint.models.encoder import CloudEncoder
from crosspoint.models.heads import ClassificationHead, ProjectionHead
from crosspoint.models.image import ImageEncoder
from crosspoint.models.pointnet import PointNet
from crosspoint.models.segmentation import PartSegmenter, SemanticSegmenter
from crosspoint.models.transfer import Transfer, transfer_weights

__all__ = [
    "DGCNN",
    "ClassificationHead",
    "Classifier",
    "CloudEncoder",
    "CrossPoint",
    "DGCNNSeg",
    "ImageEncoder",
    "PartSegmenter",
    "PointNet",
    "ProjectionHead",
    "Projections",
    "SemanticSegmenter",
    "Transfer",
    "build_cloud_encoder",
    "transfer_weights",
]
