"""ShapeNetRender: point clouds with rendered pictures, in the layout of CrossPoint's official pre-training data.

root/ShapeNet/<class>/<id>.ply
root/ShapeNetRendering/<class>/<id>/rendering/*.png     optional; where there are none, views are rendered
"""

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from crosspoint.data.augment.clouds import unit_sphere
from crosspoint.data.cache import CACHE_MEGABYTES, ByteLimitedCache
from crosspoint.data.files.formats import read_ply
from crosspoint.data.files.pictures import pictures_in, read_image, render_image
from crosspoint.data.keys import ItemKey, check_drawing, check_seed, choose_points, random_stream, split_key
from crosspoint.data.rendering.render import RenderMode
from crosspoint.data.sample import Sample, UpAxis


class ShapeNetRender(Dataset[Sample]):
    """Clouds paired with a random one of their pictures; files are read when an item is asked for.

    Which points and which picture an item gets follows from (seed, epoch, index) alone. A cloud with fewer points than
    `num_points` repeats points.

    Args:
        root: folder with ShapeNet, and ShapeNetRendering unless there are no pictures.
        num_points: points per item, drawn without repetition where the file has enough.
        image_size: side of the square pictures, pixels.
        seed: seed of the draws.
        up_axis: vertical axis of the clouds; y in the official data.
        view_mode: what a rendered view shows.
        images: whether items have an image, where there are pictures at all.
        cache_megabytes: how much of the files to keep in memory, in each process that reads them.

    Attributes:
        class_names: the class folders, sorted.
        up_axis: as given.
        labels: label of every item, without reading the clouds.
        rendered: how many objects have no picture.

    Raises:
        FileNotFoundError: ShapeNet is missing.
        ValueError: there is no .ply file, or ShapeNetRendering is there and no object has a .png file in it. Items of
            unreadable files raise it as well, naming the file.

    Items have points, label and image; without ShapeNetRendering they have no image. An object without pictures gets a
    rendered view. A picture's transparent pixels are white.
    """

    class_names: tuple[str, ...]
    up_axis: UpAxis

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        num_points: int = 2048,
        image_size: int = 224,
        seed: int = 0,
        up_axis: UpAxis = "y",
        view_mode: RenderMode = "shaded",
        images: bool = True,
        cache_megabytes: float = CACHE_MEGABYTES,
    ) -> None:
        check_drawing(num_points, up_axis)
        if image_size < 1:
            raise ValueError(f"image_size must be at least 1, got {image_size}")
        self.root = Path(root)
        self.num_points = num_points
        self.image_size = image_size
        self.seed = check_seed(seed)
        self.up_axis = up_axis
        self.view_mode = view_mode
        self._cache = ByteLimitedCache(cache_megabytes)
        clouds = self.root / "ShapeNet"
        if not clouds.is_dir():
            raise FileNotFoundError(f"a ShapeNetRender folder must hold ShapeNet, got no folder {clouds}")
        found = sorted((file.parent.name, file.stem) for file in clouds.glob("*/*.ply"))
        if not found:
            raise ValueError(f"a ShapeNet folder must hold files <class>/<id>.ply, got none in {clouds}")
        self.class_names = tuple(sorted({name for name, _ in found}))
        label = {name: number for number, name in enumerate(self.class_names)}
        self._objects = [(label[name], identifier) for name, identifier in found]
        self.labels = [number for number, _ in self._objects]
        self.with_images = images
        self.has_images = (self.root / "ShapeNetRendering").is_dir()
        self.rendered = sum(not pictures_in(self._folder(number), first_only=True) for number in range(len(self)))
        # Checked here: a folder that fits nowhere would otherwise be replaced by rendered views in silence.
        if self.has_images and self.rendered == len(self):
            raise ValueError(
                f"at least one object must have a picture <class>/<id>/rendering/*.png, "
                f"got none in {self.root / 'ShapeNetRendering'}"
            )

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, key: ItemKey) -> Sample:
        index, epoch = split_key(key, len(self))
        label, _ = self._objects[index]
        rng = random_stream(self.seed, epoch, index)
        cloud = self.surface(index)
        points = unit_sphere(torch.from_numpy(cloud[choose_points(len(cloud), self.num_points, rng)]))
        sample = Sample(points=points, label=torch.tensor(label))
        if self.has_images and self.with_images:
            pictures = pictures_in(self._folder(index))
            if pictures:
                picture = pictures[int(rng.integers(len(pictures)))]
                sample["image"] = self._cache.get(picture, lambda: read_image(picture, self.image_size)).clone()
            else:
                sample["image"] = render_image(
                    points, rng, size=self.image_size, mode=self.view_mode, up_axis=self.up_axis
                )
        return sample

    def surface(self, index: int) -> NDArray[np.float32]:
        """(N, 3) all points of an object as the file has them; do not change them."""
        label, identifier = self._objects[index]
        file = self.root / "ShapeNet" / self.class_names[label] / f"{identifier}.ply"
        return self._cache.get(file, lambda: read_ply(file))

    def pictures(self, index: int) -> list[Path]:
        """Sorted pictures of an object."""
        return pictures_in(self._folder(index))

    def _folder(self, index: int) -> Path:
        """Where the pictures of an object are."""
        label, identifier = self._objects[index]
        return self.root / "ShapeNetRendering" / self.class_names[label] / identifier / "rendering"
