"""Charts that the page draws itself, from a run's log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from crosspoint.engine.atomic import replacing
from crosspoint.evaluation.plots import draw_losses

_SIZE = (6.5, 3.8)
_DPI = 150


def write_losses(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """The loss curves of a pre-training."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    draw_losses(figure.subplots(), records)
    return _save(figure, path)


def write_throughput(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """Objects per second over the steps of a pre-training, and their median."""
    speeds = np.array([record["objects_per_second"] for record in records])
    figure = Figure(figsize=(_SIZE[0], 2.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([record["step"] for record in records], speeds, ".", markersize=3, alpha=0.6)
    axes.axhline(float(np.median(speeds)), color="C1", label=f"median {np.median(speeds):.1f}")
    axes.set(title="throughput", xlabel="step", ylabel="objects per second", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, "a chart") as file:
        figure.savefig(file, format="png", dpi=_DPI)
    return path
