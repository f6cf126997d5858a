"""Settings of the clouds that evaluations are made on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crosspoint.config.checks import Axis, ScanObjectNNVariant, require_at_least, require_source

ClassifiedDataset = Literal["shapes", "modelnet40", "modelnet10", "scanobjectnn", "shapenet_part", "folder"]
PartDataset = Literal["shapes", "shapenet_part"]
PairedDataset = Literal["shapes", "shapenet_render", "modelnet40", "modelnet10"]


@dataclass(frozen=True, kw_only=True)
class ClassifiedData:
    """Clouds with classes, in a training and a test split."""

    dataset: ClassifiedDataset = "shapes"
    """shapes: procedural, needs no files. folder: your own clouds, in sub-folders train and test."""
    root: Path | None = None
    """Folder of the dataset; required for all but shapes."""
    variant: ScanObjectNNVariant = "obj_bg"
    """Which variant of scanobjectnn: with background, objects alone, or the hardest."""
    up_axis: Axis = "y"
    """Vertical axis of the dataset's clouds; they are turned to stand as those of the pre-training did."""
    num_points: int = 1024
    """Points per cloud."""
    per_class: int | None = None
    """Clouds per class and split: to generate for shapes (32 if left out), at most for the others (all if left out)."""
    seed: int = 0
    """Seed of the procedural objects and of the choice of clouds where per_class leaves some out."""

    def __post_init__(self) -> None:
        require_source("data", self.dataset, self.root, self.up_axis)
        require_at_least("data.num_points", self.num_points, 2)
        require_at_least("data.per_class", 1 if self.per_class is None else self.per_class, 1)
        require_at_least("data.seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class PartData:
    """Clouds with a part label for every point."""

    dataset: PartDataset = "shapes"
    """shapes: procedural, needs no files. shapenet_part: HDF5 files in the layout of ShapeNetPart."""
    root: Path | None = None
    """Folder of the dataset; required for shapenet_part."""
    up_axis: Axis = "y"
    """Vertical axis of the dataset's clouds; they are turned to stand as those of the pre-training did."""
    num_points: int = 2048
    """Points per cloud."""
    per_class: int = 16
    """Objects per class and split to generate (shapes only)."""
    seed: int = 0
    """Seed of the procedural objects and of the points drawn."""

    def __post_init__(self) -> None:
        require_source("data", self.dataset, self.root, self.up_axis)
        require_at_least("data.num_points", self.num_points, 2)
        require_at_least("data.per_class", self.per_class, 1)
        require_at_least("data.seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class PairedData:
    """Clouds with pictures of the same objects."""

    dataset: PairedDataset = "shapes"
    """shapes, ModelNet: the test split, views rendered. shapenet_render: clouds with images, not split."""
    root: Path | None = None
    """Folder of the dataset; required for all but shapes."""
    up_axis: Axis = "y"
    """Vertical axis of the dataset's clouds; they are turned to stand as those of the pre-training did."""
    num_points: int | None = None
    """Points per cloud; the number of the pre-training if left out."""
    objects: int = 500
    """Size of the gallery: at most so many objects, drawn at random but the same for every encoder."""
    seed: int = 0
    """Seed of the procedural objects, of the choice of objects and of their views."""

    def __post_init__(self) -> None:
        require_source("data", self.dataset, self.root, self.up_axis)
        require_at_least("data.num_points", 2 if self.num_points is None else self.num_points, 2)
        require_at_least("data.objects", self.objects, 2)
        require_at_least("data.seed", self.seed, 0)
