"""Datasets and augmentations. The renderer is `crosspoint.data.rendering.render.render`."""

from crosspoint.data.augment.cloud_views import CloudViews, strong_clouds, weak_clouds
from crosspoint.data.augment.clouds import CloudAugmentation, augment_clouds
from crosspoint.data.augment.image_views import ImageViews, plain_images, strong_images, weak_images
from crosspoint.data.augment.images import ImageAugmentation, augment_images, prepare_images
from crosspoint.data.datasets.co3d import Co3d
from crosspoint.data.datasets.folder import CloudFolder
from crosspoint.data.datasets.modelnet40 import ModelNet10, ModelNet40
from crosspoint.data.datasets.modelnet_meshes import ModelNetMeshes
from crosspoint.data.datasets.paired import PairedClouds
from crosspoint.data.datasets.redwood import Redwood
from crosspoint.data.datasets.scanobjectnn import ScanObjectNN
from crosspoint.data.datasets.shapenet55 import ShapeNet55
from crosspoint.data.datasets.shapenet_part import ShapeNetPart
from crosspoint.data.datasets.shapenet_render import ShapeNetRender
from crosspoint.data.sample import Batch, Sample, UpAxis, collate
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
