"""Clouds in files of one each, with labels from elsewhere: what Redwood, CO3D and the meshes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from crosspoint.data.augment.clouds import unit_sphere
from crosspoint.data.cache import CACHE_MEGABYTES, ByteLimitedCache
from crosspoint.data.files.formats import read_cloud
from crosspoint.data.keys import ItemKey, check_drawing, check_seed, choose_points, random_stream, split_key
from crosspoint.data.sample import Sample, UpAxis

STORED_POINTS = 8192
"""Points drawn from a surface once, of which the epochs draw theirs."""


class CloudFiles(Dataset[Sample]):
    """Clouds of a list of files, read when an item is asked for.

    Which points an item gets follows from (seed, epoch, index) alone. A cloud with fewer points than `num_points`
    repeats points. From a file with triangles, 8192 points are drawn from the surface, the same in every run, and
    items draw from these.

    Args:
        files: The files.
        labels: For each of them its label.
        class_names: Names of the classes, indexed by label.
        num_points: Points per item.
        seed: Seed of the draws.
        up_axis: Vertical axis of the clouds, after `axes`.
        axes: Which of the file's axes become x, y and z.
        cache_megabytes: How much of the files to keep in memory, in each process that reads them.

    Attributes:
        class_names: As given.
        up_axis: As given.
        labels: As given.
        files: As given.

    Items have points and label. Those of unreadable files raise ValueError, naming the file.
    """

    class_names: tuple[str, ...]
    up_axis: UpAxis

    def __init__(
        self,
        files: Sequence[Path],
        labels: Sequence[int],
        class_names: Sequence[str],
        *,
        num_points: int = 1024,
        seed: int = 0,
        up_axis: UpAxis = "y",
        axes: tuple[int, int, int] = (0, 1, 2),
        cache_megabytes: float = CACHE_MEGABYTES,
    ) -> None:
        check_drawing(num_points, up_axis)
        self.files = list(files)
        self.labels = list(labels)
        self.class_names = tuple(class_names)
        self.num_points = num_points
        self.seed = check_seed(seed)
        self.up_axis = up_axis
        self._axes = list(axes)
        self._cache = ByteLimitedCache(cache_megabytes)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: ItemKey) -> Sample:
        index, epoch = split_key(key, len(self))
        stored = self.surface(index)
        chosen = choose_points(len(stored), self.num_points, random_stream(self.seed, epoch, index))
        return Sample(points=unit_sphere(torch.from_numpy(stored[chosen])), label=torch.tensor(self.labels[index]))

    def surface(self, index: int) -> NDArray[np.float32]:
        """(N, 3) all points of an object, in the file's scale; do not change them."""
        file = self.files[index]

        def read() -> NDArray[np.float32]:
            stored = read_cloud(file)
            points = stored.points
            if stored.faces is not None:
                points = stored.draw(max(STORED_POINTS, self.num_points), random_stream(0, index))
            return np.ascontiguousarray(points[:, self._axes])

        return self._cache.get(index, read)
