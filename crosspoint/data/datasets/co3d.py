"""CO3D: objects reconstructed from videos, with frames, in Cross-MoST's layout.

root/data_preprocessed/<class>/<sequence>/pointcloud1.npy    cloud (N, 3)
root/data_preprocessed/<class>/<sequence>/images/*           frames
root/train_set_80.txt, test_set_80.txt                       one <class>/<sequence> a line
"""

from __future__ import annotations

from pathlib import Path

from crosspoint.data.datasets.listed_clouds import Listed, ListedClouds
from crosspoint.data.files.listings import read_split
from crosspoint.data.files.pictures import pictures_in

LAYOUT = (
    "a CO3D folder must hold data_preprocessed/<class>/<sequence>/pointcloud1.npy and images/* beside it, "
    "train_set_80.txt and test_set_80.txt"
)


class Co3d(ListedClouds):
    """Sequences of one split; the classes are those that the two splits name, sorted."""

    axes = (1, 0, 2)  # as the official code exchanges them

    def listed(self) -> Listed:
        """The sequences of the split."""
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
            if part == self.split:
                sequences = lines
        class_names = sorted(names)
        return Listed(
            [self.root / "data_preprocessed" / sequence / "pointcloud1.npy" for sequence in sequences],
            [class_names.index(sequence.split("/")[0]) for sequence in sequences],
            class_names,
        )

    def pictures(self, index: int) -> list[Path]:
        """The frames of a sequence, by name."""
        return pictures_in(self.files[index].parent / "images")
