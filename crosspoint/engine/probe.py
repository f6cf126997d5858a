"""The linear probe: how well a linear SVM separates classes in the features of a frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from crosspoint.data.sample import Batch, Sample, collate

_BATCH = 32
# Choosing C needs no more clouds than this, and the SVM's time grows with their square.
_MOST_FOR_CHOICE = 2000
_HELD_BACK = 0.25  # of the clouds that choose C


@dataclass(frozen=True)
class Features:
    """Features of a split and what they belong to."""

    values: np.ndarray[tuple[int, int], np.dtype[np.float32]]
    """(M, C), one row per cloud."""
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]
    """(M,) classes."""


@dataclass(frozen=True)
class ProbeResult:
    """Outcome of a linear probe."""

    accuracy: float
    """Share of the test clouds classified rightly, 0 to 1."""
    c: float
    """The SVM's C."""


@torch.no_grad()
def extract_features(
    encoder: nn.Module, dataset: Dataset[Sample], device: torch.device, *, axis_shift: int = 0
) -> Features:
    """Features of every cloud of a dataset, unaugmented, with the encoder in eval mode.

    Args:
        encoder: Maps (B, N, 3) points to (B, C); its mode is put back afterwards.
        dataset: Labelled clouds.
        device: Where to compute; the encoder must be there.
        axis_shift: By how much to roll the coordinates first, for clouds that stand along another axis.

    Returns:
        The features, in the order of the dataset.
    """
    loader: DataLoader[Sample] = DataLoader(dataset, batch_size=_BATCH, collate_fn=collate)
    was_training = encoder.training
    encoder.eval()
    values: list[Tensor] = []
    labels: list[Tensor] = []
    batch: Batch
    for batch in loader:
        points = batch["points"].roll(axis_shift, dims=-1)
        values.append(encoder(points.to(device)).float().cpu())
        labels.append(batch["label"])
    encoder.train(was_training)
    return Features(torch.cat(values).numpy(), torch.cat(labels).numpy())


def linear_probe(train: Features, test: Features, c: Sequence[float]) -> ProbeResult:
    """Fits a linear SVM (one against one, as in the authors' evaluation) on one split and scores it on the other.

    With several values of C, the best on a held-back part of the training split is taken (the smaller one in a tie), so
    the test split never takes part in the choice; the SVM is then fitted on the whole training split. Deterministic.

    Args:
        train: Features to fit on.
        test: Features to score on.
        c: Values of C to try, each above 0.

    Raises:
        ValueError: If the features are not finite, or the training split has fewer than two classes.
    """
    for name, features in (("training", train), ("test", test)):
        if not np.isfinite(features.values).all():
            raise ValueError(f"features of the {name} split must be finite, got NaN or infinity")
    if len(np.unique(train.labels)) < 2:
        raise ValueError(f"a linear probe needs at least 2 classes, got {len(np.unique(train.labels))}")
    chosen = c[0] if len(c) == 1 else _choose_c(train, sorted(c))
    classifier = SVC(kernel="linear", C=chosen).fit(train.values, train.labels)
    return ProbeResult(float(classifier.score(test.values, test.labels)), chosen)


def _choose_c(train: Features, c: Sequence[float]) -> float:
    values, labels = train.values, train.labels
    if len(labels) > _MOST_FOR_CHOICE:
        values, _, labels, _ = train_test_split(values, labels, train_size=_MOST_FOR_CHOICE, random_state=0)
    # A class with a single cloud cannot be on both sides of a stratified split.
    classes, counts = np.unique(labels, return_counts=True)
    held_back = int(np.ceil(_HELD_BACK * len(labels)))
    stratify = labels if counts.min() >= 2 and held_back >= len(classes) else None
    fit_values, score_values, fit_labels, score_labels = train_test_split(
        values, labels, test_size=_HELD_BACK, random_state=0, stratify=stratify
    )
    scores = [
        SVC(kernel="linear", C=value).fit(fit_values, fit_labels).score(score_values, score_labels) for value in c
    ]
    return c[int(np.argmax(scores))]
