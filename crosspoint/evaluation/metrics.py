"""Scores: accuracy and confusion, mean IoU of parts, recall of retrieval. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def accuracy(predicted: Integers, true: Integers) -> float:
    """Share of equal entries of two arrays of one shape, 0 to 1.

    Raises:
        ValueError: If the shapes differ or there is nothing to compare.
    """
    if predicted.shape != true.shape or not predicted.size:
        raise ValueError(
            f"predictions and truth must be non-empty and of one shape, got {predicted.shape} and {true.shape}"
        )
    return float(np.mean(predicted == true))


def confusion(predicted: Integers, true: Integers, classes: int) -> Integers:
    """(classes, classes) counts: row the true class, column the predicted one."""
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def shape_iou(predicted: Integers, true: Integers, parts: Sequence[int]) -> float:
    """Mean IoU of one object over the parts of its category.

    A part that is neither there nor predicted counts 1, as in the evaluation of ShapeNetPart (Yi et al., SIGGRAPH Asia
    2016; the rule is that of PointNet's and DGCNN's code).

    Args:
        predicted: (N,) part ids.
        true: (N,) part ids.
        parts: Ids of the parts of the object's category.

    Raises:
        ValueError: If there are no parts or the shapes differ.
    """
    if not parts or predicted.shape != true.shape:
        raise ValueError(
            f"an object needs at least 1 part and as many predictions as points, "
            f"got {len(parts)} parts, {predicted.shape} and {true.shape}"
        )
    scores = []
    for part in parts:
        here, there = predicted == part, true == part
        union = int(np.count_nonzero(here | there))
        scores.append(np.count_nonzero(here & there) / union if union else 1.0)
    return float(np.mean(scores))


@dataclass(frozen=True)
class PartScores:
    """Mean IoU of a split, each value 0 to 1."""

    instance: float
    """Mean over objects."""
    category: float
    """Mean over categories of the means over their objects; categories without objects are left out."""
    categories: Mapping[int, float]
    """Mean over the objects of each category that has some."""


def part_scores(
    predicted: Sequence[Integers], true: Sequence[Integers], labels: Sequence[int], parts: Sequence[Sequence[int]]
) -> PartScores:
    """Instance and per-category mean IoU.

    Args:
        predicted: For each object (N,) part ids.
        true: For each object (N,) part ids.
        labels: For each object its category.
        parts: For each category the ids of its parts.

    Raises:
        ValueError: If there are no objects, or lengths or shapes do not fit.
    """
    if not len(predicted) == len(true) == len(labels) or not len(labels):
        raise ValueError(
            f"predictions, truth and categories must be of at least 1 object and equally many, "
            f"got {len(predicted)}, {len(true)} and {len(labels)}"
        )
    scores = np.array(
        [shape_iou(one, other, parts[label]) for one, other, label in zip(predicted, true, labels, strict=True)]
    )
    held = np.asarray(labels)
    categories = {int(label): float(scores[held == label].mean()) for label in np.unique(held)}
    return PartScores(float(scores.mean()), float(np.mean(list(categories.values()))), categories)


def ranks(similarity: NDArray[Any]) -> Integers:
    """Rank of each query's own candidate, 0 being best.

    Args:
        similarity: (Q, Q), query by candidate; the candidate of query i is i. Candidates that tie with the own one
            count as before it, so that a constant similarity is not rewarded.

    Returns:
        (Q,) numbers of other candidates that are at least as similar.

    Raises:
        ValueError: If the matrix is not square or holds NaN.
    """
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or np.isnan(similarity).any():
        raise ValueError(f"similarities must be a square matrix without NaN, got shape {similarity.shape}")
    own = np.diagonal(similarity)[:, None]
    better: Integers = (similarity >= own).sum(axis=1) - 1
    return better


def recall_at(rank: Integers, k: int) -> float:
    """Share of queries whose own candidate is among the first k."""
    return float(np.mean(rank < k))
