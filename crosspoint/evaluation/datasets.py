"""From the settings of an evaluation to the clouds that it is made on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Subset

from crosspoint.config.evaluated_data import ClassifiedData, PairedData, PartData
from crosspoint.data.datasets.shapenet_part import ShapeNetPart
from crosspoint.data.datasets.shapenet_render import ShapeNetRender
from crosspoint.data.keys import ItemKey
from crosspoint.data.labelled import CloudDataset, Drawing, labelled_clouds
from crosspoint.data.sample import Sample, UpAxis
from crosspoint.data.shapes import Shapes

_SHAPES_PER_CLASS = 32  # where the settings leave it open


class Chosen:
    """Some of the clouds of a dataset, asked for like a dataset; item keys may be (index, epoch).

    Args:
        dataset: The clouds.
        rows: (M,) which of them, in which order.
        labels: (M,) their classes, known without reading them.

    Attributes:
        labels: As given.
        class_names: Names of all classes.
        up_axis: The clouds' vertical axis.
    """

    def __init__(self, dataset: CloudDataset, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        self._dataset = dataset
        self._rows = rows
        self.labels = labels
        self.class_names: Sequence[str] = tuple(dataset.class_names)
        self.up_axis: UpAxis = dataset.up_axis

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: ItemKey) -> Sample:
        if isinstance(key, tuple):
            return self._dataset[int(self._rows[key[0]]), key[1]]
        return self._dataset[int(self._rows[key])]

    @property
    def clouds(self) -> Dataset[Sample]:
        """The same, for those who want a torch dataset."""
        return cast(Dataset[Sample], self)

    def some(self, rows: NDArray[np.int64]) -> Chosen:
        """Some of these clouds."""
        return Chosen(self._dataset, self._rows[rows], self.labels[rows])


class PartDataset(CloudDataset, Protocol):
    """A dataset with a part label for every point."""

    @property
    def part_names(self) -> Sequence[str]:
        """Names of all parts, indexed by part id."""

    @property
    def parts_of_class(self) -> Sequence[Sequence[int]]:
        """For each class the ids of its parts."""


def classified_splits(data: ClassifiedData, *, draw: bool = False) -> tuple[Chosen, Chosen]:
    """Training and test split of a dataset with classes.

    Where ``data.per_class`` leaves clouds out, which ones follows from ``data.seed`` alone, and fewer of them are part
    of more.

    Args:
        data: The settings.
        draw: Whether the training clouds get new points in every epoch, where their files have more than are wanted.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they cannot be read.
    """
    return _classified(data, "train", "random" if draw else "first"), _classified(data, "test", "first")


def _classified(data: ClassifiedData, split: Literal["train", "test"], subset: Literal["first", "random"]) -> Chosen:
    if data.dataset == "shapes":
        per_class = data.per_class or _SHAPES_PER_CLASS
        shapes = Shapes(split, per_class=per_class, num_points=data.num_points, seed=data.seed)
        rows = np.arange(len(shapes))
        return Chosen(shapes, rows, rows % len(shapes.class_names))
    assert data.root is not None  # the configuration checks it
    dataset = labelled_clouds(
        data.dataset,
        data.root,
        split,
        Drawing(num_points=data.num_points, seed=data.seed, subset=subset, up_axis=data.up_axis),
        variant=data.variant,
    )
    labels = np.asarray(cast(Any, dataset).labels, dtype=np.int64)
    rows = first_of_each_class(labels, data.per_class, data.seed)
    return Chosen(dataset, rows, labels[rows])


def first_of_each_class(labels: NDArray[np.int64], count: int | None, seed: int) -> NDArray[np.int64]:
    """Rows of at most ``count`` clouds of each class, in order; all rows if it is None.

    The clouds of a class are ordered at random once for each seed, and the first are taken.
    """
    if count is None:
        return np.arange(len(labels))
    rng = np.random.default_rng([seed, 1])
    chosen = [rng.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def share_of_each_class(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Rows of a share of each class's clouds, at least one each, in order; a smaller share is part of a larger."""
    rng = np.random.default_rng([seed, 4])
    chosen = []
    for label in np.unique(labels):
        order = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(order[: max(1, round(share * len(order)))])
    return np.sort(np.concatenate(chosen))


def part_splits(data: PartData) -> tuple[PartDataset, PartDataset]:
    """What to train on (with the validation clouds, as the official protocol does) and the test split.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they cannot be read.
    """
    if data.dataset == "shapes":
        return (
            Shapes("train", per_class=data.per_class, num_points=data.num_points, seed=data.seed),
            Shapes("test", per_class=data.per_class, num_points=data.num_points, seed=data.seed),
        )
    assert data.root is not None
    return (
        ShapeNetPart(data.root, "trainval", data.num_points, data.seed, "random", up_axis=data.up_axis),
        ShapeNetPart(data.root, "test", data.num_points, data.seed, up_axis=data.up_axis),
    )


def paired_objects(data: PairedData, num_points: int, image_size: int) -> Dataset[Sample]:
    """The objects that make the gallery of retrieval.

    Args:
        data: The settings.
        num_points: Points per cloud.
        image_size: Side of the images, pixels, where they are read from files.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they cannot be read.
    """
    dataset: CloudDataset
    if data.dataset == "shapes":
        per_class = -(-data.objects // len(Shapes.class_names))
        dataset = Shapes("test", per_class=per_class, num_points=num_points, seed=data.seed)
    elif data.dataset == "shapenet_render":
        assert data.root is not None
        dataset = ShapeNetRender(
            data.root, num_points=num_points, image_size=image_size, seed=data.seed, up_axis=data.up_axis
        )
    else:
        assert data.root is not None
        drawing = Drawing(num_points=num_points, seed=data.seed, up_axis=data.up_axis)
        dataset = labelled_clouds(data.dataset, data.root, "test", drawing)
    order = np.random.default_rng([data.seed, 2]).permutation(len(dataset))
    chosen = np.sort(order[: data.objects]).tolist()
    return Subset(cast(Dataset[Sample], dataset), chosen)
