"""Features of a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from crosspoint.data.sample import Batch, Sample, collate

_BATCH = 32


@dataclass(frozen=True)
class Features:
    """Features of a split and what they belong to."""

    values: NDArray[np.float32]
    """(M, C), one row per cloud."""
    labels: NDArray[np.int64]
    """(M,) classes."""

    def rows(self, chosen: NDArray[np.int64]) -> Features:
        """The features of some of the clouds."""
        return Features(self.values[chosen], self.labels[chosen])


@torch.no_grad()
def extract_features(
    encoder: nn.Module,
    dataset: Dataset[Sample],
    device: torch.device,
    *,
    axis_shift: int = 0,
    change: Callable[[Tensor], Tensor] | None = None,
    advance: Callable[[int], object] | None = None,
) -> Features:
    """Features of every cloud of a dataset, unaugmented, with the encoder in eval mode.

    No global random number is drawn, so that looking at features in the middle of a training changes nothing in it.

    Args:
        encoder: Maps (B, N, 3) points to (B, C); its mode is put back afterwards.
        dataset: Labelled clouds.
        device: Where to compute; the encoder must be there.
        axis_shift: By how much to roll the coordinates first, for clouds that stand along another axis.
        change: Maps the points of a batch, still as the dataset gives them, to what shall be encoded instead.
        advance: Told the number of clouds after each batch.

    Returns:
        The features, in the order of the dataset.
    """
    # DataLoader draws from the global generator unless it gets one.
    loader: DataLoader[Sample] = DataLoader(dataset, batch_size=_BATCH, collate_fn=collate, generator=torch.Generator())
    was_training = encoder.training
    encoder.eval()
    values: list[Tensor] = []
    labels: list[Tensor] = []
    batch: Batch
    try:
        for batch in loader:
            points = batch["points"] if change is None else change(batch["points"])
            values.append(encoder(points.roll(axis_shift, dims=-1).to(device)).float().cpu())
            labels.append(batch["label"])
            if advance is not None:
                advance(len(points))
    finally:
        encoder.train(was_training)
    return Features(torch.cat(values).numpy(), torch.cat(labels).numpy())
