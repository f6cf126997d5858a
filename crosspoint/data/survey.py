"""Looking through a folder of data: which layout it has, what is in it, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from crosspoint.data.datasets.co3d import Co3d
from crosspoint.data.datasets.folder import (
    SPLIT_FOLDERS,
    class_of,
    cloud_files,
    folders_of,
    pictures_of,
)
from crosspoint.data.datasets.modelnet40 import class_names, split_files
from crosspoint.data.datasets.modelnet_meshes import ModelNetMeshes, mesh_classes, mesh_folder
from crosspoint.data.datasets.redwood import Redwood
from crosspoint.data.datasets.scanobjectnn import CLASSES as SCANOBJECTNN_CLASSES
from crosspoint.data.datasets.scanobjectnn import VARIANTS, scan_file
from crosspoint.data.datasets.shapenet55 import ShapeNet55
from crosspoint.data.datasets.shapenet_part import part_files, part_taxonomy
from crosspoint.data.files.formats import SUFFIXES, read_cloud
from crosspoint.data.files.hdf5 import RowReader
from crosspoint.data.files.pictures import pictures_in, read_image
from crosspoint.data.files.row_pictures import row_folder, row_pictures

_SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")
_ALL = "all"  # the split of data without splits
_CLEARLY = 1.8  # times as asymmetric as any other axis: so far above are ModelNet40's and the shapes' vertical axes
_PICTURE_SIZE = 32  # pictures are read to see whether they can be
_CACHE_MEGABYTES = 64  # rows are read in order


class Finding(NamedTuple):
    """One cloud, or something that is wrong."""

    split: str
    class_name: str
    points: NDArray[np.float32] | None = None
    problem: str | None = None
    missing_picture: bool = False


@dataclass
class Survey:
    """What a folder holds."""

    layout: str
    """Name of the layout, as `data.dataset` takes it."""
    splits: list[str] = field(default_factory=list)
    """The splits found, in order."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Readable clouds by (class, split)."""
    problems: list[str] = field(default_factory=list)
    """One line for each thing that is wrong."""
    without_pictures: int = 0
    """Objects that have no picture where others have; views of them are rendered."""
    low: NDArray[np.float64] = field(default_factory=lambda: np.full(3, np.inf))
    """(3,) smallest coordinates."""
    high: NDArray[np.float64] = field(default_factory=lambda: np.full(3, -np.inf))
    """(3,) largest coordinates."""
    fewest: int = 0
    """Fewest points of a cloud."""
    most: int = 0
    """Most points of a cloud."""
    asymmetry: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    """(3,) sum over the clouds of how far their mean is from the middle of their extent, as a share of it."""

    @property
    def total(self) -> int:
        """Number of readable clouds."""
        return self.counts.total()

    @property
    def up_axis(self) -> str | None:
        """The axis along which objects are least symmetric, or None where none stands out.

        Things that people make are mostly symmetric from left to right, and nearly so from front to back, but not from
        top to bottom.
        """
        order = np.argsort(self.asymmetry)
        clear = self.total > 0 and self.asymmetry[order[2]] > _CLEARLY * self.asymmetry[order[1]]
        return "xyz"[int(order[2])] if clear else None

    def add(self, finding: Finding) -> None:
        """Counts a cloud, or records a problem."""
        if finding.split not in self.splits:
            self.splits.append(finding.split)
        self.without_pictures += finding.missing_picture
        if finding.problem is not None and finding.problem not in self.problems:
            self.problems.append(finding.problem)
        if finding.points is None:
            return
        low, high = finding.points.min(axis=0), finding.points.max(axis=0)
        first = self.total == 0
        self.counts[finding.class_name, finding.split] += 1
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.fewest = len(finding.points) if first else min(self.fewest, len(finding.points))
        self.most = max(self.most, len(finding.points))
        extent = np.where(high > low, high - low, 1.0)
        self.asymmetry = self.asymmetry + np.abs(finding.points.mean(axis=0) - (low + high) / 2) / extent


def survey(root: Path, images: Path | None = None, watch: Callable[[int], None] = lambda seen: None) -> Survey:
    """Reads everything in a folder of data.

    Args:
        root: The folder.
        images: Folder of the pictures of a plain folder of clouds.
        watch: Told the number of clouds seen so far, again and again.

    Returns:
        What is there; unreadable files, values that are not finite and wrong labels are its `problems`.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It has no layout that is known here.
    """
    layout = recognise(root)
    if images is not None and layout != "folder":
        raise ValueError(f"images must be left out unless the layout is folder, got {images} and {layout}")
    result = Survey(layout)
    findings = _folder(root, images) if layout == "folder" else _READERS[layout](root)
    for seen, finding in enumerate(findings, start=1):
        result.add(finding)
        watch(seen)
    return result


