"""The procedural corpus as a dataset."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from crosspoint.data.augment.clouds import unit_sphere
from crosspoint.data.keys import ItemKey, check_seed, random_stream, split_key
from crosspoint.data.mesh import Facets, rotation, sample_surface, unit
from crosspoint.data.sample import Sample, UpAxis
from crosspoint.data.shapes.builder import Builder, ShapeClass
from crosspoint.data.shapes.catalogue import CLASSES

Split = Literal["train", "test"]
_SPLITS = ("train", "test")
_OBJECT, _SAMPLE = 0, 1  # what a random stream is for


@dataclass(frozen=True)
class PoseVariation:
    """How objects differ beyond their parts."""

    max_yaw: float = math.pi
    """Objects are turned about the up axis by an angle from U(-max_yaw, max_yaw), radians."""
    max_stretch: float = 0.3
    """Each axis is scaled by exp of U(-max_stretch, max_stretch)."""

    def __post_init__(self) -> None:
        if not self.max_yaw >= 0:
            raise ValueError(f"max_yaw must be at least 0, got {self.max_yaw}")
        if not self.max_stretch >= 0:
            raise ValueError(f"max_stretch must be at least 0, got {self.max_stretch}")


class Shapes(Dataset[Sample]):
    """Procedural everyday objects, made when they are asked for.

    The object of an item is fixed by (seed, split, class, number within the class), so a larger `per_class` extends a
    smaller one; the points on it are drawn anew in every epoch. Items alternate between the classes.

    Args:
        split: "train" or "test": disjoint random draws.
        per_class: objects of each class.
        num_points: points drawn from each object.
        seed: seed of the corpus.
        pose: random turn and stretch of the objects.

    Attributes:
        class_names: names of the classes, indexed by label.
        part_names: names of all parts, "<class> <part>", indexed by the part ids of the items.
        parts_of_class: for each label, the part ids that its objects may have.
        up_axis: "y".

    Items have points, normals, parts and label. An index (or (index, epoch)) always gives the same item.
    """

    class_names: tuple[str, ...] = tuple(shape.name for shape in CLASSES)
    part_names: tuple[str, ...] = tuple(f"{shape.name} {part}" for shape in CLASSES for part in shape.parts)
    parts_of_class: tuple[tuple[int, ...], ...]
    up_axis: UpAxis = "y"

    def __init__(
        self,
        split: Split = "train",
        *,
        per_class: int = 100,
        num_points: int = 1024,
        seed: int = 0,
        pose: PoseVariation | None = None,
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        if per_class < 1:
            raise ValueError(f"per_class must be at least 1, got {per_class}")
        if num_points < 1:
            raise ValueError(f"num_points must be at least 1, got {num_points}")
        self.split = split
        self.per_class = per_class
        self.num_points = num_points
        self.seed = check_seed(seed)
        self.pose = PoseVariation() if pose is None else pose
        first = np.cumsum([0, *(len(shape.parts) for shape in CLASSES)]).tolist()
        self._first_part: list[int] = first
        self.parts_of_class = tuple(tuple(range(start, stop)) for start, stop in itertools.pairwise(first))

    def __len__(self) -> int:
        return self.per_class * len(CLASSES)

    def __getitem__(self, key: ItemKey) -> Sample:
        index, epoch = split_key(key, len(self))
        number, label = divmod(index, len(CLASSES))
        split = _SPLITS.index(self.split)
        facets, parts = make_object(CLASSES[label], self.pose, random_stream(self.seed, _OBJECT, split, label, number))
        rng = random_stream(self.seed, _SAMPLE, split, label, number, epoch)
        drawn = sample_surface(facets, parts, self.num_points, rng)
        points = unit_sphere(torch.from_numpy(drawn.points))
        return Sample(
            points=points.float(),
            label=torch.tensor(label),
            normals=torch.from_numpy(drawn.normals).float(),
            parts=torch.from_numpy(drawn.parts + self._first_part[label]),
        )


def make_object(shape: ShapeClass, pose: PoseVariation, rng: np.random.Generator) -> tuple[Facets, NDArray[np.int64]]:
    """The surface of one random object of a class.

    Args:
        shape: The class.
        pose: Random turn and stretch.
        rng: The object's random stream, which decides everything.

    Returns:
        Triangles, and for each the index of its part among the class's parts.
    """
    builder = Builder(rng, shape.parts)
    shape.build(builder)
    facets, parts = builder.surface()
    stretch = np.exp(rng.uniform(-pose.max_stretch, pose.max_stretch, size=3))
    turn = rotation("y", rng.uniform(-pose.max_yaw, pose.max_yaw)).T
    return Facets(facets.corners * stretch @ turn, unit(facets.normals / stretch) @ turn), parts
