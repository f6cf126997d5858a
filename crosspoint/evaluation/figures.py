"""Figures of the evaluations, as PNGs that stay legible on a phone. All are written atomically."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from crosspoint.engine.atomic import replacing
from crosspoint.evaluation.features import Features
from crosspoint.evaluation.plots import draw_features

_DPI = 150
_WIDTH = 6.5  # inches
_HIT, _MISS = "#1a7f37", "#cf222e"
_POINT_SIZE = 5
_VIEW = (22.0, 35.0)  # elevation and azimuth of clouds, degrees
_MOST_POINTS = 1024  # drawn of a cloud


def write_embedding(path: Path, features: Features, class_names: Sequence[str], *, title: str) -> Path:
    """Features in two dimensions by t-SNE, coloured by class."""
    figure = Figure(figsize=(_WIDTH + 2.5, _WIDTH), layout="constrained")
    draw_features(figure.subplots(), features, class_names, "tsne", title)
    return _save(figure, path)


def write_confusion(path: Path, counts: NDArray[np.int64], class_names: Sequence[str], *, title: str) -> Path:
    """Confusion matrix: each row the shares of what clouds of one class were taken for."""
    seen = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    shares = counts[np.ix_(seen, seen)] / np.maximum(counts[np.ix_(seen, seen)].sum(axis=1, keepdims=True), 1)
    names = [class_names[label] for label in seen.tolist()]
    size = max(5.0, 0.21 * len(seen) + 1.5)
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(seen)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(seen)), names, fontsize=7)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
    return _save(figure, path)


def write_robustness(
    path: Path,
    accuracies: Mapping[str, Mapping[str, Sequence[float]]],
    parameters: Mapping[str, Sequence[float]],
    units: Mapping[str, str],
) -> Path:
    """Accuracy over strength, a panel for each kind of change.

    Args:
        path: Where to write.
        accuracies: For each encoder and kind, the accuracy at strengths 0 (clean), 1, ...
        parameters: For each kind, what the strengths from 1 on mean.
        units: For each kind, what its parameter is.
    """
    columns = 2
    rows = -(-len(parameters) // columns)
    figure = Figure(figsize=(_WIDTH, 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, (kind, values) in zip(panels, parameters.items(), strict=False):
        for number, (label, scores) in enumerate(accuracies.items()):
            axes.plot(range(len(scores[kind])), 100 * np.array(scores[kind]), "o-", color=f"C{number}", label=label)
        axes.set_xticks(range(len(values) + 1), ["clean", *(f"{value:g}" for value in values)], fontsize=8)
        axes.set_title(f"{kind} ({units[kind]})", fontsize=10)
        axes.set_ylim(0, 100)
        axes.grid(alpha=0.3)
    for row in range(rows):
        panels[row * columns].set_ylabel("accuracy (%)")
    for axes in panels[len(parameters) :]:
        axes.axis("off")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=1, frameon=False, fontsize=9)
    return _save(figure, path)


def write_retrieval(
    path: Path,
    images: NDArray[np.uint8],
    clouds: Sequence[NDArray[np.float32]],
    image_to_cloud: Sequence[tuple[int, Sequence[int]]],
    cloud_to_image: Sequence[tuple[int, Sequence[int]]],
    *,
    up_axis: str,
) -> Path:
    """Queries and their nearest neighbours; the object itself is framed in green, others in red.

    Args:
        path: Where to write.
        images: (M, H, W, 3) pictures of the gallery.
        clouds: M clouds (N, 3) of the same objects.
        image_to_cloud: Queries and their hits, best first, as numbers of objects.
        cloud_to_image: The same the other way.
        up_axis: Vertical axis of the clouds.
    """
    columns = 1 + max(len(hits) for _, hits in [*image_to_cloud, *cloud_to_image])
    rows = len(image_to_cloud) + len(cloud_to_image)
    figure = Figure(figsize=(1.25 * columns, 1.25 * rows + 1.0), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=[len(image_to_cloud), len(cloud_to_image)])
    kinds = (("image to cloud", image_to_cloud, False), ("cloud to image", cloud_to_image, True))
    for half, (title, queries, cloud_first) in zip(halves, kinds, strict=True):
        half.suptitle(f"{title}: query left, nearest first", fontsize=10)
        for row, (query, hits) in enumerate(queries):
            for column, (number, is_cloud) in enumerate(
                [(query, cloud_first), *((hit, not cloud_first) for hit in hits)]
            ):
                position = (len(queries), columns, row * columns + column + 1)
                axes = half.add_subplot(*position)
                if is_cloud:
                    _draw_cloud(axes, clouds[number], up_axis)
                else:
                    axes.imshow(images[number])
                axes.set(xticks=[], yticks=[])
                for spine in axes.spines.values():
                    spine.set(visible=column > 0, color=_HIT if number == query else _MISS, linewidth=2.5)
    return _save(figure, path)


def write_segmentation(
    path: Path,
    clouds: Sequence[NDArray[np.float32]],
    rows: Mapping[str, Sequence[NDArray[np.int64]]],
    titles: Sequence[str],
    *,
    up_axis: str,
) -> Path:
    """Clouds coloured by part, a row for the truth and for each network.

    Args:
        path: Where to write.
        clouds: M clouds (N, 3).
        rows: For each row its part numbers, M arrays (N,); numbers count within the cloud's category.
        titles: M titles.
        up_axis: Vertical axis of the clouds.
    """
    figure = Figure(figsize=(1.6 * len(clouds), 1.7 * len(rows) + 0.3), layout="constrained")
    for row, (name, parts) in enumerate(rows.items()):
        for column, cloud in enumerate(clouds):
            axes = figure.add_subplot(len(rows), len(clouds), row * len(clouds) + column + 1)
            _draw_cloud(axes, cloud, up_axis, [f"C{part % 10}" for part in parts[column]])
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if row == 0:
                axes.set_title(titles[column], fontsize=9)
            if column == 0:
                axes.set_ylabel(name, fontsize=9)
    return _save(figure, path)


def _draw_cloud(axes: Axes, points: NDArray[np.float32], up_axis: str, colours: Sequence[str] | None = None) -> None:
    """Draws a cloud in parallel projection, near points over far ones; coloured by depth unless colours are given."""
    upright = np.roll(points[:_MOST_POINTS], 1 - "xyz".index(up_axis), axis=1)  # y up
    elevation, azimuth = np.deg2rad(_VIEW)
    right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    towards = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    depth = upright @ towards
    order = np.argsort(depth)
    across, along = (upright[order] @ right), (upright[order] @ np.cross(towards, right))
    if colours is None:
        axes.scatter(across, along, s=_POINT_SIZE, c=depth[order], cmap="viridis", linewidths=0)
    else:
        axes.scatter(across, along, s=_POINT_SIZE, c=[colours[index] for index in order], linewidths=0)
    reach = 1.05 * float(np.linalg.norm(upright, axis=1).max()) or 1.0
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")


def _save(figure: Figure, path: Path) -> Path:
    with replacing(path, "a figure") as file:
        figure.savefig(file, format="png", dpi=_DPI)
    return path
