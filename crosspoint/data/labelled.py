"""From the settings to the datasets they name."""

from __future__ import annotations

from collections.abc import Sequence
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


def labelled_clouds(
    dataset: str,
    root: Path,
    split: Literal["train", "test"],
    *,
    num_points: int,
    seed: int,
    subset: Literal["first", "random"] = "first",
    up_axis: UpAxis = "y",
    variant: ScanObjectNNVariant = "obj_bg",
    cache_megabytes: float = CACHE_MEGABYTES,
) -> CloudDataset:
    """One split of a dataset on disk that has classes and splits.

    Args:
        dataset: Its name in the settings: modelnet40, modelnet10, scanobjectnn, shapenet_part or folder.
        root: Its folder.
        split: Which split.
        num_points: Points per cloud.
        seed: Seed of the draws.
        subset: Whether clouds keep their first points or draw others in every epoch; folder always draws.
        up_axis: Vertical axis of the clouds.
        variant: Of scanobjectnn.
        cache_megabytes: Limit of the cache in each process.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they cannot be read, or there is no such dataset.
    """
    if dataset == "folder":
        return CloudFolder(root, split, num_points, seed, up_axis=up_axis, cache_megabytes=cache_megabytes)
    if dataset == "scanobjectnn":
        return ScanObjectNN(
            root, split, num_points, seed, subset, variant=variant, up_axis=up_axis, cache_megabytes=cache_megabytes
        )
    kinds: dict[str, type[ModelNet40 | ShapeNetPart]] = {
        "modelnet40": ModelNet40,
        "modelnet10": ModelNet10,
        "shapenet_part": ShapeNetPart,
    }
    if dataset not in kinds:
        raise ValueError(f"dataset must be one of {', '.join(kinds)}, scanobjectnn and folder, got {dataset!r}")
    return kinds[dataset](root, split, num_points, seed, subset, up_axis=up_axis, cache_megabytes=cache_megabytes)


def axis_shift(given: UpAxis, wanted: UpAxis) -> int:
    """By how much to roll the coordinates of clouds whose vertical axis is one to make it the other.

    Rolling is a rotation, so nothing is mirrored.
    """
    return "xyz".index(wanted) - "xyz".index(given)
