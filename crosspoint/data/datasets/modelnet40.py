"""ModelNet40 and ModelNet10 point clouds in their official HDF5 layout.

root/shape_names.txt           one class name per line, in the order of the labels
root/train_files.txt           names of the files of the split (optional; their folders are ignored)
root/ply_data_train0.h5 ...    data (R, N, 3), label (R, 1) or (R,), optionally normal (R, N, 3)
"""

import os
from pathlib import Path
from typing import Literal

from crosspoint.data.cache import CACHE_MEGABYTES
from crosspoint.data.files.hdf5 import Hdf5Dataset, RowReader, files_by_number
from crosspoint.data.sample import UpAxis

_SPLITS = ("train", "test")
_MODELNET10 = (
    "bathtub",
    "bed",
    "chair",
    "desk",
    "dresser",
    "monitor",
    "night_stand",
    "sofa",
    "table",
    "toilet",
)


class ModelNet40(Hdf5Dataset):
    """All clouds of one split, read when they are asked for.

    Args:
        root: folder of the files.
        split: "train" or "test".
        num_points: points per item, at most as many as the clouds in the files have.
        seed: seed of the draws.
        subset: "first": the first points of each cloud, always the same; "random": a subset drawn anew in every epoch,
            which follows from (seed, epoch, index) alone.
        up_axis: vertical axis of the clouds; y in the official files.
        cache_megabytes: how much of the files to keep in memory, in each process that reads them.

    Attributes:
        class_names: the lines of shape_names.txt.
        up_axis: as given.
        labels: (R,) int64 labels of all items, without reading the clouds.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        ValueError: a file is damaged or does not hold what it should. Items raise it for coordinates that are not
            finite, and where a file breaks later.

    Items have points and label, and normals if the files have them.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: Literal["train", "test"] = "train",
        num_points: int = 1024,
        seed: int = 0,
        subset: Literal["first", "random"] = "first",
        *,
        up_axis: UpAxis = "y",
        cache_megabytes: float = CACHE_MEGABYTES,
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        self.root = Path(root)
        self.split = split
        if not self.root.is_dir():
            raise FileNotFoundError(
                "the ModelNet40 folder must exist and hold shape_names.txt, ply_data_train*.h5 and ply_data_test*.h5, "
                f"got no folder {self.root}"
            )
        names = class_names(self.root / "shape_names.txt")
        files = split_files(self.root, split)
        reader = RowReader(files, what="ModelNet40", classes=len(names), cache_megabytes=cache_megabytes)
        kept = self._kept(names)
        super().__init__(
            reader,
            [names[label] for label in kept],
            num_points=num_points,
            seed=seed,
            subset=subset,
            up_axis=up_axis,
            keep=kept if len(kept) < len(names) else None,
        )

    def _kept(self, names: tuple[str, ...]) -> list[int]:
        """Labels of the files that belong to the dataset, in the order of the dataset's labels."""
        return list(range(len(names)))


class ModelNet10(ModelNet40):
    """The ten classes of ModelNet10, from files of their own or from those of ModelNet40, whose objects they share.

    Arguments, attributes, items and errors are those of `ModelNet40`; the labels are 0 to 9, in alphabetical order.
    """

    def _kept(self, names: tuple[str, ...]) -> list[int]:
        missing = sorted(set(_MODELNET10) - set(names))
        if missing:
            raise ValueError(
                f"shape_names.txt must name the ten classes of ModelNet10, got none named {', '.join(missing)} "
                f"in {self.root}"
            )
        return [names.index(name) for name in _MODELNET10]


def class_names(file: Path) -> tuple[str, ...]:
    """The lines of shape_names.txt."""
    if not file.is_file():
        raise FileNotFoundError(f"a ModelNet40 folder must hold shape_names.txt, got no file {file}")
    names = tuple(line.strip() for line in file.read_text().splitlines() if line.strip())
    if not names:
        raise ValueError(f"shape_names.txt must hold at least 1 class name, got none in {file}")
    return names


def split_files(root: Path, split: str) -> list[Path]:
    """HDF5 files of a split, in the order of the list file, or sorted by number."""
    listing = root / f"{split}_files.txt"
    if listing.is_file():
        names = [Path(line.strip()).name for line in listing.read_text().splitlines() if line.strip()]
        files = [root / name for name in names]
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(f"every file named in {listing.name} must exist, got no file {file}")
    else:
        files = files_by_number(root, f"ply_data_{split}*.h5")
    if not files:
        raise FileNotFoundError(f"a ModelNet40 folder must hold files ply_data_{split}*.h5, got none in {root}")
    return files
