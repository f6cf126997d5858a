"""Settings of the pairs of clouds and pictures that models are aligned and self-trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crosspoint.config.checks import (
    Axis,
    Flag,
    ScanObjectNNVariant,
    require,
    require_at_least,
    require_non_negative,
)

PairDataset = Literal[
    "shapes",
    "shapes_shifted",
    "shapenet_render",
    "shapenet55",
    "modelnet40",
    "modelnet10",
    "modelnet_meshes",
    "scanobjectnn",
    "redwood",
    "co3d",
    "folder",
]
_PROCEDURAL = ("shapes", "shapes_shifted")


@dataclass(frozen=True, kw_only=True)
class PairDataConfig:
    """The objects, each a cloud with pictures."""

    dataset: PairDataset = "shapes_shifted"
    """shapes and shapes_shifted: procedural, clean or as poor scans and photos. folder: your own clouds."""
    root: Path | None = None
    """Folder of the dataset; required for all but shapes. `python -m crosspoint.data check FOLDER` tells what it is."""
    images: Path | None = None
    """Folder of pictures, where they do not lie beside the clouds (folder and modelnet_meshes)."""
    variant: ScanObjectNNVariant = "obj_bg"
    """Which variant of scanobjectnn: with background, objects alone, or the hardest."""
    up_axis: Axis = "y"
    """Vertical axis of the dataset's clouds; strong views turn them about it and rendered pictures show it upright."""
    unlabelled: Flag = False
    """Take no classes from the names of folders: every object counts as of unknown class (folder only)."""
    rename: tuple[str, ...] = ()
    """Other names for classes of the dataset, each old=new; two classes of one new name become one."""
    per_class: int = 60
    """Objects per class to generate for training (procedural only)."""
    test_per_class: int = 20
    """Objects per class to generate for testing (procedural only)."""
    severity: tuple[float, float] = (0.0, 1.0)
    """How badly objects are scanned, and pictured: range in [0, 1] of two draws of each (shapes_shifted only)."""
    viewpoints: int = 1
    """Stations from which an object is scanned; the fewer, the more of it is missing. 0: none (shapes_shifted only)."""
    hold_out: float = 0.1
    """Share of the objects kept for testing where the dataset has no split of its own; 0 keeps none."""
    num_points: int = 256
    """Points per cloud."""
    image_size: int = 48
    """Height and width of the pictures in pixels, before augmentation."""
    views: int = 4
    """Pictures of each object that evaluation looks at, and that are rendered where there are none."""
    view_mode: Literal["shaded", "depth"] = "shaded"
    """What rendered pictures show."""
    workers: int = 0
    """Processes that load data beside the training process; 0 loads in the training process. Never changes results."""
    cache_megabytes: float = 512
    """Limit of each cache, of files and of pictures, in each process that loads data."""

    def __post_init__(self) -> None:
        procedural = self.dataset in _PROCEDURAL
        if not procedural and self.root is None:
            raise ValueError(f"data.root must name the folder of data.dataset={self.dataset}, got None")
        if procedural and self.root is not None:
            raise ValueError(
                f"data.root must be left out when data.dataset={self.dataset} reads no files, got {self.root}"
            )
        if procedural and self.up_axis != "y":
            raise ValueError(f"data.up_axis must be y when data.dataset={self.dataset}, got {self.up_axis}")
        if self.images is not None and self.dataset not in ("folder", "modelnet_meshes"):
            raise ValueError(
                f"data.images must be left out unless data.dataset is folder or modelnet_meshes, got {self.images}"
            )
        require(
            not self.unlabelled or self.dataset == "folder", "data.unlabelled needs data.dataset=folder", self.dataset
        )
        for entry in self.rename:
            old, equals, new = entry.partition("=")
            require(bool(old and equals and new), "every entry of data.rename must read old=new", repr(entry))
        low, high = self.severity
        require(0 <= low <= high <= 1, "data.severity must be a range inside [0, 1]", self.severity)
        require(0 <= self.hold_out < 1, "data.hold_out must lie in [0, 1)", self.hold_out)
        for name in ("per_class", "test_per_class", "num_points", "image_size", "views"):
            require_at_least(f"data.{name}", getattr(self, name), 1)
        require_at_least("data.viewpoints", self.viewpoints, 0)
        require_at_least("data.workers", self.workers, 0)
        require_non_negative("data.cache_megabytes", self.cache_megabytes)

    @property
    def renamed(self) -> dict[str, str]:
        """New names of classes by their old ones."""
        return dict(entry.split("=", 1) for entry in self.rename)
