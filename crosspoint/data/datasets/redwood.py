"""Redwood: scanned objects with the frames of their videos, in Cross-MoST's layout.

root/meshpreprocessed3/<id>.npy        cloud (N, 3)
root/videoframes/<id>/*                frames of the video, of which the first ten count
root/categories.json                   {"chair": ["00001", ...], ...}
root/train_set80.txt, test_set80.txt   one id a line
"""

from __future__ import annotations

import json
from pathlib import Path

from crosspoint.data.datasets.listed_clouds import Listed, ListedClouds
from crosspoint.data.files.listings import read_split
from crosspoint.data.files.pictures import pictures_in

CLASSES = ("chair", "table", "trash container", "bench", "plant", "sign", "bicycle", "motorcycle", "sofa")
"""The classes in the order of their labels."""
LAYOUT = (
    "a Redwood folder must hold meshpreprocessed3/<id>.npy, videoframes/<id>/*, categories.json, train_set80.txt and "
    "test_set80.txt"
)
_FRAMES = 10


class Redwood(ListedClouds):
    """Objects of one split that are of one of the nine classes, of which there must be one."""

    def listed(self) -> Listed:
        """The objects of the split."""
        listed = read_split(self.root / f"{self.split}_set80.txt", LAYOUT)
        label_of = _labels(self.root / "categories.json")
        found = [(identifier, label_of[identifier]) for identifier in listed if identifier in label_of]
        if not found:
            raise ValueError(
                f"{LAYOUT}, got no id of {self.split}_set80.txt under a class in {self.root}/categories.json"
            )
        return Listed(
            [self.root / "meshpreprocessed3" / f"{identifier}.npy" for identifier, _ in found],
            [label for _, label in found],
            CLASSES,
        )

    def pictures(self, index: int) -> list[Path]:
        """The first ten frames of an object's video, by name."""
        return pictures_in(self.root / "videoframes" / self.files[index].stem)[:_FRAMES]


def _labels(file: Path) -> dict[str, int]:
    """Label of each id that is of one of the classes."""
    if not file.is_file():
        raise FileNotFoundError(f"{LAYOUT}, got no file {file}")
    try:
        categories = json.loads(file.read_text())
        return {str(identifier): label for label, name in enumerate(CLASSES) for identifier in categories.get(name, ())}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"categories.json must map class names to lists of ids, got {file} ({error})") from error