def recognise(root: Path) -> str:
    """The layout of a folder, by what lies in it.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It has no layout that is known here.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"a data folder must exist, got no folder {root}")
    if (root / "ShapeNet").is_dir():
        return "shapenet_render"
    if any((root / name).is_dir() for name in ("main_split", "main_split_nobg", "h5_files")):
        return "scanobjectnn"
    if (root / "shapenet_pc").is_dir():
        return "shapenet55"
    if (root / "meshpreprocessed3").is_dir():
        return "redwood"
    if (root / "data_preprocessed").is_dir():
        return "co3d"
    if mesh_classes(mesh_folder(root)):
        return "modelnet_meshes"
    rows = [*root.glob("ply_data_*.h5"), *root.glob("hdf5_data/ply_data_*.h5")]
    if rows:
        parts = (root / "hdf5_data").is_dir() or (root / "classes.json").is_file() or any(map(_has_parts, rows))
        return "shapenet_part" if parts else "modelnet40"
    if cloud_files(root):
        return "folder"
    entries = ", ".join(sorted(entry.name for entry in root.iterdir())[:5]) or "nothing"
    raise ValueError(
        "a data folder must hold ShapeNet/, shapenet_pc/, main_split/, meshpreprocessed3/, data_preprocessed/, "
        f"ply_data_*.h5 or cloud files ending in {', '.join(SUFFIXES)}, got {root} with {entries}"
    )


def _has_parts(file: Path) -> bool:
    try:
        with h5py.File(file, "r") as content:
            return "pid" in content
    except OSError:
        return False


def _rows(files: list[Path], split: str, names: tuple[str, ...], **options: Any) -> Iterator[Finding]:
    """The rows of each file by itself, so that a broken file does not hide the others."""
    broken = False
    for file in files:
        try:
            reader = RowReader([file], classes=len(names), cache_megabytes=_CACHE_MEGABYTES, **options)
        except ValueError as error:
            broken = True
            yield Finding(split, "", problem=str(error))
            continue
        has_pictures = row_folder(file).is_dir()
        for row in range(len(reader)):
            name = names[int(reader.labels[row])]
            pictures = row_pictures(file, row) if has_pictures else None
            try:
                yield Finding(split, name, reader[row]["data"], missing_picture=pictures == [])
            except ValueError as error:
                yield Finding(split, name, problem=str(error))
            yield from _pictures(split, name, pictures)
    if not broken:
        try:
            RowReader(files, classes=len(names), **options)
        except ValueError as error:  # each is right by itself, but they do not go together
            yield Finding(split, "", problem=str(error))


def _modelnet40(root: Path) -> Iterator[Finding]:
    names = class_names(root / "shape_names.txt")
    for split in ("train", "test"):
        try:
            files = split_files(root, split)
        except FileNotFoundError as error:
            yield Finding(split, "", problem=str(error))
            continue
        yield from _rows(files, split, names, what="ModelNet40")


def _shapenet_part(root: Path) -> Iterator[Finding]:
    names, _, parts_of_class = part_taxonomy(root)
    for split in ("train", "val", "test"):
        try:
            files = part_files(root, split)
        except FileNotFoundError as error:
            yield Finding(split, "", problem=str(error))
            continue
        yield from _rows(files, split, names, what="ShapeNetPart", parts_of_class=parts_of_class)


def _scanobjectnn(root: Path) -> Iterator[Finding]:
    found = False
    for variant in VARIANTS:
        for split in ("train", "test"):
            try:
                file = scan_file(root, variant, split)
            except FileNotFoundError:
                continue  # few people have all three variants
            found = True
            yield from _rows([file], f"{variant} {split}", SCANOBJECTNN_CLASSES, what="ScanObjectNN")
    if not found:
        scan_file(root, VARIANTS[0], "train")  # says what is missing


def _shapenet_render(root: Path) -> Iterator[Finding]:
    clouds, renderings = root / "ShapeNet", root / "ShapeNetRendering"
    files = sorted(clouds.glob("*/*.ply"))
    if not files:
        raise ValueError(f"a ShapeNet folder must hold files <class>/<id>.ply, got none in {clouds}")
    for file in files:
        folder = renderings / file.parent.name / file.stem / "rendering"
        yield from _object(file, _ALL, file.parent.name, pictures_in(folder) if renderings.is_dir() else None)


def _folder(root: Path, images: Path | None) -> Iterator[Finding]:
    if images is not None and not images.is_dir():
        raise FileNotFoundError(f"a folder of images must exist, got no folder {images}")
    for file in cloud_files(root):
        splits = [name for name in folders_of(file, root) if name in SPLIT_FOLDERS]
        pictures = None if images is None else pictures_of(file, root, images)
        yield from _object(file, splits[0] if splits else _ALL, class_of(file, root), pictures)


def _object(file: Path, split: str, class_name: str, pictures: list[Path] | None) -> Iterator[Finding]:
    try:
        yield Finding(split, class_name, read_cloud(file).points, missing_picture=pictures == [])
    except (ValueError, OSError) as error:
        yield Finding(split, class_name, problem=str(error))
    yield from _pictures(split, class_name, pictures)


def _pictures(split: str, class_name: str, pictures: list[Path] | None) -> Iterator[Finding]:
    for picture in pictures or []:
        try:
            read_image(picture, _PICTURE_SIZE)
        except ValueError as error:
            yield Finding(split, class_name, problem=str(error))


def _files(kind: type[Co3d | ModelNetMeshes | Redwood | ShapeNet55], root: Path) -> Iterator[Finding]:
    """The clouds of a layout with one file for each, split by split."""
    for split in _SPLITS:
        try:
            found = kind(root, split)
        except (ValueError, OSError) as error:
            yield Finding(split, "", problem=str(error))
            continue
        for index, file in enumerate(found.files):
            rendered = isinstance(found, ModelNetMeshes) and found.images is None
            name = found.class_names[found.labels[index]]
            yield from _object(file, split, name, None if rendered else found.pictures(index))


_READERS: dict[str, Callable[[Path], Iterator[Finding]]] = {
    "modelnet40": _modelnet40,
    "shapenet_part": _shapenet_part,
    "scanobjectnn": _scanobjectnn,
    "shapenet_render": _shapenet_render,
    "shapenet55": partial(_files, ShapeNet55),
    "redwood": partial(_files, Redwood),
    "co3d": partial(_files, Co3d),
    "modelnet_meshes": partial(_files, ModelNetMeshes),
}
