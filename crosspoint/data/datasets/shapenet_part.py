"""ShapeNetPart in its HDF5 layout, and any other data set of objects with labelled parts in the same layout.

root/ply_data_train0.h5 ...    data (R, N, 3), label (R, 1) or (R,), pid (R, N), optionally normal (R, N, 3);
                               or the same files in root/hdf5_data
root/classes.json              {"classes": [name, ...], "parts": {class name: {part name: part id}}};
                               optional, the official 16 categories where it is missing
"""

import itertools
import json
import os
from pathlib import Path
from typing import Literal

from crosspoint.data.cache import CACHE_MEGABYTES
from crosspoint.data.files.hdf5 import Hdf5Dataset, RowReader, files_by_number
from crosspoint.data.sample import UpAxis

PartSplit = Literal["train", "val", "trainval", "test"]
_FILES_OF_SPLIT = {"train": ("train",), "val": ("val",), "trainval": ("train", "val"), "test": ("test",)}
# The official categories in the order of their labels, and how many parts each has.
_OFFICIAL = {
    "airplane": 4, "bag": 2, "cap": 2, "car": 4, "chair": 4, "earphone": 3, "guitar": 3, "knife": 2,
    "lamp": 4, "laptop": 2, "motorbike": 6, "mug": 2, "pistol": 3, "rocket": 3, "skateboard": 3, "table": 3,
}  # fmt: skip


class ShapeNetPart(Hdf5Dataset):
    """Objects of one split with the part that each point belongs to.

    Args:
        root: folder of the files, or one that holds them in hdf5_data.
        split: "train", "val", "trainval" (both, as the official protocol trains on) or "test".
        num_points: points per item, at most as many as the clouds in the files have.
        seed: seed of the draws.
        subset: "first": the first points of each cloud, always the same; "random": a subset drawn anew in every epoch,
            which follows from (seed, epoch, index) alone.
        up_axis: vertical axis of the clouds; y in the official files.
        cache_megabytes: how much of the files to keep in memory, in each process that reads them.

    Attributes:
        class_names: names of the categories, indexed by label.
        part_names: names of all parts, "<category> <part>", indexed by part id.
        parts_of_class: for each label, the part ids that its objects may have.
        up_axis: as given.
        labels: (R,) int64 labels of all items, without reading the clouds.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        ValueError: a file is damaged or does not hold what it should. Items raise it for coordinates that are not
            finite and for parts of another category, and where a file breaks later.

    Items have points, label and parts (global part ids), and normals if the files have them.
    """

    part_names: tuple[str, ...]
    parts_of_class: tuple[tuple[int, ...], ...]

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: PartSplit = "train",
        num_points: int = 2048,
        seed: int = 0,
        subset: Literal["first", "random"] = "first",
        *,
        up_axis: UpAxis = "y",
        cache_megabytes: float = CACHE_MEGABYTES,
    ) -> None:
        if split not in _FILES_OF_SPLIT:
            raise ValueError(f"split must be one of {', '.join(_FILES_OF_SPLIT)}, got {split!r}")
        self.root = Path(root)
        self.split = split
        files = part_files(self.root, split)
        names, self.part_names, self.parts_of_class = part_taxonomy(self.root)
        reader = RowReader(
            files,
            what="ShapeNetPart",
            classes=len(names),
            parts_of_class=self.parts_of_class,
            cache_megabytes=cache_megabytes,
        )
        super().__init__(reader, names, num_points=num_points, seed=seed, subset=subset, up_axis=up_axis)


def part_files(root: Path, split: str) -> list[Path]:
    """HDF5 files of a split, sorted by number."""
    if not root.is_dir():
        raise FileNotFoundError(f"the ShapeNetPart folder must exist, got no folder {root}")
    folder = root / "hdf5_data" if (root / "hdf5_data").is_dir() else root
    files: list[Path] = []
    for part in _FILES_OF_SPLIT[split]:
        found = files_by_number(folder, f"ply_data_{part}*.h5")
        if not found:
            raise FileNotFoundError(f"a ShapeNetPart folder must hold files ply_data_{part}*.h5, got none in {folder}")
        files += found
    return files


def part_taxonomy(root: Path) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Names of the categories, names of the parts, and the part ids of each category."""
    file = root / "classes.json"
    if not file.is_file():
        first = itertools.accumulate(_OFFICIAL.values(), initial=0)
        parts_of_class = tuple(tuple(range(start, stop)) for start, stop in itertools.pairwise(first))
        names = [f"{name} {part}" for name, count in _OFFICIAL.items() for part in range(count)]
        return tuple(_OFFICIAL), tuple(names), parts_of_class
    try:
        content = json.loads(file.read_text())
        classes = tuple(str(name) for name in content["classes"])
        parts = [{str(part): int(number) for part, number in content["parts"][name].items()} for name in classes]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"classes.json must hold classes (a list of names) and parts (for each class, part names with their ids), "
            f"got {file} ({type(error).__name__}: {error})"
        ) from error
    numbers = sorted(number for of_class in parts for number in of_class.values())
    if not numbers or numbers != list(range(len(numbers))) or not all(parts):
        raise ValueError(f"the part ids in classes.json must be 0, 1, 2, ... and every class must have one, got {file}")
    part_names = [""] * len(numbers)
    for name, of_class in zip(classes, parts, strict=True):
        for part, number in of_class.items():
            part_names[number] = f"{name} {part}"
    return classes, tuple(part_names), tuple(tuple(sorted(of_class.values())) for of_class in parts)
