"""Rules that settings are checked by, and the types that several of them share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import tyro

ScanObjectNNVariant = Literal["obj_bg", "obj_only", "pb_t50_rs"]
Device = Literal["auto", "cpu", "cuda"]
Axis = Literal["x", "y", "z"]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]  # on the command line: --name alone, without a --no-name


def require(condition: bool, rule: str, value: object) -> None:
    """Raises ValueError with the rule and the value, unless the condition holds."""
    if not condition:
        raise ValueError(f"{rule}, got {value}")


def require_at_least(name: str, value: int, low: int) -> None:
    """Raises ValueError if a setting is too small."""
    require(value >= low, f"{name} must be at least {low}", value)


def require_non_negative(name: str, value: float) -> None:
    """Raises ValueError if a setting is negative or not finite."""
    require(math.isfinite(value) and value >= 0, f"{name} must be a finite number of at least 0", value)


def require_positive(name: str, value: float) -> None:
    """Raises ValueError if a setting is not above 0 or not finite."""
    require(math.isfinite(value) and value > 0, f"{name} must be a finite number above 0", value)


def require_share(name: str, value: float) -> None:
    """Raises ValueError if a setting is not in [0, 1]."""
    require(0 <= value <= 1, f"{name} must lie in [0, 1]", value)


def require_factors(name: str, value: tuple[float, float]) -> None:
    """Raises ValueError if a setting is not a range of factors."""
    require(0 < value[0] <= value[1], f"{name} must be a range above 0", value)


def require_source(name: str, dataset: str, root: Path | None, up_axis: Axis) -> None:
    """Raises ValueError if a dataset on disk has no folder, or the procedural one has a folder or another axis."""
    on_disk = dataset not in ("shapes", "none")
    if on_disk and root is None:
        raise ValueError(f"{name}.root must name the folder of {name}.dataset={dataset}, got None")
    if not on_disk and root is not None:
        raise ValueError(f"{name}.root must be left out when {name}.dataset={dataset} reads no files, got {root}")
    if dataset == "shapes" and up_axis != "y":
        raise ValueError(f"{name}.up_axis must be y when {name}.dataset=shapes, got {up_axis}")
