"""Encoders and projection heads."""

from crosspoint.models.crosspoint import CrossPoint, Projections
from crosspoint.models.dgcnn import DGCNN
from crosspoint.models.heads import ProjectionHead
from crosspoint.models.image import ImageEncoder

__all__ = ["DGCNN", "CrossPoint", "ImageEncoder", "ProjectionHead", "Projections"]
