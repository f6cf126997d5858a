"""What the queue of the brute-force kNN kernel does with candidates in random order."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

WARP = 32
QUERIES = 32  # that are averaged


@dataclass(frozen=True)
class Selection:
    """Of one query: groups of 32 candidates with one that is admitted, and merges of the queue but the last."""

    admitting_groups: float
    merges: float


@functools.lru_cache
def of_random_order(candidates: int, k: int) -> Selection:
    """Runs the algorithm on random distances, the same ones each time: 32 keys wait until they are merged."""
    generator = np.random.Generator(np.random.PCG64(0))
    groups = merges = 0
    for _ in range(QUERIES):
        distances = generator.random(candidates, dtype=np.float32)
        best = np.empty(0, dtype=np.float32)
        begin = 0
        while begin < candidates:
            threshold = best[k - 1] if len(best) >= k else np.inf
            admitted = begin + np.flatnonzero(distances[begin:] < threshold)
            if len(admitted) < WARP:
                groups += len(np.unique(admitted // WARP))
                break
            # The group of the 32nd is taken whole before the threshold falls; what is beyond 32 waits, and is merged
            # with the next ones, which only matters to the threshold.
            last = admitted[WARP - 1] // WARP
            admitted = admitted[admitted // WARP <= last]
            groups += len(np.unique(admitted // WARP))
            merges += 1
            best = np.sort(np.concatenate([best, distances[admitted]]))[:k]
            begin = int(last + 1) * WARP
    return Selection(groups / QUERIES, merges / QUERIES)
