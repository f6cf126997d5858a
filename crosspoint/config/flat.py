"""Settings of a run as plain values, as they are written beside and into its checkpoints, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crosspoint.config.pretrain import Config, ModelConfig

# What may differ between a checkpoint and the run that continues it: it changes where things lie and what is
# reported, never the weights.
_FREE_ON_RESUME = (
    "data.root",
    "data.images",
    "data.workers",
    "data.cache_megabytes",
    "probe.",
    "output.",
    "device",
    "resume",
    "traceback",
    "method.labels.patience",
)


def flatten(config: object) -> dict[str, Any]:
    """Settings (a dataclass) as ``{"data.num_points": 256, ...}``, plain values: paths as strings, tuples as lists."""

    def walk(value: object, name: str) -> Iterator[tuple[str, Any]]:
        if dataclasses.is_dataclass(value):
            for entry in dataclasses.fields(value):
                yield from walk(getattr(value, entry.name), f"{name}.{entry.name}" if name else entry.name)
        elif isinstance(value, Path):
            yield name, str(value)
        elif isinstance(value, tuple):
            yield name, list(value)
        else:
            yield name, value

    return dict(walk(config, ""))


def differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> list[str]:
    """Names of the settings that decide the weights and differ between two flattened configurations.

    A setting that one of them lacks, as older checkpoints do, counts as its default; without ``defaults`` those of
    CrossPoint's settings are meant.
    """
    known = flatten(Config()) if defaults is None else defaults
    absent = object()

    def value(settings: Mapping[str, Any], name: str) -> Any:
        return settings[name] if name in settings else known.get(name, absent)

    return [
        name
        for name in sorted(ours.keys() | theirs.keys())
        if not name.startswith(_FREE_ON_RESUME) and value(ours, name) != value(theirs, name)
    ]


def model_config(flat: Mapping[str, Any], source: Path) -> ModelConfig:
    """The model settings among the flattened settings of a run.

    Settings that did not exist when the run was made have their defaults.

    Args:
        flat: The run's settings.
        source: Where they come from, for the message.

    Raises:
        ValueError: If there is a setting that this version does not know.
    """
    given: dict[str, Any] = {
        name.removeprefix("model."): value for name, value in flat.items() if name.startswith("model.")
    }
    known = {entry.name for entry in dataclasses.fields(ModelConfig)}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise ValueError(f"{source} must have model settings of this version, got unknown {', '.join(unknown)}")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return ModelConfig(**values)
