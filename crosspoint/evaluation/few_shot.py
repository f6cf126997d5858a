"""Few-shot classification: a linear SVM on the features of a few clouds of a few classes, over many draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

from crosspoint.config.evaluate import FewShot
from crosspoint.evaluation.datasets import classified_splits
from crosspoint.evaluation.encoders import Contender, contenders, evaluation_device
from crosspoint.evaluation.extraction import split_features
from crosspoint.evaluation.features import Features
from crosspoint.evaluation.metrics import accuracy
from crosspoint.evaluation.results import percent, results_folder, write_results

NAME = "few-shot"
_OFFICIAL_K = 5  # default of the authors' evaluation script, which trains with 15


class Episode(NamedTuple):
    """One draw: rows of the support and the query clouds."""

    support: NDArray[np.int64]
    query: NDArray[np.int64]


def evaluate(task: FewShot, console: Console) -> None:
    """Runs the task: results and a table with all settings.

    Raises:
        OSError, ValueError: If checkpoint, data or folder are not usable, or a class has too few clouds.
    """
    folder, device = results_folder(task), evaluation_device(task)
    train, test = classified_splits(task.data)
    encoders = contenders(task)
    official = task.protocol == "official"
    queried = train if official else test
    drawn = {
        (way, shot): episodes(
            train.labels,
            queried.labels,
            way=way,
            shot=shot,
            queries=task.queries,
            runs=task.runs,
            seed=task.seed,
            same=official,
        )
        for way in task.ways
        for shot in task.shots
    }
    scores: dict[str, dict[str, Any]] = {}
    for one in encoders:
        if official:
            set_neighbors(one.encoder, _OFFICIAL_K)
        support, *rest = split_features(one, (train,) if official else (train, test), device, console)
        query = rest[0] if rest else support
        with console.status(f"few-shot: {one.label}"):
            scores[one.key] = {
                f"{way}-way {shot}-shot": few_shot_score(support, query, draws, task.c)
                for (way, shot), draws in drawn.items()
            }
    path = write_results(
        folder,
        NAME,
        task,
        device,
        {
            "queries_from": "train" if official else "test",
            "encoders": {one.key: {**one.summary, "settings": scores[one.key]} for one in encoders},
        },
    )
    console.print(_table(task, encoders, scores))
    if official:
        console.print(f"official protocol: queries from the training split too, k = {_OFFICIAL_K} whatever was trained")
    console.print(f"results: {path}")


def episodes(
    support_labels: NDArray[np.int64],
    query_labels: NDArray[np.int64],
    *,
    way: int,
    shot: int,
    queries: int,
    runs: int,
    seed: int,
    same: bool,
) -> list[Episode]:
    """Draws classes, and of each its support and query clouds, without repetition.

    Draw r of a setting follows from (seed, way, shot, r) alone, so every encoder is judged on the same ones.

    Args:
        support_labels: (M,) classes of the clouds that supports are drawn from.
        query_labels: (L,) classes of the clouds that queries are drawn from.
        way: Classes per draw.
        shot: Support clouds per class.
        queries: Query clouds per class.
        runs: Number of draws.
        seed: Seed of the draws.
        same: Whether both come from the same clouds; a draw's supports and queries are then disjoint.

    Raises:
        ValueError: If fewer than ``way`` classes have enough clouds for it.
    """
    available = np.bincount(support_labels)
    asked = np.bincount(query_labels, minlength=len(available))
    enough = (available >= shot + queries) if same else (available >= shot) & (asked[: len(available)] >= queries)
    classes = np.flatnonzero(enough)
    if len(classes) < way:
        raise ValueError(
            f"a {way}-way {shot}-shot draw with {queries} queries needs {way} classes with enough clouds, "
            f"got {len(classes)}"
        )
    draws = []
    for run in range(runs):
        rng = np.random.default_rng([seed, way, shot, run])
        support, query = [], []
        for label in rng.choice(classes, way, replace=False):
            rows = rng.permutation(np.flatnonzero(support_labels == label))
            support.append(rows[:shot])
            rest = rows[shot:] if same else rng.permutation(np.flatnonzero(query_labels == label))
            query.append(rest[:queries])
        draws.append(Episode(np.concatenate(support), np.concatenate(query)))
    return draws


def few_shot_score(support: Features, query: Features, draws: Sequence[Episode], c: float) -> dict[str, Any]:
    """Mean and standard deviation (of the population, as numpy's) of the accuracy over draws.

    Features are standardised by the mean and deviation of the supports of each draw.

    Args:
        support: Features that the supports' rows point into.
        query: Features that the queries' rows point into.
        draws: The draws.
        c: The SVM's C.

    Returns:
        ``mean``, ``deviation`` and ``accuracies`` (one per draw).
    """
    accuracies = []
    for draw in draws:
        fitted, asked = support.rows(draw.support), query.rows(draw.query)
        scaler = StandardScaler().fit(fitted.values)
        svm = SVC(kernel="linear", C=c).fit(scaler.transform(fitted.values), fitted.labels)
        accuracies.append(accuracy(svm.predict(scaler.transform(asked.values)), asked.labels))
    return {"mean": float(np.mean(accuracies)), "deviation": float(np.std(accuracies)), "accuracies": accuracies}


def set_neighbors(encoder: nn.Module, k: int) -> None:
    """Gives every graph layer of an encoder another number of neighbours."""
    for module in encoder.modules():
        if isinstance(getattr(module, "k", None), int):
            module.k = k  # type: ignore[assignment]


def _table(task: FewShot, encoders: Sequence[Contender], scores: dict[str, dict[str, Any]]) -> Table:
    table = Table(title=f"few-shot on {task.data.dataset}: mean ± standard deviation of {task.runs} draws")
    table.add_column("encoder")
    for setting in next(iter(scores.values())):
        table.add_column(setting, justify="right")
    for one in encoders:
        cells = (f"{100 * score['mean']:.1f} ± {percent(score['deviation'])}" for score in scores[one.key].values())
        table.add_row(one.label, *cells)
    return table
