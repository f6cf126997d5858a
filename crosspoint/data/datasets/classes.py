"""Datasets under another list of classes: renamed, restricted to what two datasets share, without labels, in part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.utils.data import Dataset

from crosspoint.data.datasets.paired import LabelledDataset
from crosspoint.data.keys import ItemKey, random_stream, split_key
from crosspoint.data.sample import Sample, UpAxis

UNKNOWN = -1
"""Label of an object whose class is not known."""
_SHOWN = 5  # class names in a message


def plain_name(name: str) -> str:
    """A class name as it is compared: lower case, with spaces where there are underscores or hyphens."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def shared_classes(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    """Names of `first` that are also in `second`, in the order and spelling of `first`; see `plain_name`."""
    others = {plain_name(name) for name in second}
    return tuple(name for name in first if plain_name(name) in others)


class UnderClasses(Dataset[Sample]):
    """A dataset whose labels are positions in another list of classes.

    Args:
        dataset: The objects.
        class_names: The classes, in the order of the new labels. They are matched by `plain_name`.
        rename: New names of the dataset's classes by their old ones; two of the same new name become one class.

    Objects of other classes are left out.

    Attributes:
        class_names: As given.
        up_axis: The dataset's.
        labels: New label of every item.

    Raises:
        ValueError: `rename` names a class that the dataset lacks, two classes are the same, or no object would be left.
    """

    def __init__(
        self,
        dataset: LabelledDataset,
        class_names: Sequence[str],
        *,
        rename: Mapping[str, str] | None = None,
    ) -> None:
        self._dataset = dataset
        self.class_names = tuple(class_names)
        self.up_axis: UpAxis = dataset.up_axis
        position = {plain_name(name): number for number, name in enumerate(self.class_names)}
        if len(position) < len(self.class_names):
            twice = [name for number, name in enumerate(self.class_names) if position[plain_name(name)] != number]
            raise ValueError(f"class names must differ, got {twice[0]!r} twice")
        own = renamed(dataset.class_names, rename or {})
        new_label = [position.get(plain_name(name), UNKNOWN) for name in own]
        labels = [UNKNOWN if label == UNKNOWN else new_label[label] for label in map(int, dataset.labels)]
        self._rows = [row for row, label in enumerate(labels) if label != UNKNOWN]
        self.labels = [labels[row] for row in self._rows]
        if not self._rows:
            raise ValueError(
                f"at least one class of the data must be among the class names, got data of {_some(own)} "
                f"and the class names {_some(self.class_names)}"
            )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: ItemKey) -> Sample:
        index, epoch = split_key(key, len(self))
        sample = self._dataset[self._rows[index], epoch]
        sample["label"] = torch.tensor(self.labels[index])
        return sample


class Unlabelled(Dataset[Sample]):
    """A dataset of which only the possible classes are known.

    Args:
        dataset: The objects.
        class_names: The classes, in the order of the labels that models are to give.

    Attributes:
        class_names: As given.
        up_axis: The dataset's.
        labels: -1 for every item.
    """

    def __init__(self, dataset: LabelledDataset, class_names: Sequence[str]) -> None:
        self._dataset = dataset
        self.class_names = tuple(class_names)
        self.up_axis: UpAxis = dataset.up_axis
        self.labels = [UNKNOWN] * len(dataset)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, key: ItemKey) -> Sample:
        sample = self._dataset[key]
        sample["label"] = torch.tensor(UNKNOWN)
        return sample


class Rows(Dataset[Sample]):
    """Some of the objects of a dataset.

    Args:
        dataset: The objects.
        rows: Which of them, in order.
    """

    def __init__(self, dataset: LabelledDataset, rows: Sequence[int]) -> None:
        self._dataset = dataset
        self._rows = list(rows)
        self.class_names = tuple(dataset.class_names)
        self.up_axis: UpAxis = dataset.up_axis
        self.labels = [int(dataset.labels[row]) for row in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: ItemKey) -> Sample:
        index, epoch = split_key(key, len(self))
        return self._dataset[self._rows[index], epoch]


def held_out(labels: Sequence[int], share: float) -> tuple[list[int], list[int]]:
    """Rows to train on and rows to test on, the same in every run.

    Args:
        labels: Label of each row.
        share: Share of the rows of each class that are tested on, rounded down.

    Returns:
        (train, test), each in order.
    """
    rows_of: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        rows_of.setdefault(label, []).append(row)
    test: set[int] = set()
    for label, rows in rows_of.items():
        order = random_stream(0, len(rows_of), label + 1).permutation(len(rows))
        test |= {rows[place] for place in order[: int(share * len(rows))]}
    everything = range(len(labels))
    return [row for row in everything if row not in test], [row for row in everything if row in test]


def renamed(class_names: Sequence[str], rename: Mapping[str, str]) -> list[str]:
    """Class names, some of them replaced.

    Raises:
        ValueError: A name to be replaced is not there.
    """
    missing = [name for name in rename if name not in class_names]
    if missing:
        raise ValueError(
            f"only classes of the data can be renamed, got {missing[0]!r} and data of {_some(class_names)}"
        )
    return [rename.get(name, name) for name in class_names]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
