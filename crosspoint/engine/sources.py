"""From the settings to the datasets they name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crosspoint.config import Config
from crosspoint.data.keys import ItemKey
from crosspoint.data.modelnet40 import ModelNet40
from crosspoint.data.sample import Sample, UpAxis
from crosspoint.data.shapenet_render import ShapeNetRender
from crosspoint.data.shapes import Shapes

# The probe's objects do not follow the run's seed: runs with different seeds are judged on the same objects.
_PROBE_SEED = 0


class CloudDataset(Protocol):
    """What a run needs of a dataset."""

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, indexed by label."""

    @property
    def up_axis(self) -> UpAxis:
        """The clouds' vertical axis."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: ItemKey) -> Sample: ...


def pretraining_dataset(config: Config) -> CloudDataset:
    """The objects to pre-train on; their labels are not used.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they cannot be read.
    """
    data = config.data
    if data.dataset == "shapes":
        return Shapes("train", per_class=data.per_class, num_points=data.num_points, seed=config.seed)
    assert data.root is not None  # the configuration checks it
    if data.dataset == "shapenet_render":
        return ShapeNetRender(
            data.root,
            num_points=data.num_points,
            image_size=data.image_size,
            seed=config.seed,
            up_axis=data.up_axis,
        )
    return ModelNet40(data.root, "train", data.num_points, config.seed, "random", up_axis=data.up_axis)


def probe_datasets(config: Config) -> tuple[CloudDataset, CloudDataset] | None:
    """Training and test split of the linear probe, or None where it is left out.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they cannot be read.
    """
    probe = config.probe
    if probe.dataset == "none":
        return None
    if probe.dataset == "shapes":
        return (
            Shapes("train", per_class=probe.per_class, num_points=probe.num_points, seed=_PROBE_SEED),
            Shapes("test", per_class=probe.per_class, num_points=probe.num_points, seed=_PROBE_SEED),
        )
    assert probe.root is not None
    return (
        ModelNet40(probe.root, "train", probe.num_points, _PROBE_SEED, up_axis=probe.up_axis),
        ModelNet40(probe.root, "test", probe.num_points, _PROBE_SEED, up_axis=probe.up_axis),
    )


def axis_shift(given: UpAxis, wanted: UpAxis) -> int:
    """By how much to roll the coordinates of clouds whose vertical axis is one to make it the other.

    Rolling is a rotation, so nothing is mirrored.
    """
    return "xyz".index(wanted) - "xyz".index(given)
