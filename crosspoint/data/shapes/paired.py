"""The procedural corpus as pairs of a cloud and pictures, in a clean domain and in a shifted one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from crosspoint.data.augment.clouds import unit_sphere
from crosspoint.data.cache import CACHE_MEGABYTES, ByteLimitedCache
from crosspoint.data.keys import ItemKey, check_drawing, check_seed, choose_points, random_stream, split_key
from crosspoint.data.mesh import Array, SurfaceSample, sample_surface
from crosspoint.data.rendering.views import render_views
from crosspoint.data.sample import Sample, UpAxis
from crosspoint.data.shapes.catalogue import CLASSES
from crosspoint.data.shapes.dataset import PoseVariation, Split, make_object
from crosspoint.data.shapes.photo import PhotoShift, photograph
from crosspoint.data.shapes.scan import ScanShift, scan

_SPLITS = ("train", "test")
_PAIR, _DRAW = 2, 3  # what a random stream is for; `shapes.dataset` uses 0 and 1
_DENSE = 4096  # points that are scanned
_STORED = 2048  # points of an object that its epochs draw from
_PICTURED = 1024  # points that pictures are rendered from


class _Stored(TypedDict):
    """What is kept of an object: (M, 3) float32 and (V, 3, S, S) uint8."""

    points: Tensor
    views: Tensor


class PairedShapes(Dataset[Sample]):
    """Procedural objects as clean clouds with rendered pictures: the domain that models are aligned on.

    Objects and pictures are fixed by (seed, split, class, number within the class); an epoch draws other points of an
    object, and another one of its pictures. What an object needs is made once, and kept as far as the cache goes.

    Args:
        split: "train" or "test": disjoint random draws.
        per_class: Objects of each class.
        num_points: Points per item.
        num_views: Pictures of each object, from all around.
        image_size: Side of the pictures, pixels.
        all_views: Whether items have views, all pictures in order, beside image, one of them.
        seed: Seed of the corpus.
        pose: Random turn and stretch of the objects.
        cache_megabytes: How much to keep in memory, in each process: about 50 kB for an object with 4 pictures of 48.

    Attributes:
        class_names: Those of `Shapes`.
        up_axis: "y".
        labels: Label of every item.

    Raises:
        ValueError: An argument is not usable.

    Items have points, label, image, and views where asked for.
    """

    class_names: tuple[str, ...] = tuple(shape.name for shape in CLASSES)
    up_axis: UpAxis = "y"
    _domain = 0  # other domains have other objects

    def __init__(
        self,
        split: Split = "train",
        *,
        per_class: int = 60,
        num_points: int = 256,
        num_views: int = 4,
        image_size: int = 48,
        all_views: bool = False,
        seed: int = 0,
        pose: PoseVariation | None = None,
        cache_megabytes: float = CACHE_MEGABYTES,
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        check_drawing(num_points, self.up_axis)
        for name, value in (("per_class", per_class), ("num_views", num_views), ("image_size", image_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.split = split
        self.per_class = per_class
        self.num_points = num_points
        self.num_views = num_views
        self.image_size = image_size
        self.all_views = all_views
        self.seed = check_seed(seed)
        self.pose = PoseVariation() if pose is None else pose
        self.labels = [index % len(CLASSES) for index in range(len(self))]
        self._cache = ByteLimitedCache(cache_megabytes)

    def __len__(self) -> int:
        return self.per_class * len(CLASSES)

    def __getitem__(self, key: ItemKey) -> Sample:
        index, epoch = split_key(key, len(self))
        stored = self._cache.get(index, lambda: self._make(index))
        rng = self._stream(_DRAW, index, epoch)
        points = stored["points"][torch.from_numpy(choose_points(len(stored["points"]), self.num_points, rng))]
        view = int(rng.integers(self.num_views))
        sample = Sample(
            points=unit_sphere(points),
            label=torch.tensor(self.labels[index]),
            image=stored["views"][view].clone(),
        )
        if self.all_views:
            sample["views"] = stored["views"].clone()
        return sample

    def _stream(self, purpose: int, index: int, *key: int) -> np.random.Generator:
        number, label = divmod(index, len(CLASSES))
        split = _SPLITS.index(self.split)
        return random_stream(self.seed, purpose, self._domain, split, label, number, *key)

    def _make(self, index: int) -> _Stored:
        rng = self._stream(_PAIR, index)
        facets, parts = make_object(CLASSES[self.labels[index]], self.pose, rng)
        drawn = sample_surface(facets, parts, _DENSE, rng)
        center = drawn.points.mean(axis=0)
        points = drawn.points - center
        points /= np.linalg.norm(points, axis=1).max()
        cloud = self._cloud(points, rng)
        stored = torch.from_numpy(cloud[:_STORED]).float()
        pictured = SurfaceSample(points[:_PICTURED], drawn.normals[:_PICTURED], drawn.parts[:_PICTURED])
        return _Stored(points=stored, views=self._pictures(pictured, rng))

    def _cloud(self, points: Array, rng: np.random.Generator) -> Array:
        """The points to keep, in random order."""
        return points

    def _pictures(self, drawn: SurfaceSample, rng: np.random.Generator) -> Tensor:
        """(V, 3, S, S) uint8."""
        points, normals = torch.from_numpy(drawn.points).float(), torch.from_numpy(drawn.normals).float()
        return render_views(points, normals, rng, count=self.num_views, size=self.image_size)


@dataclass(frozen=True)
class DomainShift:
    """How the shifted domain differs from the clean one."""

    scan: ScanShift = field(default_factory=ScanShift)
    """What happens to clouds."""
    photo: PhotoShift = field(default_factory=PhotoShift)
    """What happens to pictures."""
    severity: tuple[float, float] = (0.0, 1.0)
    """Each object draws how badly it was scanned, and independently how badly it was pictured, from this range."""

    def __post_init__(self) -> None:
        low, high = self.severity
        if not 0 <= low <= high <= 1:
            raise ValueError(f"severity must be a range inside [0, 1], got {self.severity}")


class ShiftedShapes(PairedShapes):
    """Other objects of the same classes, seen by a cheap scanner and a careless photographer.

    A cloud is one side of the object, cut, noisy, stretched, leaning, with strays; it is scanned once, and epochs draw
    other points of that scan. A picture has coloured parts, light from anywhere, a background, blur and noise. How bad
    either is differs from object to object, independently, so that often one of the two still tells what the object is.

    Args:
        split: "train" or "test".
        shift: How far the domain is shifted.
        **options: Those of `PairedShapes`.
    """

    _domain = 1

    def __init__(self, split: Split = "train", *, shift: DomainShift | None = None, **options: Any) -> None:
        super().__init__(split, **options)
        self.shift = DomainShift() if shift is None else shift

    def _cloud(self, points: Array, rng: np.random.Generator) -> Array:
        scanned = scan(points, self.shift.scan, rng.uniform(*self.shift.severity), rng)
        return scanned[rng.permutation(len(scanned))]

    def _pictures(self, drawn: SurfaceSample, rng: np.random.Generator) -> Tensor:
        points, normals = torch.from_numpy(drawn.points).float(), torch.from_numpy(drawn.normals).float()
        severity = rng.uniform(*self.shift.severity)
        return photograph(
            points, normals, drawn.parts, self.shift.photo, severity, rng, count=self.num_views, size=self.image_size
        )
