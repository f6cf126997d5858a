"""From the settings to the datasets they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from crosspoint.config import Config, DataConfig
from crosspoint.data.folder import CloudFolder
from crosspoint.data.hdf5 import CACHE_MEGABYTES
from crosspoint.data.keys import ItemKey
from crosspoint.data.modelnet40 import ModelNet10, ModelNet40
from crosspoint.data.sample import Sample, UpAxis
from crosspoint.data.scanobjectnn import ScanObjectNN, ScanObjectNNVariant
from crosspoint.data.shapenet_part import ShapeNetPart
from crosspoint.data.shapenet_render import ShapeNetRender
from crosspoint.data.shapes import Shapes

# The probe's objects do not follow the run's seed: runs with different seeds are judged on the same objects.
_PROBE_SEED = 0


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


def pretraining_dataset(config: Config) -> CloudDataset:
    """The objects to pre-train on; their labels are not used.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they cannot be read.
    """
    data = config.data
    if data.dataset == "shapes":
        return Shapes("train", per_class=data.per_class, num_points=data.num_points, seed=config.seed)
    assert data.root is not None  # the configuration checks it
    if data.dataset == "shapenet_render":
        return ShapeNetRender(
            data.root,
            num_points=data.num_points,
            image_size=data.image_size,
            seed=config.seed,
            up_axis=data.up_axis,
            view_mode=data.view_mode,
            cache_megabytes=data.cache_megabytes,
        )
    if data.dataset == "folder":
        return _own_clouds(data, data.root, config.seed)
    return labelled_clouds(
        data.dataset,
        data.root,
        "train",
        num_points=data.num_points,
        seed=config.seed,
        subset="random",
        up_axis=data.up_axis,
        variant=data.variant,
        cache_megabytes=data.cache_megabytes,
    )


def _own_clouds(data: DataConfig, root: Path, seed: int) -> CloudFolder:
    """The clouds of folders named train, or all clouds where there is no such folder."""
    return CloudFolder(
        root,
        "train" if any(folder.is_dir() for folder in root.rglob("train")) else None,
        data.num_points,
        seed,
        images=data.images,
        image_size=data.image_size,
        view_mode=data.view_mode,
        up_axis=data.up_axis,
        cache_megabytes=data.cache_megabytes,
    )


def probe_datasets(config: Config) -> tuple[CloudDataset, CloudDataset] | None:
    """Training and test split of the linear probe, or None where it is left out.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they cannot be read.
    """
    probe = config.probe
    if probe.dataset == "none":
        return None
    if probe.dataset == "shapes":
        return (
            Shapes("train", per_class=probe.per_class, num_points=probe.num_points, seed=_PROBE_SEED),
            Shapes("test", per_class=probe.per_class, num_points=probe.num_points, seed=_PROBE_SEED),
        )
    assert probe.root is not None

    def split(name: Literal["train", "test"]) -> CloudDataset:
        assert probe.root is not None
        return labelled_clouds(
            probe.dataset,
            probe.root,
            name,
            num_points=probe.num_points,
            seed=_PROBE_SEED,
            up_axis=probe.up_axis,
            variant=probe.variant,
        )

    return split("train"), split("test")


def axis_shift(given: UpAxis, wanted: UpAxis) -> int:
    """By how much to roll the coordinates of clouds whose vertical axis is one to make it the other.

    Rolling is a rotation, so nothing is mirrored.
    """
    return "xyz".index(wanted) - "xyz".index(given)
