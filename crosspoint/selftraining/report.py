"""What a self-training says about itself: accuracies, its labels over time, confusion, pictures of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from crosspoint.data.datasets.paired import LabelledDataset
from crosspoint.data.labelled import axis_shift
from crosspoint.data.sample import UpAxis
from crosspoint.engine.atomic import replacing
from crosspoint.engine.log import LOG_NAME, read_log
from crosspoint.evaluation.figures import write_confusion
from crosspoint.evaluation.results import percent
from crosspoint.evaluation.zero_shot import probabilities, scores
from crosspoint.models.aligned import AlignedModel
from crosspoint.selftraining.step import SHARES

BRANCHES = ("image", "cloud", "joint")
"""What accuracies are of: the image branch (mean over the views), the cloud branch, the mean of both."""

LABELS_FIGURE = "labels.png"


def accuracies(model: AlignedModel, test: LabelledDataset, up_axis: UpAxis, device: torch.device) -> dict[str, Any]:
    """Accuracy and confusion of each of `BRANCHES` on a test split.

    Args:
        model: With its classifier, on the device.
        test: Labelled objects with views.
        up_axis: Vertical axis that the model knows.
        device: Where to compute.
    """
    return scores(probabilities(model, test, device, shift=axis_shift(test.up_axis, up_axis)))


def labels_over_time(directory: Path) -> list[dict[str, float]]:
    """For each epoch of a run, the shares of its labels, means over the steps that were logged.

    Returns:
        ``epoch`` (from 1), the shares of :class:`crosspoint.selftraining.step.Shares`, and ``accuracy`` of the labels
        that count, 0 where none did.
    """
    epochs: dict[int, list[Mapping[str, float]]] = {}
    for record in read_log(directory / LOG_NAME):
        epochs.setdefault(int(record["epoch"]), []).append(record)
    result = []
    for epoch, records in sorted(epochs.items()):
        means = {name: float(np.mean([record[name] for record in records])) for name in SHARES}
        accuracy = means["correct"] / means["confident"] if means["confident"] else 0.0
        result.append({"epoch": epoch + 1, **means, "accuracy": accuracy})
    return result


def draw_labels(path: Path, epochs: Sequence[Mapping[str, float]], *, truth: bool) -> None:
    """Draws the share and the accuracy of confident labels over the epochs.

    Args:
        path: Where to write a PNG.
        epochs: From `labels_over_time`.
        truth: Whether true classes are known, so that there are accuracies to draw.

    Raises:
        OSError: If the file cannot be written.
    """
    curves = {"confident": "labels that count"}
    if truth:
        curves |= {
            "accuracy": "of these, right",
            "image_correct": "teacher's image branch right, of all",
            "cloud_correct": "teacher's cloud branch right, of all",
        }
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    for name, label in curves.items():
        axes.plot([one["epoch"] for one in epochs], [100 * one[name] for one in epochs], label=label)
    axes.set(xlabel="epoch", ylabel="share (%)", ylim=(0, 100), title="pseudo-labels")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with replacing(path, "a figure") as file:
        figure.savefig(file, format="png", dpi=150)


def draw_confusions(directory: Path, found: Mapping[str, Any], names: Sequence[str], *, title: str) -> None:
    """Draws the confusion matrix of each of `BRANCHES` into a folder.

    Raises:
        OSError: If a file cannot be written.
    """
    for branch in BRANCHES:
        counts = np.asarray(found[branch]["confusion"], dtype=np.int64)
        heading = f"{title}, {branch}: {percent(found[branch]['top1'])}"
        write_confusion(directory / f"confusion-{branch}.png", counts, names, title=heading)
