"""From the settings to the datasets they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from crosspoint.data.cache import CACHE_MEGABYTES
from crosspoint.data.datasets.folder import CloudFolder
from crosspoint.data.datasets.modelnet40 import ModelNet10, ModelNet40
from crosspoint.data.datasets.scanobjectnn import ScanObjectNN, ScanObjectNNVariant
from crosspoint.data.datasets.shapenet_part import ShapeNetPart
from crosspoint.data.keys import ItemKey
from crosspoint.data.sample import Sample, UpAxis


class CloudDataset(Protocol):
    """What a run needs of a dataset."""

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, indexed by label."""

    @property
    def up_axis(self) -> UpAxis:
        """The clouds' vertical axis."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: ItemKey) -> Sample: ...


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How the points of a cloud on disk become an item; the names are those of the datasets' arguments."""

    num_points: int
    """Points per cloud."""
    seed: int
    """Seed of the draws."""
    subset: Literal["first", "random"] = "first"
    """Whether clouds keep their first points or draw others in every epoch; folder always draws."""
    up_axis: UpAxis = "y"
    """Vertical axis of the clouds."""
    cache_megabytes: float = CACHE_MEGABYTES
    """Limit of the cache in each process."""


def labelled_clouds(
    dataset: str,
    root: Path,
    split: Literal["train", "test"],
    drawing: Drawing,
    *,
    variant: ScanObjectNNVariant = "obj_bg",
) -> CloudDataset:
    """One split of a dataset on disk that has classes and splits.

    Args:
        dataset: Its name in the settings: modelnet40, modelnet10, scanobjectnn, shapenet_part or folder.
        root: Its folder.
        split: Which split.
        drawing: How points become items.
        variant: Of scanobjectnn.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they cannot be read, or there is no such dataset.
    """
    options = vars(drawing)
    if dataset == "folder":
        return CloudFolder(root, split, **{name: value for name, value in options.items() if name != "subset"})
    if dataset == "scanobjectnn":
        return ScanObjectNN(root, split, variant=variant, **options)
    kinds: dict[str, type[ModelNet40 | ShapeNetPart]] = {
        "modelnet40": ModelNet40,
        "modelnet10": ModelNet10,
        "shapenet_part": ShapeNetPart,
    }
    if dataset not in kinds:
        raise ValueError(f"dataset must be one of {', '.join(kinds)}, scanobjectnn and folder, got {dataset!r}")
    return kinds[dataset](root, split, **options)


def axis_shift(given: UpAxis, wanted: UpAxis) -> int:
    """By how much to roll the coordinates of clouds whose vertical axis is one to make it the other.

    Rolling is a rotation, so nothing is mirrored.
    """
    return "xyz".index(wanted) - "xyz".index(given)
