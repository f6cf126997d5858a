"""Datasets and augmentations. The renderer is `crosspoint.data.render.render`."""

from crosspoint.data.augment import CloudAugmentation, ImageAugmentation, augment_clouds, augment_images, prepare_images
from crosspoint.data.modelnet40 import ModelNet40
from crosspoint.data.sample import Batch, Sample, UpAxis, collate
from crosspoint.data.shapenet_render import ShapeNetRender
from crosspoint.data.shapes import PoseVariation, Shapes

__all__ = [
    "Batch",
    "CloudAugmentation",
    "ImageAugmentation",
    "ModelNet40",
    "PoseVariation",
    "Sample",
    "ShapeNetRender",
    "Shapes",
    "UpAxis",
    "augment_clouds",
    "augment_images",
    "collate",
    "prepare_images",
]
