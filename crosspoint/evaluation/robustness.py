"""Robustness: an SVM fitted on clean clouds, tested on clouds that are changed more and more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from crosspoint.config.evaluate import Robustness
from crosspoint.evaluation.corruptions import CORRUPTIONS, STRENGTHS, UNITS, corruption
from crosspoint.evaluation.datasets import Chosen, classified_splits
from crosspoint.evaluation.encoders import Contender, contenders, evaluation_device
from crosspoint.evaluation.extraction import changed_features, split_features
from crosspoint.evaluation.figures import write_robustness
from crosspoint.evaluation.metrics import accuracy
from crosspoint.evaluation.results import entry_name, percent, results_folder, write_results
from crosspoint.evaluation.svm import LinearSvms, choose_c

NAME = "robustness"


def evaluate(task: Robustness, console: Console) -> None:
    """Runs the task: results, a figure and a table.

    Raises:
        OSError, ValueError: If checkpoint, data or folder are not usable.
    """
    folder, device = results_folder(task), evaluation_device(task)
    train, test = classified_splits(task.data)
    encoders = contenders(task)
    scores = {one.key: _scores(one, train, test, task, device, console) for one in encoders}
    figure = write_robustness(
        folder / f"{NAME}-{entry_name(task)}.png",
        {one.label: scores[one.key]["accuracies"] for one in encoders},
        {kind: parameters for kind, (_, parameters) in CORRUPTIONS.items()},
        UNITS,
    )
    content = {
        "test_clouds": len(test),
        "parameters": {kind: list(parameters) for kind, (_, parameters) in CORRUPTIONS.items()},
        "encoders": {one.key: {**one.summary, **scores[one.key]} for one in encoders},
        "figures": {"robustness": figure.name},
    }
    path = write_results(folder, NAME, task, device, content)
    console.print(_table(task, encoders, scores, len(test)))
    console.print(f"results and figure: {path.parent}")


def _scores(
    one: Contender, train: Chosen, test: Chosen, task: Robustness, device: torch.device, console: Console
) -> dict[str, Any]:
    fitted, clean = split_features(one, (train, test), device, console)
    c = choose_c(fitted, task.choices).c
    svm = LinearSvms(fitted, [c])
    unchanged = accuracy(svm.predict(clean)[c], clean.labels)
    accuracies = {}
    for kind in CORRUPTIONS:
        changes = [corruption(kind, strength, task.seed) for strength in range(1, STRENGTHS + 1)]
        changed = changed_features(one, test, device, changes, console, what=kind)
        accuracies[kind] = [unchanged, *(accuracy(svm.predict(each)[c], each.labels) for each in changed)]
    mean = float(np.mean([values[1:] for values in accuracies.values()]))
    return {"c": c, "clean": unchanged, "mean_changed": mean, "accuracies": accuracies}


def _table(task: Robustness, encoders: Sequence[Contender], scores: dict[str, dict[str, Any]], clouds: int) -> Table:
    table = Table(
        title=f"accuracy on {clouds} changed test clouds of {task.data.dataset} by strength, SVM fitted on clean ones"
    )
    table.add_column("change")
    table.add_column("encoder")
    table.add_column("clean", justify="right")
    for strength in range(1, STRENGTHS + 1):
        table.add_column(str(strength), justify="right")
    for kind in CORRUPTIONS:
        for one in encoders:
            cells = map(percent, scores[one.key]["accuracies"][kind])
            table.add_row(kind, one.label, *cells, end_section=one is encoders[-1])
    return table
