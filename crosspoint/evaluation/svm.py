"""The linear SVM: how well it separates classes in the features of a frozen encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from crosspoint.evaluation.features import Features

MOST_FOR_CHOICE = 2000
"""Choosing C needs no more clouds than this, and the SVM's time grows with their square."""
_HELD_BACK = 0.25  # of the clouds that choose C


@dataclass(frozen=True)
class ProbeResult:
    """Outcome of a linear probe."""

    accuracy: float
    """Share of the test clouds classified rightly, 0 to 1."""
    c: float
    """The SVM's C."""


class LinearSvms:
    """Linear SVMs (one against one, as in the authors' evaluation), one for each of several values of C.

    The inner products are computed once for all of them; the predictions are those of ``SVC(kernel="linear")``.
    Deterministic.

    Args:
        train: Features to fit on.
        c: Values of C, each above 0.

    Raises:
        ValueError: If the features are not finite, or have fewer than two classes.
    """

    def __init__(self, train: Features, c: Iterable[float]) -> None:
        _require_finite("training", train)
        if len(np.unique(train.labels)) < 2:
            raise ValueError(f"a linear probe needs at least 2 classes, got {len(np.unique(train.labels))}")
        self._known = train.values.astype(np.float64)
        products = self._known @ self._known.T
        self._svms = {value: SVC(kernel="precomputed", C=value).fit(products, train.labels) for value in c}

    def predict(self, test: Features) -> dict[float, NDArray[np.int64]]:
        """(M,) classes of the test clouds for each value of C.

        Raises:
            ValueError: If the features are not finite.
        """
        _require_finite("test", test)
        products = test.values.astype(np.float64) @ self._known.T
        return {value: svm.predict(products) for value, svm in self._svms.items()}


def _require_finite(name: str, features: Features) -> None:
    if not np.isfinite(features.values).all():
        raise ValueError(f"features of the {name} split must be finite, got NaN or infinity")


def linear_probe(train: Features, test: Features, c: Sequence[float]) -> ProbeResult:
    """Fits a linear SVM on one split and scores it on the other.

    With several values of C, the best on a held-back part of the training split is taken (the smaller one in a tie), so
    the test split never takes part in the choice; the SVM is then fitted on the whole training split. Deterministic.

    Args:
        train: Features to fit on.
        test: Features to score on.
        c: Values of C to try, each above 0.

    Raises:
        ValueError: As for :class:`LinearSvms`.
    """
    chosen = c[0] if len(c) == 1 else choose_c(train, c).c
    predicted = LinearSvms(train, [chosen]).predict(test)[chosen]
    return ProbeResult(float(np.mean(predicted == test.labels)), chosen)


def choose_c(train: Features, c: Sequence[float]) -> ProbeResult:
    """The value of C that does best on a held-back part of the training split, and its accuracy there.

    Args:
        train: The training split; no more than 2,000 of its clouds are used.
        c: Values of C to try; of equally good ones the smallest is taken.

    Raises:
        ValueError: As for :class:`LinearSvms`.
    """
    fitted, held_back = held_back_split(train.labels)
    held = train.rows(held_back)
    predictions = LinearSvms(train.rows(fitted), sorted(c)).predict(held)
    scores = {value: float(np.mean(predicted == held.labels)) for value, predicted in predictions.items()}
    best = max(scores, key=lambda value: (scores[value], -value))
    return ProbeResult(scores[best], best)


def held_back_split(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to fit on and rows held back (a quarter), disjoint, the same for the same labels.

    Classes keep their shares where every class can be on both sides. At most 2,000 rows are used.
    """
    rows = np.arange(len(labels))
    if len(labels) > MOST_FOR_CHOICE:
        rows, _ = train_test_split(rows, train_size=MOST_FOR_CHOICE, random_state=0)
    # A class with a single cloud cannot be on both sides of a stratified split.
    classes, counts = np.unique(labels[rows], return_counts=True)
    room = int(np.ceil(_HELD_BACK * len(rows))) >= len(classes)
    stratify = labels[rows] if counts.min() >= 2 and room else None
    fitted, held_back = train_test_split(rows, test_size=_HELD_BACK, random_state=0, stratify=stratify)
    return fitted, held_back
