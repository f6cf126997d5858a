"""Brute-force kNN and its gradient."""

from __future__ import annotations

import math

from prediction.kernels.parts import parts_of
from prediction.launches import Launch
from prediction.regions import Region
from prediction.selection import of_random_order

WARPS, OWN = 4, 4  # of a block; queries of a warp
CANDIDATES, CHUNK, KEPT = 128, 16, 128


def knn(batch: int, points: int, queries: int, channels: int, k: int) -> list[Launch]:
    """float32, every cloud of the same size, candidates in random order."""
    rows = 1 if k <= 32 else 2 if k <= 64 else 4
    chunks, tiles = math.ceil(channels / CHUNK), math.ceil(points / CANDIDATES)
    width = channels / chunks
    lists = math.ceil(k / KEPT)
    selection = of_random_order(points, min(k, KEPT))
    groups = OWN * CANDIDATES / 32
    admitting = selection.admitting_groups * OWN / (tiles * groups)
    merging = selection.merges / selection.admitting_groups
    merge = "threshold[q] = merge_queue<T, kRows>(queues[own + q], kWarpSize"
    tile = Region(
        "tile", "for (uint32_t base = 0; base < size; base += kCandidates) {", trips=tiles,
        children=(
            Region(
                "chunk", "for (int64_t from = 0; from < task.dims; from += kChunk) {", trips=chunks,
                children=(
                    Region("fill candidates", "for (int i = thread; i < kCandidates * width", trips=width,
                           unit=("STS", 1)),
                    Region("fill queries", "if (base == 0 || task.dims > kChunk) {", unit=("STS", 1),
                           trips=OWN * WARPS * width / (32 * WARPS) * (1 if chunks > 1 else 1 / tiles)),
                    Region("distances", "for (int d = 0; d < width; ++d) {", trips=width, unit=("FFMA", 16)),
                ),
            ),
            Region(
                "select", "const uint32_t excluded", to="waiting[q] -= kWarpSize;", trips=groups, unit=("VOTE", 1),
                children=(
                    Region(
                        "admit", "if (admitted) queues[own + q]", to="waiting[q] -= kWarpSize;", trips=admitting,
                        unit=("POPC", 2),
                        children=(
                            Region("call of merge", merge, trips=merging, unit=("CALL", 1)),
                        ),
                    ),
                ),
            ),
        ),
    )  # fmt: skip
    written = Region(
        "write", "if (waiting[q] > 0) {", to="task.distances[at] = key.distance();", unit=("STG", 2 * 7),
        trips=OWN * math.ceil(min(k, KEPT) / 32),
    )  # fmt: skip
    merged = selection.merges * OWN * lists + OWN * lists
    root = Region(
        f"knn, {rows} rows", "knn_kernel(KnnArguments<T> task", children=(
            Region("no tile", "const auto fill_missing", to="if (tile.begin >= tile.end) return;", trips=0.2),
            Region("round", "for (int64_t written = 0; written < findable", trips=lists, children=(tile, written)),
            Region("no neighbour", "if (findable < task.k) fill_missing", trips=0),
            Region("merge", "", function="merge_queue", trips=merged),
        ),
    )  # fmt: skip
    tile_queries = WARPS * OWN
    blocks = batch * math.ceil(queries / tile_queries)
    steps = tile_queries * points * lists * (8 + channels)
    return [
        Launch(
            "knn.cu", f"knn_kernel<float, {rows}>", root, blocks, 32 * WARPS,
            bytes=4 * channels * batch * (points + queries) + 12 * batch * queries * k,
            l2_bytes=4.0 * blocks * points * channels,
            times=parts_of(blocks, steps),
        )
    ]  # fmt: skip


def knn_backward(batch: int, points: int, k: int, channels: int) -> list[Launch]:
    """Gradients of both sides, given the reverse graph; float32."""
    width = min(32, 1 << (channels - 1).bit_length())
    edges = math.ceil(k * width / 32)
    passes = math.ceil(channels / width)

    def root(of_points: bool) -> Region:
        return Region(
            f"kNN's gradient of {'points' if of_points else 'queries'}", "knn_backward_kernel(Knn", children=(
                Region(f"row {of_points}", "for (int64_t d_base = 0; d_base", trips=passes, unit=("STG", 1), children=(
                    Region(f"edge {of_points}", "for (int64_t place = begin + first_edge", trips=edges,
                           unit=("FADD", 2)),
                )),
            ),
        )  # fmt: skip

    rows = batch * points
    return [
        Launch(
            "knn_backward.cu", f"knn_backward_kernel<float, {of_points}>", root(of_points == "true"),
            math.ceil(rows / 4), 128, l2_bytes=rows * k * (20 + 32), bytes=rows * k * 12,
        )
        for of_points in ("false", "true")
    ]  # fmt: skip
