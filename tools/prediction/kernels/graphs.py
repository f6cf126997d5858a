"""The reverse graph, which rows are used, and gathering of neighbours' features."""

from __future__ import annotations

import math

from prediction.launches import Launch
from prediction.machine import LATENCY
from prediction.regions import Region

DIGIT_BITS, TILE, MOST_SORT_BLOCKS, SCAN_THREADS, THREADS = 8, 1024, 256, 1024, 256


def reverse_graph(batch: int, points: int, k: int) -> list[Launch]:
    """Of lists of k neighbours of every point."""
    rows = batch * points
    edges = rows * k
    blocks = min(math.ceil(edges / TILE), MOST_SORT_BLOCKS)
    tiles = math.ceil(edges / TILE / blocks)
    passes = math.ceil((rows).bit_length() / DIGIT_BITS)
    entries = math.ceil(256 * blocks / SCAN_THREADS)
    count = Region(
        "count digits", "count_digits_kernel(ReverseGraphArguments", children=(
            Region("edge to count", "for (int64_t place = begin + threadIdx.x", trips=tiles * TILE / THREADS,
                   unit=("ATOMS", 1)),
        ),
    )  # fmt: skip
    # A thread's entries lie beside each other, so a warp's request touches a line for each lane; how many lines the L1
    # cache takes a cycle is not known (one would double this kernel's time, four halve it), so two are assumed.
    scan = Region(
        "scan", "scan_kernel(int64_t* table", children=(
            Region("sum of entries", "for (int64_t i = begin; i < end; ++i) sum", trips=entries, unit=("LDG", 1),
                   spread=16),
            Region("entry", "for (int64_t i = begin; i < end; ++i) {", trips=entries, unit=("LDG", 1), spread=16),
        ),
    )  # fmt: skip
    scatter = Region(
        "scatter", "scatter_edges_kernel(ReverseGraphArguments", children=(
            Region("tile of edges", "for (int64_t tile = begin", trips=tiles, children=(
                Region("item", "const int64_t place = tile + warp * kWarpTile", to="if (used && alike_before == 0)",
                       trips=4, unit=("MATCH", 1)),
            )),
        ),
    )  # fmt: skip
    offsets = Region(
        "find offsets", "find_offsets_kernel(ReverseGraphArguments", children=(
            Region("step", "while (low < high) {", trips=math.log2(max(edges, 2))),
        ),
    )  # fmt: skip
    scan_waits = entries / 8 * LATENCY["l2"] * 2 + 10 * LATENCY["shuffle"]
    each = [
        Launch("reverse_graph.cu", "count_digits_kernel", count, blocks, THREADS, l2_bytes=16.0 * edges),
        Launch("reverse_graph.cu", "scan_kernel", scan, 1, SCAN_THREADS, waits=scan_waits),
        Launch("reverse_graph.cu", "scatter_edges_kernel", scatter, blocks, THREADS, l2_bytes=48.0 * edges,
               waits=tiles * (4 * LATENCY["barrier"] + 2 * LATENCY["l2"])),
    ]  # fmt: skip
    return [launch for _ in range(passes) for launch in each] + [
        Launch("reverse_graph.cu", "find_offsets_kernel", offsets, math.ceil((rows + 1) / THREADS), THREADS,
               waits=math.log2(max(edges, 2)) * 2 * LATENCY["l2"]),
    ]  # fmt: skip


def used_rows(batch: int, points: int, k: int) -> list[Launch]:
    """Which rows have an edge."""
    edges = batch * points * k
    root = Region(
        "used rows", "used_rows_kernel(const int64_t* neighbors", children=(
            Region("entry of a list", "for (int64_t e = grid_thread()", trips=4, unit=("STG", 2)),
        ),
    )  # fmt: skip
    return [Launch("used_rows.cu", "used_rows_kernel", root, math.ceil(edges / 1024), THREADS, bytes=8 * edges)]


def gather(batch: int, queries: int, k: int, channels: int) -> list[Launch]:
    """gather_neighbors in float32."""
    elements = batch * queries * k * channels
    root = Region(
        "gather elements", "gather_neighbors_kernel(GatherArguments", children=(
            Region("element", "for (int64_t at = grid_thread()", unit=("STG", 1)),
        ),
    )  # fmt: skip
    moved = batch * queries * (k * (8 + 4.0 * channels) + 4 * channels)
    return [
        Launch("gather_neighbors.cu", "gather_neighbors_kernel<float>", root, math.ceil(elements / THREADS), THREADS,
               bytes=moved, l2_bytes=8.0 * elements),
    ]  # fmt: skip


def gather_backward(batch: int, points: int, k: int, channels: int) -> list[Launch]:
    """The sum over each row's edges in float32, given the reverse graph."""
    rows = batch * points
    root = Region(
        "sum over edges", "sum_over_edges_kernel(SumOverEdgesArguments", children=(
            Region("channel", "for (int64_t c = lane_index(); c < task.channels", trips=math.ceil(channels / 32),
                   children=(Region("edge to add", "for (int64_t place = begin", trips=k, unit=("FADD", 2)),)),
        ),
    )  # fmt: skip
    return [
        Launch("gather_neighbors.cu", "sum_over_edges_kernel<float>", root, math.ceil(rows / 8), THREADS,
               bytes=rows * k * (8 + 4.0 * channels) + 4.0 * rows * channels),
    ]  # fmt: skip
