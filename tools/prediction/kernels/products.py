"""Products of tall matrices with small ones, in float32."""

from __future__ import annotations

import math

from prediction.launches import Launch
from prediction.machine import LATENCY
from prediction.regions import Region

TILE, CHUNK, THREADS, PIECE_ROWS, MOST_UNITS, LEAST_UNIT_ROWS = 64, 16, 256, 96, 32, 12 * 96


def product(rows: int, depth: int, columns: int, along_inner: bool) -> list[Launch]:
    """(rows, depth) by (depth, columns); along_inner: the weight lies as (columns, depth)."""
    chunks = math.ceil(depth / CHUNK)
    root = Region(
        f"product {along_inner}", "product_kernel(ProductArguments<T> task)", children=(
            Region(f"chunk of a product {along_inner}", "for (int64_t d = 0; d < task.depth; d += kChunk) {",
                   trips=chunks, children=(
                Region(f"terms {along_inner}", "add_chunk(left, right, task.depth - d, sums);",
                       trips=min(depth, CHUNK), unit=("FFMA", 16)),
                Region(f"next chunk {along_inner}", "if (then < task.depth) {", trips=1 - 1 / chunks),
            )),
        ),
    )  # fmt: skip
    blocks = math.ceil(rows / TILE) * math.ceil(columns / TILE)
    name = f"product_kernel<float, {'true' if along_inner else 'false'}>"
    waits = LATENCY["l2"] + chunks * 2 * LATENCY["barrier"]
    return [Launch("linear.cu", name, root, blocks, THREADS, waits=waits, bytes=4.0 * rows * (depth + columns))]


def transposed_product(rows: int, outputs: int, columns: int) -> list[Launch]:
    """(rows, outputs)^T by (rows, columns)."""
    unit = max(math.ceil(math.ceil(rows / MOST_UNITS) / PIECE_ROWS) * PIECE_ROWS, LEAST_UNIT_ROWS)
    units = math.ceil(rows / unit)
    chunks = math.ceil(min(unit, rows) / CHUNK)
    root = Region(
        "transposed product", "transposed_product_kernel(TransposedProductArguments<T> task", children=(
            Region("chunk of rows", "for (int64_t row = begin; row < end; row += kChunk) {", trips=chunks, children=(
                Region("rows' terms", "add_chunk(left, right, end - row, piece);", trips=CHUNK, unit=("FFMA", 16)),
            )),
        ),
    )  # fmt: skip
    add = Region(
        "add units", "add_units_kernel(TransposedProductArguments", children=(
            Region("unit", "for (int64_t unit = 0; unit < units", trips=units, unit=("FADD", 1)),
        ),
    )  # fmt: skip
    tiles = math.ceil(outputs / TILE) * math.ceil(columns / TILE)
    launches = [
        Launch("linear.cu", "transposed_product_kernel<float>", root, units * tiles, THREADS,
               waits=chunks * (2 * LATENCY["barrier"] + 100), bytes=4.0 * rows * (outputs + columns)),
    ]  # fmt: skip
    if units > 1:
        entries = outputs * columns
        launches.append(
            Launch("linear.cu", "add_units_kernel<float>", add, math.ceil(entries / THREADS), THREADS,
                   waits=units / 4 * LATENCY["l2"], bytes=4.0 * units * entries),
        )  # fmt: skip
    return launches
