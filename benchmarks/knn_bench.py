"""k nearest neighbours of every point of a batch of clouds: pointkernels.knn against PyTorch and other libraries.

python benchmarks/knn_bench.py --help
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
from peers import knn as knn_peers
from torch import Tensor

SCANS = {
    "nuscenes_frame": 34688,
    "stanford_bunny": 35947,
    "armadillo": 43243,
    "pcl_room_scan1": 112586,
    "kitti_000000": 123389,
    "igea": 134345,
}
LARGE_SCANS = {"pcl_milk_scene": 241407, "redkitchen_000_kitti": 258342, "pcl_terrain_CSite1_red1": 522674}
CHECKED_QUERIES = 256  # of each cloud, against all candidates in float64


@dataclass(frozen=True)
class Case:
    """A batch of clouds and a number of neighbours."""

    kind: str
    batch: int
    points: int
    channels: int
    k: int

    @property
    def label(self) -> str:
        """As in "8x1024x3 k=20 cube"."""
        return f"{self.batch}x{self.points}x{self.channels} k={self.k} {self.kind}"


def cases(settings: Settings) -> Sequence[Case]:
    """The cases in the order of the tables."""
    if settings.quick:
        return [Case("cube", 2, 200, 3, 8), Case("features", 2, 120, 16, 8)]
    chosen = [
        Case(kind, *shape)
        for shape in ((8, 1024, 3, 20), (8, 2048, 3, 40), (1, 16384, 3, 20), (1, 131072, 3, 20))
        for kind in ("cube", "surface")
    ]
    chosen += [Case(scan, 1, count, 3, 20) for scan, count in SCANS.items()]
    chosen += [Case(kind, 8, 1024, channels, 20) for kind in ("features", "layers") for channels in (64, 128)]
    chosen += [Case("features", 4, 2048, 64, 40), Case("cube", 8, 1024, 64, 20)]
    if settings.large:
        chosen += [Case(kind, 1, 1_000_000, 3, 16) for kind in ("cube", "surface")]
        chosen += [Case(scan, 1, count, 3, 20) for scan, count in LARGE_SCANS.items()]
        # The line of the figure: time against the number of points.
        chosen += [Case("surface", 1, 2**exponent, 3, 20) for exponent in (8, 10, 12, 15, 19)]
    return chosen


def problem(case: Case, settings: Settings) -> Problem:
    """Inputs, contenders and check of a case."""
    points = inputs.make(case.kind, case.batch, case.points, case.channels)
    placed = points.to(settings.device)
    contenders, left_out = gather(dict(knn_peers.BUILDERS), placed, case.k, settings)
    return Problem(contenders, NeighborCheck(points, case.k), left_out)


class NeighborCheck:
    """Whether indices are those of k nearest neighbours, whatever the order of ties.

    The float64 distances of the neighbours found must be those of the nearest ones: for a part of the queries the
    distances to all points are computed here, for all queries they must be those of the contender checked first, which
    is pointkernels. Float32 leaves its traces: a method that sums squared differences may swap neighbours whose
    distances differ in their last bits; one that expands the square may err by as many bits of the squared coordinates.
    """

    def __init__(self, points: Tensor, k: int) -> None:
        self.points = points.double()
        self.k = k
        self.first: Tensor | None = None
        self.first_indices: Tensor | None = None
        step = max(points.shape[1] // CHECKED_QUERIES, 1)
        self.queries = torch.arange(0, points.shape[1], step)
        self.nearest: Tensor | None = None
        squares = self.points.square().sum(dim=2)
        self.squares = squares + squares.max(dim=1, keepdim=True).values

    def _nearest(self, cloud: Tensor) -> Tensor:
        """Squared distances (queries, k) of the nearest points, by definition."""
        distances = torch.zeros(len(self.queries), len(cloud), dtype=torch.float64)
        for coordinate in cloud.t():
            distances += (coordinate[self.queries, None] - coordinate[None]).square()
        return distances.topk(self.k, largest=False).values

    def __call__(self, contender: Contender, result: Any) -> Verdict:
        """Check indices (B, N, k)."""
        indices = result.cpu().long()
        batch, count, channels = self.points.shape
        if indices.shape != (batch, count, self.k):
            return Verdict(f"indices must have shape {(batch, count, self.k)}, got {tuple(indices.shape)}")
        if indices.min() < 0 or indices.max() >= count:
            return Verdict(f"indices must lie in [0, {count}), got {int(indices.min())} to {int(indices.max())}")
        ordered = indices.sort(dim=2).values
        if (ordered[..., 1:] == ordered[..., :-1]).any():
            return Verdict("neighbours of a point must be distinct, got one twice")
        distances = torch.stack(
            [self._distances(cloud, found) for cloud, found in zip(self.points, indices, strict=True)]
        )
        bits = 2.0**-23 * (channels + 4)
        allowed = bits * (distances if contender.exact else 2 * self.squares[..., None])
        if self.nearest is None:
            self.nearest = torch.stack([self._nearest(cloud) for cloud in self.points])
        wrong = ((distances[:, self.queries] - self.nearest).abs() > allowed[:, self.queries]).any(dim=2)
        if wrong.any():
            return Verdict(
                f"neighbours must be the nearest, got others for {int(wrong.sum())} of {wrong.numel()} queries"
            )
        if self.first is None or self.first_indices is None:
            self.first, self.first_indices = distances, ordered
            return Verdict()
        wrong = ((distances - self.first).abs() > allowed).any(dim=2)
        if wrong.any():
            found = f"{int(wrong.sum())} of {wrong.numel()} queries"
            return Verdict(f"neighbours must be those of pointkernels, got others for {found}")
        others = int((ordered != self.first_indices).any(dim=2).sum())
        return Verdict(note=f"other neighbours within rounding: {others} of {batch * count} queries" if others else "")

    @staticmethod
    def _distances(cloud: Tensor, indices: Tensor) -> Tensor:
        """Squared distances (N, k) of neighbours, ascending."""
        parts = []
        for rows, found in zip(torch.split(cloud, 2048), torch.split(indices, 2048), strict=True):
            parts.append((cloud[found] - rows[:, None]).square().sum(dim=2).sort(dim=1).values)
        return torch.cat(parts)


BENCHMARK = Benchmark("knn", "knn_bench", "k nearest neighbours", cases, problem)

if __name__ == "__main__":
    sys.exit(run(BENCHMARK))
