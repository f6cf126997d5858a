"""Datasets and augmentations. The renderer is `crosspoint.data.render.render`."""

from crosspoint.data.augment import CloudAugmentation, ImageAugmentation, augment_clouds, augment_images, prepare_images
from crosspoint.data.folder import CloudFolder
from crosspoint.data.modelnet40 import ModelNet10, ModelNet40
from crosspoint.data.sample import Batch, Sample, UpAxis, collate
from crosspoint.data.scanobjectnn import ScanObjectNN
from crosspoint.data.shapenet_part import ShapeNetPart
from crosspoint.data.shapenet_render import ShapeNetRender
from crosspoint.data.shapes import PoseVariation, Shapes

__all__ = [
    "Batch",
    "CloudAugmentation",
    "CloudFolder",
    "ImageAugmentation",
    "ModelNet10",
    "ModelNet40",
    "PoseVariation",
    "Sample",
    "ScanObjectNN",
    "ShapeNetPart",
    "ShapeNetRender",
    "Shapes",
    "UpAxis",
    "augment_clouds",
    "augment_images",
    "collate",
    "prepare_images",
]
