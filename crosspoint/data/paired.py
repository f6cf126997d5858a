"""What pairs of clouds and pictures look like to those who train on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from crosspoint.data.keys import ItemKey
from crosspoint.data.sample import Sample, UpAxis


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
