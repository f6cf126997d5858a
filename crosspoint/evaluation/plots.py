"""The figure of a run: loss curves and the held-out features in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from crosspoint.engine.atomic import replacing
from crosspoint.evaluation.features import Features

_CURVES = (("loss", "total"), ("intra", "between clouds"), ("cross", "cloud to image"))
_SMOOTHED_SPAN = 0.02  # of the run: width of the running mean drawn over the raw curve
_MARKERS = "osD^v<>PX*"
_MOST_IN_LEGEND = 40
_TSNE_COMPONENTS = 50  # principal components that t-SNE starts from, as its authors advise
_MOST_POINTS = 3000  # drawn; t-SNE's time and the eye's patience


def embed(values: np.ndarray[Any, np.dtype[np.float32]], method: Literal["pca", "tsne"]) -> np.ndarray[Any, Any]:
    """Features (M, C) in two dimensions, (M, 2); deterministic.

    Args:
        values: The features, at least one row.
        method: ``pca``: the two directions of largest variance. ``tsne``: neighbours stay together (van der Maaten and
            Hinton, JMLR 2008); with fewer than 4 rows it falls back on ``pca``.
    """
    rows = len(values)
    components = min(2 if method == "pca" or rows < 4 else _TSNE_COMPONENTS, *values.shape)
    reduced = PCA(components, random_state=0).fit_transform(values) if rows > 1 else np.zeros((1, components))
    if method == "tsne" and rows >= 4:
        reduced = TSNE(2, perplexity=min(30.0, (rows - 1) / 3), init="random", random_state=0).fit_transform(reduced)
    return np.pad(reduced, ((0, 0), (0, 2 - reduced.shape[1]))) if reduced.shape[1] < 2 else reduced


def draw_run(
    path: Path,
    records: Sequence[Mapping[str, Any]],
    features: Features | None,
    class_names: Sequence[str],
    *,
    method: Literal["pca", "tsne"],
    title: str,
) -> None:
    """Writes the figure of a run as a PNG, atomically.

    Args:
        path: Where to write.
        records: The run's log.
        features: Held-out features of the trained encoder; None draws the loss curves alone.
        class_names: Names of their classes.
        method: How to draw features of many dimensions in two.
        title: Heading of the features' panel.

    Raises:
        OSError: If the file cannot be written.
    """
    figure = Figure(figsize=(7 if features is None else 16, 6), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, 1 if features is None else 2, squeeze=False)[0])
    draw_losses(panels[0], records)
    if features is not None:
        draw_features(panels[1], features, class_names, method, title)
    with replacing(path, "the figure") as file:
        figure.savefig(file, format="png", dpi=110)


def draw_losses(axes: Axes, records: Sequence[Mapping[str, Any]]) -> None:
    """Draws the loss curves of a run's log, raw and smoothed."""
    steps = np.array([record["step"] for record in records])
    span = max(1, round(_SMOOTHED_SPAN * len(steps)))
    for number, (name, label) in enumerate(_CURVES):
        values = np.array([record[name] for record in records])
        axes.plot(steps, values, color=f"C{number}", alpha=0.3, linewidth=0.8)
        if len(steps) >= span:
            smooth = np.convolve(values, np.ones(span) / span, mode="valid")
            axes.plot(steps[span - 1 :], smooth, color=f"C{number}", label=label)
    axes.set(title="NT-Xent loss", xlabel="step", ylabel="loss (nats)")
    axes.grid(alpha=0.3)
    if len(steps):
        axes.legend()


def draw_features(
    axes: Axes, features: Features, class_names: Sequence[str], method: Literal["pca", "tsne"], title: str
) -> None:
    """Draws features in two dimensions, coloured by class."""
    shown = np.sort(np.random.default_rng(0).permutation(len(features.labels))[:_MOST_POINTS])
    positions, labels = embed(features.values[shown], method), features.labels[shown]
    colours = colormaps["tab20"]
    for label in np.unique(labels):
        chosen = positions[labels == label]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=14,
            color=colours(label % 20),
            marker=_MARKERS[label // 20 % len(_MARKERS)],
            label=class_names[label],
        )
    axes.set(title=f"{title} ({'t-SNE' if method == 'tsne' else 'PCA'})", xticks=[], yticks=[])
    if len(np.unique(labels)) <= _MOST_IN_LEGEND:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, ncols=1 + len(np.unique(labels)) // 26)
