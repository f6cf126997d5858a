"""CO3D: objects reconstructed from videos, with frames, in Cross-MoST's layout.

root/data_preprocessed/<class>/<sequence>/pointcloud1.npy    cloud (N, 3)
root/data_preprocessed/<class>/<sequence>/images/*           frames
root/train_set_80.txt, test_set_80.txt                       one <class>/<sequence> a line
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from crosspoint.data.cloud_files import CloudFiles
from crosspoint.data.hdf5 import CACHE_MEGABYTES
from crosspoint.data.listings import check_split, read_split
from crosspoint.data.pictures import pictures_in
from crosspoint.data.sample import UpAxis

LAYOUT = (
    "a CO3D folder must hold data_preprocessed/<class>/<sequence>/pointcloud1.npy and images/* beside it, "
    "train_set_80.txt and test_set_80.txt"
)
_AXES = (1, 0, 2)  # as the official code exchanges them


class Co3d(CloudFiles):
    """Sequences of one split; the classes are those that the two splits name, sorted.

    Args:
        root: Folder of the files.
        split: "train" or "test".
        num_points: Points per item.
        seed: Seed of the draws.
        up_axis: Vertical axis of the clouds.
        cache_megabytes: How much of the files to keep in memory, in each process that reads them.

    Raises:
        FileNotFoundError: The folder or a listing is missing.
        ValueError: A listing is damaged. Items of unreadable files raise it too.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: Literal["train", "test"] = "train",
        num_points: int = 1024,
        seed: int = 0,
        *,
        up_axis: UpAxis = "y",
        cache_megabytes: float = CACHE_MEGABYTES,
    ) -> None:
        self.root = Path(root)
        self.split = check_split(split)
        sequences: list[str] = []
        names: set[str] = set()
        for part in ("train", "test"):
            listing = self.root / f"{part}_set_80.txt"
            lines = read_split(listing, LAYOUT)
            wrong = [line for line in lines if line.count("/") != 1]
            if wrong:
                raise ValueError(
                    f"every line of a CO3D split must read <class>/<sequence>, got {wrong[0]!r} in {listing}"
                )
            names |= {line.split("/")[0] for line in lines}
            if part == split:
                sequences = lines
        class_names = sorted(names)
        super().__init__(
            [self.root / "data_preprocessed" / sequence / "pointcloud1.npy" for sequence in sequences],
            [class_names.index(sequence.split("/")[0]) for sequence in sequences],
            class_names,
            num_points=num_points,
            seed=seed,
            up_axis=up_axis,
            axes=_AXES,
            cache_megabytes=cache_megabytes,
        )

    def pictures(self, index: int) -> list[Path]:
        """The frames of a sequence, by name."""
        return pictures_in(self.files[index].parent / "images")
