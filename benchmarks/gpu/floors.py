"""The time below which no version of an operator can come, from the constants of the machine.

A floor is the largest of: the bytes that must move (each input read once, each output written once) over the copy
bandwidth; the arithmetic in float32 over the rate of multiply-adds; and, for farthest point sampling, a maximum over a
warp for each sample, since every sample depends on the one before. Neighbours among features can be found by a product
of matrices on tensor cores with a bound of its error, so float32 arithmetic is no floor for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Of an H200 by its data sheet and by estimate; used, and marked as assumed, where the machine was not measured.
ASSUMED: dict[str, float] = {
    "copy_bandwidth": 4.3e12,
    "l2_bandwidth": 5.5e12,
    "multiply_adds": 33.4e12,
    "tensor_operations": 495e12,  # TF32 without sparsity, a multiplication and an addition being two; not measured
    "warp_maximum": 45e-9,
    "block_barrier": 20e-9,
    "launch": 5e-6,
    "graph_launch": 2.5e-6,
}
# With so many points and more, trees leave out most pairs, so that all pairs are no floor.
TREES_FROM = 4096
# With so many channels and more, tensor cores help.
FEATURES_FROM = 16
FLOAT, INDEX = 4, 8


@dataclass(frozen=True)
class Floor:
    """Seconds, and what sets them."""

    seconds: float
    limit: str


def _largest(**limits: float) -> Floor:
    limit = max(limits, key=lambda name: limits[name])
    return Floor(limits[limit], limit.replace("_", " "))


def knn(batch: int, points: int, channels: int, k: int, machine: dict[str, Any]) -> Floor:
    """All pairs up to some size (a subtraction and a multiply-add for each coordinate), and the bytes."""
    rows = batch * points
    moved = rows * (channels * FLOAT + k * (FLOAT + INDEX)) / machine["copy_bandwidth"]
    if points >= TREES_FROM and channels <= 4:
        return _largest(memory=moved)
    if channels >= FEATURES_FROM:
        return _largest(memory=moved, tensor_cores=2 * channels * rows * points / machine["tensor_operations"])
    return _largest(memory=moved, arithmetic=2 * channels * rows * points / machine["multiply_adds"])


def farthest_point_sampling(batch: int, points: int, samples: int, machine: dict[str, Any]) -> Floor:
    """The chain of dependent maxima, and the bytes."""
    moved = batch * (points * 3 * FLOAT + samples * INDEX) / machine["copy_bandwidth"]
    return _largest(memory=moved, chain_of_samples=samples * machine["warp_maximum"])


def edge_conv(
    batch: int, points: int, k: int, in_channels: int, out_channels: int, backward: bool, machine: dict[str, Any]
) -> Floor:
    """Node products (two for each output channel; twice as many again for their gradients), and the bytes."""
    rows = batch * points
    weights = 2 * in_channels * out_channels
    tensors = rows * (in_channels + out_channels) + weights
    passes = 3 if backward else 1
    # Backward: the gradient of the output comes in, those of features and weights go out; the graph is read once more.
    moved = (tensors * FLOAT + rows * k * INDEX) * (2 if backward else 1) / machine["copy_bandwidth"]
    return _largest(memory=moved, arithmetic=passes * rows * weights / machine["multiply_adds"])
