"""ScanObjectNN: real objects cut out of scans, in the official HDF5 layout.

root/main_split/training_objectdataset.h5                            objects with background (OBJ_BG)
root/main_split/training_objectdataset_augmentedrot_scale75.h5       perturbed, the hardest variant (PB_T50_RS)
root/main_split_nobg/training_objectdataset.h5                       objects alone (OBJ_ONLY)
and test_... beside each; all of it may lie in root/h5_files. Keys: data (R, N, 3), label (R,).
"""

import os
from pathlib import Path
from typing import Literal

from crosspoint.data.cache import CACHE_MEGABYTES
from crosspoint.data.files.hdf5 import Hdf5Dataset, RowReader
from crosspoint.data.sample import UpAxis

ScanObjectNNVariant = Literal["obj_bg", "obj_only", "pb_t50_rs"]
_SPLITS = {"train": "training", "test": "test"}
_HARDEST = "objectdataset_augmentedrot_scale75.h5"
_FILES = {
    "obj_bg": ("main_split", "objectdataset.h5"),
    "obj_only": ("main_split_nobg", "objectdataset.h5"),
    "pb_t50_rs": ("main_split", _HARDEST),
}
CLASSES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door",
    "shelf", "table", "bed", "pillow", "sink", "sofa", "toilet",
)  # fmt: skip
"""The classes in the order of their labels."""
VARIANTS = tuple(_FILES)
"""The variants, the usual one first."""


class ScanObjectNN(Hdf5Dataset):
    """Objects of one split of one variant.

    Args:
        root: folder that holds main_split and main_split_nobg, or h5_files with them.
        split: "train" or "test".
        num_points: points per item, at most as many as the clouds in the files have.
        seed: seed of the draws.
        subset: "first": the first points of each cloud, always the same; "random": a subset drawn anew in every epoch,
            which follows from (seed, epoch, index) alone.
        variant: "obj_bg": with background, "obj_only": without it, "pb_t50_rs": shifted, rotated and scaled boxes with
            background, the hardest. Papers that name none mostly mean obj_bg.
        up_axis: vertical axis of the clouds.
        cache_megabytes: how much of the files to keep in memory, in each process that reads them.

    Attributes:
        class_names: the 15 classes, indexed by label.
        up_axis: as given.
        labels: (R,) int64 labels of all items, without reading the clouds.

    Raises:
        FileNotFoundError: the folder or a file is missing.
        ValueError: a file is damaged or does not hold what it should. Items raise it for coordinates that are not
            finite, and where a file breaks later.

    Items have points and label.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: Literal["train", "test"] = "train",
        num_points: int = 1024,
        seed: int = 0,
        subset: Literal["first", "random"] = "first",
        *,
        variant: ScanObjectNNVariant = "obj_bg",
        up_axis: UpAxis = "y",
        cache_megabytes: float = CACHE_MEGABYTES,
    ) -> None:
        self.root = Path(root)
        self.split = split
        self.variant = variant
        file = scan_file(self.root, variant, split)
        reader = RowReader([file], what="ScanObjectNN", classes=len(CLASSES), cache_megabytes=cache_megabytes)
        super().__init__(reader, CLASSES, num_points=num_points, seed=seed, subset=subset, up_axis=up_axis)


def scan_file(root: Path, variant: str, split: str) -> Path:
    """The file of a split of a variant."""
    if variant not in _FILES:
        raise ValueError(f"variant must be one of {', '.join(_FILES)}, got {variant!r}")
    if split not in _SPLITS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if not root.is_dir():
        raise FileNotFoundError(
            f"the ScanObjectNN folder must exist and hold {_FILES[variant][0]} or h5_files, got no folder {root}"
        )
    folder, name = _FILES[variant]
    base = root / "h5_files" if (root / "h5_files").is_dir() else root
    file = base / folder / f"{_SPLITS[split]}_{name}"
    if not file.is_file():
        raise FileNotFoundError(f"a ScanObjectNN folder must hold {folder}/{file.name}, got no file {file}")
    return file
