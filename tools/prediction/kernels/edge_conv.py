"""The kernels of EdgeConv; node products, reverse graph and torch's own operations are not among them."""

from __future__ import annotations

import math

from prediction.launches import Launch
from prediction.machine import LATENCY
from prediction.regions import Region

THREADS, MOST_CHANNEL_LANES, MOST_ROW_BLOCKS, COMBINE = 256, 64, 512, 32


class _Grid:
    """As edge_conv_grid() has it."""

    def __init__(self, rows: int, channels: int) -> None:
        self.x = min(MOST_CHANNEL_LANES, 1 << (channels - 1).bit_length())
        self.y = THREADS // self.x
        self.channel_blocks = math.ceil(channels / self.x)
        self.row_blocks = min(math.ceil(rows / self.y), MOST_ROW_BLOCKS)
        self.rows_of_thread = rows / self.row_blocks / self.y
        self.blocks = self.channel_blocks * self.row_blocks


def forward(batch: int, points: int, k: int, channels: int) -> list[Launch]:
    """float32 in training; `channels` are those of the output."""
    rows = batch * points
    grid = _Grid(rows, channels)
    gather = Region(
        "gather", "gather_edges_kernel(EdgeConvArguments", children=(
            Region("row", "for (int64_t i = share.begin; i < share.end", trips=grid.rows_of_thread, children=(
                Region("edge", "for (int64_t s = 0; s < task.k; ++s) {", trips=k, unit=("FADD", 3)),
                Region("evaluation", "task.output[i * task.channels + c] = count > 0", trips=0),
            )),
            Region("lanes", "own = combine_lanes(own, shared, CombineMoments{});", trips=math.log2(grid.y)),
        ),
    )  # fmt: skip
    combine = Region(
        "moments", "combine_moments_kernel(EdgeConvArguments", children=(
            Region("block", "for (int64_t block = threadIdx.y", trips=grid.row_blocks / COMBINE),
            Region("lanes of moments", "own = combine_lanes", trips=5),
        ),
    )  # fmt: skip
    activate = Region(
        "activate", "activate_kernel(EdgeConvArguments", children=(
            Region("row to activate", "for (int64_t i = share.begin", trips=grid.rows_of_thread, unit=("STG", 1)),
        ),
    )  # fmt: skip
    tensor = 4.0 * rows * channels
    slots = rows * channels
    waits = grid.row_blocks / COMBINE * (LATENCY["l2"] + 60) + 5 * (2 * LATENCY["barrier"] + LATENCY["shared"])
    return [
        Launch("edge_conv.cu", "gather_edges_kernel<float, unsigned char>", gather, grid.blocks, THREADS,
               l2_bytes=tensor * k + 8.0 * rows * k * grid.channel_blocks, bytes=4 * tensor + slots + 8 * rows * k),
        Launch("edge_conv.cu", "combine_moments_kernel<float>", combine, math.ceil(channels / COMBINE),
               COMBINE * COMBINE, waits=waits),
        Launch("edge_conv.cu", "activate_kernel<float, unsigned char>", activate, grid.blocks, THREADS,
               bytes=2 * tensor + slots),
    ]  # fmt: skip


def backward(batch: int, points: int, k: int, channels: int) -> list[Launch]:
    """float32, of training, given the reverse graph."""
    rows = batch * points
    grid = _Grid(rows, channels)
    sums = Region(
        "sums", "sum_gradients_kernel(EdgeConvBackwardArguments", children=(
            Region("row of sums", "for (int64_t i = share.begin", trips=grid.rows_of_thread, unit=("DADD", 2)),
            Region("lanes of sums", "own = combine_lanes(own, shared, CombineSums{});", trips=math.log2(grid.y)),
        ),
    )  # fmt: skip
    combine = Region(
        "combine sums", "combine_sums_kernel(EdgeConvBackwardArguments", children=(
            Region("block of sums", "for (int64_t block = threadIdx.y", trips=grid.row_blocks / COMBINE,
                   unit=("DADD", 2)),
            Region("lanes of all sums", "own = combine_lanes", trips=5),
        ),
    )  # fmt: skip
    nodes = Region(
        "nodes", "node_gradients_kernel(EdgeConvBackwardArguments", children=(
            Region("row of nodes", "for (int64_t work = blockIdx.x", children=(
                Region("edge at the row", "for (int64_t place = begin + threadIdx.y", trips=k / grid.y,
                       children=(Region("winner", "own.won += activation.backward", trips=1 / k + 0.1),)),
                Region("own list", "for (int64_t s = threadIdx.y; s < task.k", trips=k / grid.y),
                Region("lanes of nodes", "own = combine_lanes(own, shared, CombineRowSums{});",
                       trips=math.log2(grid.y)),
                Region("first lane", "const int64_t at = j * task.channels + c;",
                       to="task.grad_nodes[(j * 2 + 1) * task.channels + c]", trips=1 / grid.y),
            )),
        ),
    )  # fmt: skip
    tensor = 4.0 * rows * channels
    waits = grid.row_blocks / COMBINE * (LATENCY["l2"] + 20) + 5 * (2 * LATENCY["barrier"] + LATENCY["shared"])
    return [
        Launch("edge_conv_backward.cu", "sum_gradients_kernel<float, unsigned char>", sums, grid.blocks, THREADS,
               bytes=2 * tensor + rows * channels),
        Launch("edge_conv_backward.cu", "combine_sums_kernel<float>", combine, math.ceil(channels / COMBINE),
               COMBINE * COMBINE, waits=waits),
        Launch("edge_conv_backward.cu", "node_gradients_kernel<float, unsigned char>", nodes,
               rows * grid.channel_blocks, THREADS,
               l2_bytes=(tensor + rows * channels) * k + 8.0 * rows * k * grid.channel_blocks, bytes=7 * tensor),
    ]  # fmt: skip
