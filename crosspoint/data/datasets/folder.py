"""A plain folder of clouds, with or without a folder of images beside it.

root/<class>/<id>.ply                   any ending of `crosspoint.data.files.formats.SUFFIXES`, sub-folders as you like;
                                        root/train/<class>/... and root/<class>/train/... where there are splits
images/<class>/<id>.png                 a picture of it, or
images/<class>/<id>/*.png               several
"""

import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from crosspoint.data.augment.clouds import unit_sphere
from crosspoint.data.cache import CACHE_MEGABYTES, ByteLimitedCache
from crosspoint.data.files.formats import SUFFIXES, read_cloud
from crosspoint.data.files.pictures import PICTURE_SUFFIXES, pictures_in, read_image, render_image
from crosspoint.data.keys import ItemKey, check_drawing, check_seed, choose_points, random_stream, split_key
from crosspoint.data.rendering.render import RenderMode
from crosspoint.data.sample import Sample, UpAxis

NO_CLASS = "object"
"""Class of files that lie in no folder of a class."""
_DRAWN = 4096  # points of a surface that is asked for as points
SPLIT_FOLDERS = ("train", "val", "test")
"""Names of folders that are splits, not classes."""


class CloudFolder(Dataset[Sample]):
    """Clouds of a folder; files are read when an item is asked for.

    The class of a cloud is the first sub-folder that it lies in, apart from train, val and test; files in the root
    itself are of the class "object". Splits have the classes of the whole folder. Which points an item gets follows
    from (seed, epoch, index) alone. A cloud with fewer points than `num_points` repeats points; from a file with
    triangles, points are drawn from the surface.

    Args:
        root: the folder.
        split: keep what lies in a folder of this name, such as "train"; None keeps everything.
        num_points: points per item.
        seed: seed of the draws.
        images: folder of pictures with the same sub-folders and names; None for items without image. Objects that have
            no picture there get a rendered view.
        image_size: side of the square pictures, pixels.
        view_mode: what a rendered view shows.
        up_axis: vertical axis of the clouds.
        cache_megabytes: how much of the files to keep in memory, in each process that reads them.

    Attributes:
        class_names: the classes, sorted.
        up_axis: as given.
        labels: label of every item, without reading the clouds.
        files: file of every item.
        rendered: how many objects have no picture in `images`.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: there is no cloud, or none has a picture in `images`. Items of unreadable files raise it as well,
            naming the file.

    Items have points and label, and image where `images` is given.
    """

    class_names: tuple[str, ...]
    up_axis: UpAxis

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: Literal["train", "test"] | None = None,
        num_points: int = 1024,
        seed: int = 0,
        *,
        images: str | os.PathLike[str] | None = None,
        image_size: int = 224,
        view_mode: RenderMode = "shaded",
        up_axis: UpAxis = "y",
        cache_megabytes: float = CACHE_MEGABYTES,
    ) -> None:
        check_drawing(num_points, up_axis)
        if image_size < 1:
            raise ValueError(f"image_size must be at least 1, got {image_size}")
        self.root = Path(root)
        self.images = None if images is None else Path(images)
        self.split = split
        self.num_points = num_points
        self.seed = check_seed(seed)
        self.image_size = image_size
        self.view_mode = view_mode
        self.up_axis = up_axis
        self._cache = ByteLimitedCache(cache_megabytes)
        for folder in (self.root, self.images):
            if folder is not None and not folder.is_dir():
                raise FileNotFoundError(f"a folder of clouds or images must exist, got no folder {folder}")
        everything = cloud_files(self.root)
        self.files = [file for file in everything if split is None or split in folders_of(file, self.root)]
        if not self.files:
            where = self.root if split is None else f"folders named {split} of {self.root}"
            raise ValueError(f"a folder of clouds must hold files ending in {', '.join(SUFFIXES)}, got none in {where}")
        self.class_names = tuple(sorted({class_of(file, self.root) for file in everything}))
        self.labels = [self.class_names.index(class_of(file, self.root)) for file in self.files]
        self.rendered = 0
        if self.images is not None:
            # Checked here: a folder that fits nowhere would otherwise be replaced by rendered views in silence.
            self.rendered = sum(not self._pictures(index, first_only=True) for index in range(len(self)))
            if self.rendered == len(self):
                raise ValueError(
                    f"at least one cloud must have a picture <class>/<id>.png or <class>/<id>/*.png, "
                    f"got none in {self.images}"
                )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: ItemKey) -> Sample:
        index, epoch = split_key(key, len(self))
        file = self.files[index]
        rng = random_stream(self.seed, epoch, index)
        stored = self._cache.get(file, lambda: read_cloud(file))
        if stored.faces is None:
            cloud = stored.points[choose_points(len(stored.points), self.num_points, rng)]
        else:
            cloud = stored.draw(self.num_points, rng)
        sample = Sample(points=unit_sphere(torch.from_numpy(cloud)), label=torch.tensor(self.labels[index]))
        if self.images is not None:
            pictures = self._pictures(index)
            if pictures:
                picture = pictures[int(rng.integers(len(pictures)))]
                sample["image"] = self._cache.get(picture, lambda: read_image(picture, self.image_size)).clone()
            else:
                sample["image"] = render_image(
                    sample["points"], rng, size=self.image_size, mode=self.view_mode, up_axis=self.up_axis
                )
        return sample

    def surface(self, index: int) -> NDArray[np.float32]:
        """(N, 3) points of an object in the file's scale: all of them, or some thousands of a surface."""
        file = self.files[index]
        stored = self._cache.get(file, lambda: read_cloud(file))
        return stored.points if stored.faces is None else stored.draw(_DRAWN, random_stream(0, index))

    def _pictures(self, index: int, *, first_only: bool = False) -> list[Path]:
        """Sorted pictures of an object, or just any one of them."""
        assert self.images is not None
        return pictures_of(self.files[index], self.root, self.images, first_only=first_only)


def cloud_files(root: Path) -> list[Path]:
    """Sorted files of clouds anywhere below a folder."""
    return sorted(file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())


def pictures_of(file: Path, root: Path, images: Path, *, first_only: bool = False) -> list[Path]:
    """Sorted pictures of a cloud of root in the folder of images, or just any one of them."""
    stem = images / file.relative_to(root).with_suffix("")
    single = [named for suffix in PICTURE_SUFFIXES if (named := stem.with_name(stem.name + suffix)).is_file()]
    return single or pictures_in(stem, first_only=first_only)


def folders_of(file: Path, root: Path) -> tuple[str, ...]:
    """Names of the folders between root and file."""
    return file.relative_to(root).parts[:-1]


def class_of(file: Path, root: Path) -> str:
    """The first folder between root and file that is not a split's."""
    folders = [name for name in folders_of(file, root) if name not in SPLIT_FOLDERS]
    return folders[0] if folders else NO_CLASS
