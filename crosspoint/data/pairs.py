"""From the settings of pairs to the datasets they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from crosspoint.config.pairs import PairDataConfig
from crosspoint.data.datasets.classes import (
    Rows,
    UnderClasses,
    Unlabelled,
    held_out,
    renamed,
)
from crosspoint.data.datasets.co3d import Co3d
from crosspoint.data.datasets.folder import (
    NO_CLASS,
    CloudFolder,
    cloud_files,
    folders_of,
    pictures_of,
)
from crosspoint.data.datasets.listed_clouds import ListedClouds
from crosspoint.data.datasets.modelnet40 import ModelNet10, ModelNet40
from crosspoint.data.datasets.modelnet_meshes import ModelNetMeshes
from crosspoint.data.datasets.paired import LabelledDataset, PairedClouds, SurfaceDataset
from crosspoint.data.datasets.redwood import Redwood
from crosspoint.data.datasets.scanobjectnn import ScanObjectNN
from crosspoint.data.datasets.shapenet55 import ShapeNet55
from crosspoint.data.datasets.shapenet_render import ShapeNetRender
from crosspoint.data.files.hdf5 import Hdf5Dataset
from crosspoint.data.files.row_pictures import row_pictures
from crosspoint.data.shapes import DomainShift, PairedShapes, ScanShift, ShiftedShapes

# The test objects do not follow the run's seed: runs with different seeds are judged on the same objects.
_TEST_SEED = 0
Split = Literal["train", "test"]
_PICTURES = {
    "shapenet_render": "ShapeNetRendering/<class>/<id>/rendering/*.png",
    "modelnet_meshes": "rendered_images/<split>/<class>/<id>_001.png and so on",
    "redwood": "videoframes/<id>/*",
    "shapenet55": "rendered_images/<synset>-<id>/*.png",
    "co3d": "data_preprocessed/<class>/<sequence>/images/*",
}
_LISTED: dict[str, type[ListedClouds]] = {"redwood": Redwood, "shapenet55": ShapeNet55, "co3d": Co3d}
Pictures = Callable[[int], Sequence[Path]]


class Pairs(NamedTuple):
    """Objects to train on and objects to test on."""

    train: LabelledDataset
    """Items have points, image (one view by (index, epoch)) and label; the label is for diagnostics, -1 if unknown."""
    test: LabelledDataset | None
    """Items have views as well, all of them in order; None where there is nothing to test on."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, indexed by label."""
        return tuple(self.train.class_names)


def pair_datasets(data: PairDataConfig, seed: int, class_names: Sequence[str] | None = None) -> Pairs:
    """The pairs that the settings name.

    Args:
        data: The settings.
        seed: Seed of the run: of procedural objects to train on, and of all draws.
        class_names: The classes, in the order of the labels; objects of other classes are left out. None: those of the
            data, renamed as the settings say.

    Raises:
        FileNotFoundError: Files are missing.
        ValueError: Files cannot be read, or the data have none of the classes.
    """
    if data.dataset in ("shapes", "shapes_shifted"):
        pairs = Pairs(_procedural(data, "train", seed), _procedural(data, "test", _TEST_SEED))
    elif _has_splits(data):
        pairs = Pairs(_paired(data, "train", seed), _paired(data, "test", _TEST_SEED, all_views=True))
    else:
        whole = _paired(data, None, seed)
        train, test = held_out(whole.labels, 0.0 if _unlabelled(data, whole) else data.hold_out)
        rest = _paired(data, None, _TEST_SEED, all_views=True) if test else None
        pairs = Pairs(Rows(whole, train), None if rest is None else Rows(rest, test))
    return _under_classes(pairs, data, class_names)


def _unlabelled(data: PairDataConfig, dataset: LabelledDataset) -> bool:
    return data.unlabelled or set(dataset.class_names) == {NO_CLASS}


