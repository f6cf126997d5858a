"""The time below which no version of an operator can come, from the constants of the machine.

A floor is the largest of: the bytes that must move (each input read once, each output written once) over the copy
bandwidth; the arithmetic in float32 over the rate of multiply-adds; and, for farthest point sampling, a maximum over a
warp for each sample, since every sample depends on the one before. Neighbours among features can be found by a product
of matrices on tensor cores with a bound of its error, so float32 arithmetic is no floor for them. Neighbours in large
clouds are found by leaving out most pairs; what is left is estimated, PRUNED_CANDIDATES for each query at SLOTS
instructions each. The second layer of EdgeConv is taken as three TF32 products for each edge, which keep float32's
precision. Ball query and chamfer distance of small clouds are all pairs, as kNN is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Of an H200 by its data sheet and by estimate; used, and marked as assumed, where the machine was not measured.
ASSUMED: dict[str, float] = {
    "copy_bandwidth": 4.3e12,
    "l2_bandwidth": 5.5e12,
    "multiply_adds": 33.4e12,
    "warp_instructions": 132 * 4 * 1.98e9,  # multiprocessors, schedulers, clock
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
# Of a query in a large cloud: what a search over leaves with boxes compares, and the least instructions of each.
PRUNED_CANDIDATES, SLOTS = 900, 8
LANES = 32


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
        compared = rows * PRUNED_CANDIDATES * SLOTS / LANES / machine["warp_instructions"]
        return _largest(memory=moved, comparisons=compared)
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


def edge_conv_two_layer(
    batch: int, points: int, k: int, channels: tuple[int, int, int], backward: bool, machine: dict[str, Any]
) -> Floor:
    """The second layer's products on tensor cores (twice as many again for their gradients), and the bytes."""
    in_channels, hidden, out_channels = channels
    rows, passes = batch * points, 3 if backward else 1
    moved = (rows * (in_channels + out_channels) * FLOAT + rows * k * INDEX) * (2 if backward else 1)
    products = 3 * 2 * passes * rows * k * hidden * out_channels
    return _largest(memory=moved / machine["copy_bandwidth"], tensor_cores=products / machine["tensor_operations"])


def ball_query(batch: int, points: int, queries: int, k: int, machine: dict[str, Any]) -> Floor:
    """The bytes alone: where the first neighbours lie near the beginning of a cloud, few pairs are compared."""
    moved = batch * ((points + queries) * 3 * FLOAT + queries * k * (FLOAT + INDEX))
    return _largest(memory=moved / machine["copy_bandwidth"])


def gather(
    batch: int, points: int, queries: int, k: int, channels: int, backward: bool, machine: dict[str, Any]
) -> Floor:
    """The bytes; backward, the gradient of every neighbour comes in and that of every feature goes out."""
    moved = batch * (points * channels * FLOAT + queries * k * (INDEX + channels * FLOAT))
    return _largest(memory=moved * (2 if backward else 1) / machine["copy_bandwidth"])


def edges_moved(batch: int, points: int, k: int, channels: int, machine: dict[str, Any]) -> Floor:
    """The bytes of a step over all edges: lists read, edges of the reverse graph written, or read with their gradients.

    With `channels` coordinates: points read and their two gradients written, too.
    """
    rows = batch * points
    moved = rows * (k * 2 * INDEX + INDEX) + channels * FLOAT * rows * 3 + (k * rows * FLOAT if channels else 0)
    return _largest(memory=moved / machine["copy_bandwidth"])


def chamfer(batch: int, points: int, queries: int, machine: dict[str, Any]) -> Floor:
    """All pairs in both directions, unless trees help; the gradient is bytes."""
    moved = batch * (points + queries) * (6 * FLOAT + FLOAT + INDEX) / machine["copy_bandwidth"]
    if max(points, queries) >= TREES_FROM:
        return _largest(memory=moved)
    return _largest(memory=moved, arithmetic=2 * 2 * 3 * batch * points * queries / machine["multiply_adds"])
