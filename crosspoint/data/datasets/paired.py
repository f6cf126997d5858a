"""Clouds with pictures, as those who train on pairs want them: any dataset of clouds, and where its pictures are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from crosspoint.data.augment.clouds import unit_sphere
from crosspoint.data.cache import CACHE_MEGABYTES, ByteLimitedCache
from crosspoint.data.files.pictures import read_image
from crosspoint.data.keys import ItemKey, check_seed, choose_points, random_stream, split_key
from crosspoint.data.rendering.render import RenderMode
from crosspoint.data.rendering.views import render_views
from crosspoint.data.sample import Sample, UpAxis

_PICTURED = 2048  # points that a picture is rendered from, at most
_PICTURE = 1  # what a random stream is for; the keys of the clouds' own streams are shorter


class LabelledDataset(Protocol):
    """A dataset that knows its labels without reading its objects."""

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, indexed by label."""

    @property
    def up_axis(self) -> UpAxis:
        """The clouds' vertical axis."""

    @property
    def labels(self) -> Any:
        """Label of every item, a sequence of integers; -1 where it is not known."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: ItemKey) -> Sample: ...


class SurfaceDataset(LabelledDataset, Protocol):
    """A dataset that also hands out all points of an object, to render it."""

    def surface(self, index: int) -> NDArray[np.float32]:
        """(N, 3) all points of an object, in any scale."""


class PairedClouds(Dataset[Sample]):
    """Clouds of a dataset, each with pictures from files, or rendered where there are none.

    An item's picture is one of the object's, by (seed, epoch, index) alone. Rendered pictures are always the same: made
    once, from all around, and kept as far as the cache goes.

    Args:
        clouds: The objects.
        pictures: Tells the files of an object's pictures, in order; None: all are rendered. Objects for which it names
            none are rendered.
        place: Where pictures are looked for, for the message.
        image_size: Side of the square pictures, pixels. Of other shapes the middle square is taken.
        num_views: Pictures rendered of an object, and entries of views.
        all_views: Whether items have views beside image. Of more files than `num_views`, evenly spaced ones are taken;
            fewer are repeated.
        view_mode: What a rendered picture shows.
        seed: Seed of the draws.
        cache_megabytes: How much of the pictures to keep in memory, in each process.

    Attributes:
        class_names, up_axis, labels: Those of the clouds.
        rendered: How many objects have no file.

    Raises:
        ValueError: An argument is not usable, or no object has a picture although `pictures` is given. Items raise it
            for pictures that cannot be read, naming the file.

    Items have points, label, image, and views where asked for.
    """

    def __init__(
        self,
        clouds: SurfaceDataset,
        pictures: Callable[[int], Sequence[Path]] | None = None,
        *,
        place: str = "their places",
        image_size: int = 224,
        num_views: int = 12,
        all_views: bool = False,
        view_mode: RenderMode = "shaded",
        seed: int = 0,
        cache_megabytes: float = CACHE_MEGABYTES,
    ) -> None:
        for name, value in (("image_size", image_size), ("num_views", num_views)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self._clouds = clouds
        self.class_names = tuple(clouds.class_names)
        self.up_axis: UpAxis = clouds.up_axis
        self.labels = [int(label) for label in clouds.labels]
        self.image_size = image_size
        self.num_views = num_views
        self.all_views = all_views
        self.view_mode: RenderMode = view_mode
        self.seed = check_seed(seed)
        self._files = [[] if pictures is None else list(pictures(index)) for index in range(len(clouds))]
        self.rendered = sum(not files for files in self._files)
        # A folder that fits nowhere would otherwise be replaced by rendered pictures in silence.
        if pictures is not None and self.rendered == len(self._files):
            raise ValueError(f"at least one object must have a picture, got none in {place}")
        self._cache = ByteLimitedCache(cache_megabytes)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, key: ItemKey) -> Sample:
        index, epoch = split_key(key, len(self))
        cloud = self._clouds[index, epoch]
        sample = Sample(points=cloud["points"], label=cloud["label"])
        draw = random_stream(self.seed, _PICTURE, epoch, index).random()
        files = self._files[index]
        if files:
            sample["image"] = self._read(files[int(draw * len(files))]).clone()
            if self.all_views:
                chosen = [files[view * len(files) // self.num_views] for view in range(self.num_views)]
                if len(files) < self.num_views:
                    chosen = [files[view % len(files)] for view in range(self.num_views)]
                sample["views"] = torch.stack([self._read(file) for file in chosen])
        else:
            views = self._cache.get(index, lambda: self._render(index))
            sample["image"] = views[int(draw * self.num_views)].clone()
            if self.all_views:
                sample["views"] = views.clone()
        return sample

    def _read(self, file: Path) -> Tensor:
        return self._cache.get(file, lambda: read_image(file, self.image_size, crop=True))

    def _render(self, index: int) -> Tensor:
        rng = random_stream(0, _PICTURE, index)  # not of the run's seed: rendered pictures are part of the data
        surface = self._clouds.surface(index)
        chosen = choose_points(len(surface), min(len(surface), _PICTURED), rng)
        points = unit_sphere(torch.from_numpy(surface[chosen]).float())
        return render_views(
            points,
            None,
            rng,
            count=self.num_views,
            size=self.image_size,
            mode=self.view_mode,
            up_axis=self.up_axis,
        )
