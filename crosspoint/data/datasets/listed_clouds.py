"""Clouds in files of one each, of the objects that the listing of a split names: Redwood, CO3D and ShapeNet-55."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from crosspoint.data.cache import CACHE_MEGABYTES
from crosspoint.data.files.cloud_files import CloudFiles
from crosspoint.data.files.listings import check_split
from crosspoint.data.sample import UpAxis


class Listed(NamedTuple):
    """The objects of a split: where their clouds are, their labels, and the names that the labels stand for."""

    files: list[Path]
    labels: list[int]
    class_names: Sequence[str]


class ListedClouds(CloudFiles):
    """Objects of one split of a folder.

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

    axes: ClassVar[tuple[int, int, int]] = (0, 1, 2)
    """Which of a file's axes become x, y and z."""

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
        super().__init__(
            *self.listed(),
            num_points=num_points,
            seed=seed,
            up_axis=up_axis,
            axes=self.axes,
            cache_megabytes=cache_megabytes,
        )

    @abstractmethod
    def listed(self) -> Listed:
        """The objects of `split` in `root`."""

    @abstractmethod
    def pictures(self, index: int) -> list[Path]:
        """The pictures of an object, in order."""
