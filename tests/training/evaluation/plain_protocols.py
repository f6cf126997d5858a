"""The same protocols once more, written down plainly and independently: no scikit-learn, no vectorising."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def binary_svm(
    products: NDArray[np.float64], signs: NDArray[np.float64], c: float
) -> tuple[NDArray[np.float64], float]:
    """Dual of the soft-margin SVM by sequential minimal optimisation, the worst pair first (Keerthi et al. 2001).

    Returns alpha * sign and the offset: a cloud is positive if products with the rest @ coefficients + offset > 0.
    """
    alpha = np.zeros(len(signs))
    for _ in range(100_000):
        gradient = signs - products @ (alpha * signs)
        up = ((signs > 0) & (alpha < c)) | ((signs < 0) & (alpha > 0))
        down = ((signs > 0) & (alpha > 0)) | ((signs < 0) & (alpha < c))
        i = int(np.argmax(np.where(up, gradient, -np.inf)))
        j = int(np.argmin(np.where(down, gradient, np.inf)))
        if gradient[i] - gradient[j] < 1e-6:
            break
        curvature = max(products[i, i] + products[j, j] - 2 * products[i, j], 1e-12)
        step = (gradient[i] - gradient[j]) / curvature
        step = min(step, c - alpha[i] if signs[i] > 0 else alpha[i], alpha[j] if signs[j] > 0 else c - alpha[j])
        alpha[i] += signs[i] * step
        alpha[j] -= signs[j] * step
    return alpha * signs, (gradient[i] + gradient[j]) / 2


def svm_classes(
    train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32], c: float
) -> NDArray[np.int64]:
    """One against one: every pair of classes votes; of classes with equally many votes the first wins."""
    classes = sorted(set(labels.tolist()))
    votes = np.zeros((len(test), len(classes)))
    for one, other in itertools.combinations(range(len(classes)), 2):
        rows = [row for row, label in enumerate(labels) if label in (classes[one], classes[other])]
        known = train[rows].astype(np.float64)
        signs = np.array([1.0 if labels[row] == classes[one] else -1.0 for row in rows])
        coefficients, offset = binary_svm(known @ known.T, signs, c)
        for row, cloud in enumerate(test.astype(np.float64)):
            votes[row, one if known @ cloud @ coefficients + offset > 0 else other] += 1
    return np.array([classes[int(np.argmax(row))] for row in votes])


def few_shot_accuracies(
    support: tuple[NDArray[np.float32], NDArray[np.int64]],
    query: tuple[NDArray[np.float32], NDArray[np.int64]],
    draws: Sequence[tuple[Sequence[int], Sequence[int]]],
    c: float,
) -> list[float]:
    """Standardise by the supports, fit, score, draw by draw."""
    accuracies = []
    for support_rows, query_rows in draws:
        fitted = support[0][list(support_rows)].astype(np.float64)
        mean = fitted.mean(axis=0)
        deviation = np.sqrt(((fitted - mean) ** 2).mean(axis=0))
        deviation[deviation == 0] = 1.0
        asked = (query[0][list(query_rows)].astype(np.float64) - mean) / deviation
        predicted = svm_classes((fitted - mean) / deviation, support[1][list(support_rows)], asked, c)
        accuracies.append(sum(predicted == query[1][list(query_rows)]) / len(query_rows))
    return accuracies


def miou(
    predicted: Sequence[Sequence[int]],
    true: Sequence[Sequence[int]],
    labels: Sequence[int],
    parts: Sequence[Sequence[int]],
) -> tuple[float, dict[int, float]]:
    """Instance mean IoU and that of each category, point by point with sets."""
    of_category: dict[int, list[float]] = {}
    for guess, truth, label in zip(predicted, true, labels, strict=True):
        scores = []
        for part in parts[label]:
            guessed = {point for point, value in enumerate(guess) if value == part}
            meant = {point for point, value in enumerate(truth) if value == part}
            scores.append(1.0 if not guessed | meant else len(guessed & meant) / len(guessed | meant))
        of_category.setdefault(label, []).append(sum(scores) / len(scores))
    every = [score for scores in of_category.values() for score in scores]
    return sum(every) / len(every), {label: sum(scores) / len(scores) for label, scores in of_category.items()}
