"""From the settings of an evaluation to the clouds that it is made on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Subset

from crosspoint.data.modelnet40 import ModelNet40
from crosspoint.data.sample import Sample, UpAxis
from crosspoint.data.shapenet_render import ShapeNetRender
from crosspoint.data.shapes import Shapes
from crosspoint.engine.sources import CloudDataset
from crosspoint.evaluation.config import ClassifiedData, PairedData

_SHAPES_PER_CLASS = 32  # where the settings leave it open


class Split:
    """Some of the clouds of a dataset, with their labels known without reading them.

    Attributes:
        clouds: The chosen clouds, in the dataset's order.
        labels: (M,) their classes.
        class_names: Names of all classes.
        up_axis: The clouds' vertical axis.
    """

    def __init__(self, dataset: CloudDataset, labels: NDArray[np.int64], chosen: NDArray[np.int64]) -> None:
        self.clouds: Dataset[Sample] = Subset(cast(Dataset[Sample], dataset), cast(Sequence[int], chosen))
        self.labels = labels[chosen]
        self.class_names = tuple(dataset.class_names)
        self.up_axis: UpAxis = dataset.up_axis

    def __len__(self) -> int:
        return len(self.labels)


def classified_splits(data: ClassifiedData) -> tuple[Split, Split]:
    """Training and test split of a dataset with classes.

    Where ``data.per_class`` leaves clouds out, which ones follows from ``data.seed`` alone, and fewer of them are part
    of more.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they cannot be read.
    """
    train, test = (_classified(data, split) for split in ("train", "test"))
    return train, test


def _classified(data: ClassifiedData, split: str) -> Split:
    dataset: CloudDataset
    if data.dataset == "shapes":
        per_class = data.per_class or _SHAPES_PER_CLASS
        dataset = Shapes(split, per_class=per_class, num_points=data.num_points, seed=data.seed)  # type: ignore[arg-type]
        labels = np.arange(len(dataset)) % len(dataset.class_names)
        return Split(dataset, labels, np.arange(len(dataset)))
    assert data.root is not None  # the configuration checks it
    dataset = ModelNet40(data.root, split, data.num_points, data.seed, up_axis=data.up_axis)  # type: ignore[arg-type]
    labels = np.array([int(dataset[index]["label"]) for index in range(len(dataset))])
    return Split(dataset, labels, first_of_each_class(labels, data.per_class, data.seed))


def first_of_each_class(labels: NDArray[np.int64], count: int | None, seed: int) -> NDArray[np.int64]:
    """Rows of at most ``count`` clouds of each class, in order; all rows if it is None.

    The clouds of a class are ordered at random once for each seed, and the first are taken.
    """
    if count is None:
        return np.arange(len(labels))
    rng = np.random.default_rng([seed, 1])
    chosen = [rng.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def paired_objects(data: PairedData, num_points: int, image_size: int) -> tuple[CloudDataset, NDArray[np.int64]]:
    """Objects for retrieval, and which of them make the gallery.

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
        dataset = ModelNet40(data.root, "test", num_points, data.seed, up_axis=data.up_axis)
    order = np.random.default_rng([data.seed, 2]).permutation(len(dataset))
    return dataset, np.sort(order[: data.objects])