def _under_classes(pairs: Pairs, data: PairDataConfig, class_names: Sequence[str] | None) -> Pairs:
    unlabelled = _unlabelled(data, pairs.train)
    if class_names is None:
        if unlabelled:
            raise ValueError(f"class names must be given for data without folders of classes, got none for {data.root}")
        if not data.rename:
            return pairs
        class_names = list(dict.fromkeys(renamed(pairs.train.class_names, data.renamed)))
    if unlabelled:
        return Pairs(Unlabelled(pairs.train, class_names), None)
    train = UnderClasses(pairs.train, class_names, rename=data.renamed)
    return Pairs(train, pairs.test and UnderClasses(pairs.test, class_names, rename=data.renamed))


def _procedural(data: PairDataConfig, split: Split, seed: int) -> PairedShapes:
    options: dict[str, Any] = {
        "per_class": data.per_class if split == "train" else data.test_per_class,
        "num_points": data.num_points,
        "num_views": data.views,
        "image_size": data.image_size,
        "all_views": split == "test",
        "seed": seed,
        "cache_megabytes": data.cache_megabytes,
    }
    if data.dataset == "shapes":
        return PairedShapes(split, **options)
    shift = DomainShift(scan=ScanShift(viewpoints=data.viewpoints), severity=data.severity)
    return ShiftedShapes(split, shift=shift, **options)


def _has_splits(data: PairDataConfig) -> bool:
    if data.dataset == "folder":
        assert data.root is not None  # the configuration checks it
        splits = {name for file in cloud_files(data.root) for name in folders_of(file, data.root)}
        return {"train", "test"} <= splits
    return data.dataset != "shapenet_render"


def _paired(data: PairDataConfig, split: Split | None, seed: int, *, all_views: bool = False) -> PairedClouds:
    clouds, pictures = _clouds(data, split, seed)
    return PairedClouds(
        clouds,
        pictures,
        place=_PICTURES.get(data.dataset, "<class>/<id>.png or <class>/<id>/*.png") + f" of {data.images or data.root}",
        image_size=data.image_size,
        num_views=data.views,
        all_views=all_views,
        view_mode=data.view_mode,
        seed=seed,
        cache_megabytes=data.cache_megabytes,
    )


def _clouds(data: PairDataConfig, split: Split | None, seed: int) -> tuple[SurfaceDataset, Pictures | None]:
    """The clouds of a split, and what tells their pictures; None where all are to be rendered."""
    assert data.root is not None  # the configuration checks it
    root, points = data.root, data.num_points
    common: dict[str, Any] = {"up_axis": data.up_axis, "cache_megabytes": data.cache_megabytes}
    if data.dataset == "folder":
        folder = CloudFolder(root, split, points, seed, **common)
        pictures = partial(_beside, folder, root if data.images is None else data.images)
        return folder, pictures if data.images is not None or _any(pictures, len(folder)) else None
    if data.dataset == "shapenet_render":
        renders = ShapeNetRender(root, num_points=points, seed=seed, images=False, **common)
        return renders, renders.pictures if renders.has_images else None
    assert split is not None  # all others have splits
    if data.dataset == "modelnet_meshes":
        meshes = ModelNetMeshes(root, split, points, seed, images=data.images, cache_megabytes=data.cache_megabytes)
        return meshes, meshes.pictures if meshes.images is not None else None
    if data.dataset in _LISTED:
        listed = _LISTED[data.dataset](root, split, points, seed, **common)
        return listed, listed.pictures
    subset: Literal["first", "random"] = "random" if split == "train" else "first"
    rows: Hdf5Dataset
    if data.dataset == "scanobjectnn":
        rows = ScanObjectNN(root, split, points, seed, subset, variant=data.variant, **common)
    else:
        kind = ModelNet40 if data.dataset == "modelnet40" else ModelNet10
        rows = kind(root, split, points, seed, subset, **common)
    pictures = partial(_of_row, rows)
    return rows, pictures if _any(pictures, len(rows)) else None


def _any(pictures: Pictures, count: int) -> bool:
    return any(pictures(index) for index in range(count))


def _beside(folder: CloudFolder, images: Path, index: int) -> list[Path]:
    return pictures_of(folder.files[index], folder.root, images)


def _of_row(rows: Hdf5Dataset, index: int) -> list[Path]:
    return row_pictures(*rows.location(index))
