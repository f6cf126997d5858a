"""Farthest point sampling, a block for each cloud."""

from __future__ import annotations

import math

from prediction.kernels.parts import most_steps
from prediction.launches import Launch
from prediction.machine import LATENCY, MULTIPROCESSORS
from prediction.regions import Region

HELD, MOST_THREADS, TOGETHER = 12, 512, 4


def farthest_point_sampling(batch: int, points: int, samples: int) -> list[Launch]:
    """float32, three coordinates, clouds of the same size."""
    threads = min(MOST_THREADS, math.ceil(points / 32) * 32)
    held = min(points, HELD * threads)
    others = (points - held) / threads
    children = (
        Region("point in registers", "for (int r = 0; r < kOwn; ++r) {", trips=held / threads, unit=("FFMA", 3)),
        Region("four other points", "for (; i + (kTogether - 1) * threads < size", trips=others // TOGETHER,
               unit=("FFMA", 3 * TOGETHER)),
        Region("other point", "for (; i < size; i += threads)", trips=others % TOGETHER, unit=("FFMA", 3)),
    )  # fmt: skip
    root = Region(
        "sampling", "farthest_point_sampling_kernel(FarthestPointSamplingArguments", children=(
            Region("sample", "for (int64_t m = part.begin", trips=samples, children=children),
            Region("ranks handed on", "if (end < wanted) {", trips=0),
            Region("no sample", "for (int64_t m = wanted + thread", trips=0),
            Region("first ranks", "for (int64_t i = held + thread; i < size && part.begin", trips=others,
                   unit=("LDG", 3)),
        ),
    )  # fmt: skip
    # Of each sample: its coordinates come, four maxima of a warp follow one another with the winners' exchange through
    # shared memory between them. Points beyond the registers come from the L1 cache, or, of large clouds, from L2.
    in_l1 = (points - held) * 16 <= 192 << 10
    loads = LATENCY["l1" if in_l1 else "l2"] * math.ceil(others / TOGETHER) if others else 0
    start = LATENCY["l1" if points * 12 <= 192 << 10 else "l2"]
    wait = start + 4 * LATENCY["redux"] + LATENCY["shared"] + LATENCY["barrier"] + loads
    steps = points * 11
    together = min(batch, MULTIPROCESSORS)
    at_a_time = samples if points == held else max(1, most_steps() // (steps * max(together, MULTIPROCESSORS)))
    return [
        Launch(
            "farthest_point_sampling.cu", "farthest_point_sampling_kernel<float, 3>", root, batch, threads,
            waits=samples * wait, bytes=batch * points * 12,
            l2_bytes=0 if in_l1 else 20.0 * batch * samples * (points - held),
            times=math.ceil(samples / at_a_time),
        )
    ]  # fmt: skip
