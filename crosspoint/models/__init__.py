"""Encoders, heads, and the networks made of them."""

from crosspoint.models.aligned import AlignedModel
from crosspoint.models.branch import Branch
from crosspoint.models.build import build_cloud_encoder
from crosspoint.models.classifier import Classifier
from crosspoint.models.crosspoint import CrossPoint, Projections
from crosspoint.models.dgcnn import DGCNN
from crosspoint.models.dgcnn_seg import DGCNNSeg
from crosspoint.models.encoder import CloudEncoder
from crosspoint.models.heads import ClassificationHead, ProjectionHead
from crosspoint.models.image import ImageEncoder
from crosspoint.models.image_transformer import ImageBranch
from crosspoint.models.masked_point_transformer import CloudBranch
from crosspoint.models.point_groups import Groups
from crosspoint.models.pointnet import PointNet
from crosspoint.models.prompts import TEMPLATES
from crosspoint.models.segmentation import PartSegmenter, SemanticSegmenter
from crosspoint.models.text import TextTower, class_embeddings
from crosspoint.models.tokenizer import TextTokenizer
from crosspoint.models.transfer import Transfer, transfer_weights

__all__ = [
    "DGCNN",
    "TEMPLATES",
    "AlignedModel",
    "Branch",
    "ClassificationHead",
    "Classifier",
    "CloudBranch",
    "CloudEncoder",
    "CrossPoint",
    "DGCNNSeg",
    "Groups",
    "ImageBranch",
    "ImageEncoder",
    "PartSegmenter",
    "PointNet",
    "ProjectionHead",
    "Projections",
    "SemanticSegmenter",
    "TextTokenizer",
    "TextTower",
    "Transfer",
    "build_cloud_encoder",
    "class_embeddings",
    "transfer_weights",
]
