"""Ball query."""

from __future__ import annotations

import math

from prediction.launches import Launch
from prediction.machine import LATENCY
from prediction.regions import Region

QUERIES, WARPS = 16, 4


def ball_query(batch: int, points: int, queries: int, k: int, scanned: float = 1) -> list[Launch]:
    """float32, three coordinates; `scanned` is the share of a cloud that is looked at until k are found."""
    root = Region(
        "ball query", "ball_query_kernel(BallQueryArguments", children=(
            Region("no ball", "const auto fill_missing", to="if (padding < tile_end) fill_missing", trips=0.3),
            Region("query", "for (int64_t i = tile.begin + thread / kWarpSize", trips=QUERIES / WARPS, children=(
                Region("candidates", "for (int64_t base = 0; base < size && found < task.k", unit=("VOTE", 1),
                       trips=math.ceil(points / 32) * scanned, children=(
                    Region("distance", "const T distance = candidate ? squared_distance", unit=("FFMA", 3), spread=3),
                )),
                Region("unfilled places", "for (int64_t s = found + lane", trips=k / 32, unit=("STG", 2)),
            )),
        ),
    )  # fmt: skip
    blocks = batch * math.ceil(queries / QUERIES)
    waits = QUERIES / WARPS * math.ceil(points / 32) * scanned * LATENCY["l1"] * 2
    return [
        Launch("ball_query.cu", "ball_query_kernel<float>", root, blocks, 32 * WARPS, waits=waits,
               bytes=batch * (12 * (points + queries) + 12 * queries * k)),
    ]  # fmt: skip
