"""Datasets and augmentations. The renderer is `crosspoint.data.render.render`."""

from crosspoint.data.augment import CloudAugmentation, ImageAugmentation, augment_clouds, augment_images, prepare_images
from crosspoint.data.cloud_augment import CloudViews, strong_clouds, weak_clouds
from crosspoint.data.co3d import Co3d
from crosspoint.data.folder import CloudFolder
from crosspoint.data.image_augment import ImageViews, plain_images, strong_images, weak_images
from crosspoint.data.modelnet40 import ModelNet10, ModelNet40
from crosspoint.data.modelnet_meshes import ModelNetMeshes
from crosspoint.data.paired import PairedClouds
from crosspoint.data.redwood import Redwood
from crosspoint.data.sample import Batch, Sample, UpAxis, collate
from crosspoint.data.scanobjectnn import ScanObjectNN
from crosspoint.data.shapenet55 import ShapeNet55
from crosspoint.data.shapenet_part import ShapeNetPart
from crosspoint.data.shapenet_render import ShapeNetRender
from crosspoint.data.shapes import DomainShift, PairedShapes, PoseVariation, Shapes, ShiftedShapes

__all__ = [
    "Batch",
    "CloudAugmentation",
    "CloudFolder",
    "CloudViews",
    "Co3d",
    "DomainShift",
    "ImageAugmentation",
    "ImageViews",
    "ModelNet10",
    "ModelNet40",
    "ModelNetMeshes",
    "PairedClouds",
    "PairedShapes",
    "PoseVariation",
    "Redwood",
    "Sample",
    "ScanObjectNN",
    "ShapeNet55",
    "ShapeNetPart",
    "ShapeNetRender",
    "Shapes",
    "ShiftedShapes",
    "UpAxis",
    "augment_clouds",
    "augment_images",
    "collate",
    "plain_images",
    "prepare_images",
    "strong_clouds",
    "strong_images",
    "weak_clouds",
    "weak_images",
]
