"""Points within a radius of queries: pointkernels.ball_query against PyTorch and other libraries.

python benchmarks/ball_query_bench.py --help
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from harness import inputs
from harness.contenders import Benchmark, Contender, Problem, Settings, Verdict, gather
from harness.runner import run
from peers import ball_query as ball_query_peers
from torch import Tensor

CHECKED_QUERIES = 256  # of each cloud, against all points in float64


@dataclass(frozen=True)
class Case:
    """A batch of clouds, a radius, and which of the points within it are wanted."""

    kind: str
    batch: int
    points: int
    queries: int  # the first so many points
    radius: float
    k: int
    wanted: str  # "first" or "nearest"

    @property
    def label(self) -> str:
        """As in "8x1024->512 r=0.2 k=32 first cube"."""
        return f"{self.batch}x{self.points}->{self.queries} r={self.radius:g} k={self.k} {self.wanted} {self.kind}"


def cases(settings: Settings) -> Sequence[Case]:
    """The cases in the order of the tables: PointNet++ layers, larger clouds, and scans with radii in metres."""
    if settings.quick:
        return [Case("cube", 2, 200, 90, 0.3, 8, "first"), Case("surface", 1, 300, 300, 0.3, 8, "nearest")]
    chosen = [
        Case(kind, *shape, wanted)
        for shape in ((8, 1024, 512, 0.2, 32), (1, 16384, 4096, 0.1, 32), (1, 131072, 131072, 0.03, 32))
        for kind in ("cube", "surface")
        for wanted in ("first", "nearest")
    ]
    chosen += [
        Case("kitti_000000", 1, 123389, 16384, 0.5, 32, "first"),
        Case("pcl_room_scan1", 1, 112586, 16384, 0.05, 32, "first"),
    ]
    if settings.large:
        chosen += [Case("surface", 1, 1_000_000, 1_000_000, 0.008, 32, wanted) for wanted in ("first", "nearest")]
    return chosen


def problem(case: Case, settings: Settings) -> Problem:
    """Inputs, contenders and check of a case."""
    points = inputs.make(case.kind, case.batch, case.points, 3)
    search = ball_query_peers.Search(
        points=points.to(settings.device),
        queries=points[:, : case.queries].contiguous().to(settings.device),
        radius=case.radius,
        k=case.k,
        nearest=case.wanted == "nearest",
    )
    contenders, left_out = gather(dict(ball_query_peers.BUILDERS), search, settings)
    return Problem(contenders, BallCheck(search), left_out)


class BallCheck:
    """Whether indices (B, M, k), -1 for none, are those of points within the radius: the first k, or the nearest.

    For a part of the queries the distances to all points are computed in float64; the others must be those of the
    contender checked first, which is pointkernels. A point whose distance is the radius up to the rounding of float32
    may be found or not.
    """

    def __init__(self, search: ball_query_peers.Search) -> None:
        self.search = search
        self.first: Tensor | None = None

    def __call__(self, contender: Contender, result: Any) -> Verdict:
        """Check indices, those of a query in any order."""
        indices = result.cpu().long()
        points, queries = self.search.points.cpu().double(), self.search.queries.cpu().double()
        shape = (*queries.shape[:2], self.search.k)
        if indices.shape != shape:
            return Verdict(f"indices must have shape {shape}, got {tuple(indices.shape)}")
        if indices.min() < -1 or indices.max() >= points.shape[1]:
            return Verdict(
                f"indices must lie in [-1, {points.shape[1]}), got {int(indices.min())} to {int(indices.max())}"
            )
        ordered = indices.sort(dim=2).values
        if ((ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)).any():
            return Verdict("neighbours of a query must be distinct, got one twice")
        step = max(queries.shape[1] // CHECKED_QUERIES, 1)
        wrong = sum(
            self._wrong(cloud, asked[::step], found[::step], contender.exact)
            for cloud, asked, found in zip(points, queries, ordered, strict=True)
        )
        if wrong > 0:
            return Verdict(f"neighbours must be the {self._wanted} within the radius, got others for {wrong} queries")
        if self.first is None:
            self.first = ordered
            return Verdict()
        others = int((ordered != self.first).any(dim=2).sum())
        # Rounding decides at the radius and, of two equally far, at the k-th: rare events.
        if others > 0.01 * shape[0] * shape[1] + 1:
            return Verdict(f"neighbours must be those of pointkernels, got others for {others} queries")
        return Verdict(note=f"other neighbours within rounding: {others} queries" if others else "")

    @property
    def _wanted(self) -> str:
        return "nearest" if self.search.nearest else "first"

    def _wrong(self, cloud: Tensor, queries: Tensor, found: Tensor, exact: bool) -> int:
        """How many of the queries (M, D) of a cloud have wrong neighbours (M, k)."""
        distances = torch.zeros(len(queries), len(cloud), dtype=torch.float64)
        for coordinate, asked in zip(cloud.t(), queries.t(), strict=True):
            distances += (coordinate[None] - asked[:, None]).square()
        bound = self.search.radius**2
        rounding = 2.0**-20 * (bound if exact else float(cloud.square().sum(dim=1).max()))
        used = found >= 0
        chosen = torch.zeros(len(queries), len(cloud) + 1, dtype=torch.bool)
        chosen.scatter_(1, found.where(used, len(cloud)), value=True)
        chosen = chosen[:, :-1]
        missed = (distances < bound - rounding) & ~chosen
        # Where k were found, only what should have come before the last of them is missed.
        if self.search.nearest:
            last = distances.where(chosen, 0.0).amax(dim=1) - rounding
            missed &= (used.sum(dim=1) < self.search.k)[:, None] | (distances < last[:, None])
        else:
            numbers = torch.arange(len(cloud))
            last = found.amax(dim=1)
            missed &= (used.sum(dim=1) < self.search.k)[:, None] | (numbers < last[:, None])
        return int((missed | (chosen & (distances > bound + rounding))).any(dim=1).sum())


BENCHMARK = Benchmark("ball_query", "ball_query_bench", "points within a radius", cases, problem)

if __name__ == "__main__":
    sys.exit(run(BENCHMARK))
