"""From the settings of pairs to the datasets they name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from crosspoint.data.classes import UnderClasses, renamed
from crosspoint.data.paired import LabelledDataset
from crosspoint.data.shapes import DomainShift, PairedShapes, ShiftedShapes
from crosspoint.selftraining.data_config import PairDataConfig

# The test objects do not follow the run's seed: runs with different seeds are judged on the same objects.
_TEST_SEED = 0


class Pairs(NamedTuple):
    """Objects to train on and objects to test on."""

    train: LabelledDataset
    """Items have points, image (one view by (index, epoch)) and label; the label is for diagnostics, -1 if unknown."""
    test: LabelledDataset | None
    """Items have views as well, all of them in order; None where there is nothing to test on."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, indexed by label."""
        return tuple(self.train.class_names)


def pair_datasets(data: PairDataConfig, seed: int, class_names: Sequence[str] | None = None) -> Pairs:
    """The pairs that the settings name.

    Args:
        data: The settings.
        seed: Seed of the run: of procedural objects to train on, and of all draws.
        class_names: The classes, in the order of the labels; what belongs to none of them is left out. None: those of
            the data, renamed as the settings say.

    Raises:
        FileNotFoundError: Files are missing.
        ValueError: Files cannot be read, or the data have none of the classes.
    """
    pairs = _SOURCES[data.dataset](data, seed)
    return under_classes(pairs, data, class_names)


def under_classes(pairs: Pairs, data: PairDataConfig, class_names: Sequence[str] | None) -> Pairs:
    """Pairs whose labels are positions in a list of classes; None: in that of the data, renamed."""
    if class_names is None:
        if not data.rename:
            return pairs
        class_names = list(dict.fromkeys(renamed(pairs.train.class_names, data.renamed)))
    train, test = (None if part is None else UnderClasses(part, class_names, rename=data.renamed) for part in pairs)
    assert train is not None
    return Pairs(train, test)


def _procedural(data: PairDataConfig, seed: int) -> Pairs:
    def split(name: Literal["train", "test"], per_class: int, own_seed: int) -> PairedShapes:
        options: dict[str, Any] = {
            "per_class": per_class,
            "num_points": data.num_points,
            "num_views": data.views,
            "image_size": data.image_size,
            "all_views": name == "test",
            "seed": own_seed,
            "cache_megabytes": data.cache_megabytes,
        }
        if data.dataset == "shapes":
            return PairedShapes(name, **options)
        return ShiftedShapes(name, shift=DomainShift(severity=data.severity), **options)

    return Pairs(split("train", data.per_class, seed), split("test", data.test_per_class, _TEST_SEED))


_SOURCES = {"shapes": _procedural, "shapes_shifted": _procedural}
