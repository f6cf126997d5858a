"""Farthest point sampling of a batch of clouds: pointkernels against PyTorch and other libraries.

python benchmarks/fps_bench.py --help
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
from peers import fps as fps_peers
from torch import Tensor

import pointkernels

# A pick may miss the farthest distance by a few roundings of float32.
TOLERANCE = 1e-5
# Distances that the check step by step may take; of a million points it sees the first 2,000 samples (20 seconds).
MOST_CHECKED = 2_000_000_000


@dataclass(frozen=True)
class Case:
    """A batch of clouds and a number of samples."""

    kind: str
    batch: int
    points: int
    samples: int

    @property
    def label(self) -> str:
        """As in "8x1024->512 cube"."""
        return f"{self.batch}x{self.points}->{self.samples} {self.kind}"


def cases(settings: Settings) -> Sequence[Case]:
    """The cases in the order of the tables."""
    if settings.quick:
        return [Case("cube", 2, 300, 40), Case("surface", 1, 500, 60)]
    chosen = [
        Case(kind, *shape)
        for shape in ((8, 1024, 512), (8, 8192, 1024), (1, 100000, 4096))
        for kind in ("cube", "surface")
    ]
    chosen += [Case("stanford_bunny", 1, 35947, 4096), Case("kitti_000000", 1, 100000, 4096)]
    if settings.large:
        chosen += [Case(kind, 1, 1000000, 16384) for kind in ("cube", "surface")]
    return chosen


def problem(case: Case, settings: Settings) -> Problem:
    """Inputs, contenders and check of a case."""
    points = inputs.make(case.kind, case.batch, case.points, 3).to(settings.device)
    contenders, left_out = gather(dict(fps_peers.BUILDERS), points, case.samples, settings)
    return Problem(contenders, SamplingCheck(points, case.samples), left_out)


class SamplingCheck:
    """Whether samples are those of greedy farthest point sampling from their own first points.

    Libraries differ in where they start, so pointkernels is asked for the sequence from the same start. A sequence that
    differs from it may still be right: two points are equally far up to float32 rounding, and everything after follows
    from that choice. So such a sequence, and pointkernels' own, is checked step by step in float64, its beginning where
    the whole would take minutes.
    """

    def __init__(self, points: Tensor, samples: int) -> None:
        self.points = points
        self.samples = samples
        self.stepped: list[tuple[Tensor, int | None]] = []  # sequences checked step by step; many methods find the same

    def __call__(self, contender: Contender, result: Any) -> Verdict:
        """Check indices (B, M)."""
        indices = result.to(self.points.device).long()
        batch, count, _ = self.points.shape
        if indices.shape != (batch, self.samples):
            return Verdict(f"samples must have shape {(batch, self.samples)}, got {tuple(indices.shape)}")
        if indices.min() < 0 or indices.max() >= count:
            return Verdict(f"samples must lie in [0, {count}), got {int(indices.min())} to {int(indices.max())}")
        expected = pointkernels.farthest_point_sampling(self.points, self.samples, start=indices[:, 0].contiguous())
        same = torch.equal(indices, expected)
        if contender.ours or not same:
            step = self._first_wrong_step(indices)
            if step is not None:
                return Verdict(f"every sample must be farthest from those before it, got another as sample {step}")
        if same:
            return Verdict()
        first = int((indices != expected).any(dim=0).nonzero()[0])
        return Verdict(note=f"another choice within rounding at sample {first}, and others after it")

    def _first_wrong_step(self, indices: Tensor) -> int | None:
        """The first sample that is not farthest, by definition and in float64."""
        for known, step in self.stepped:
            if torch.equal(known, indices):
                return step
        x, y, z = self.points.double().unbind(dim=2)
        cloud = torch.arange(len(x), device=x.device)
        nearest = torch.full_like(x, torch.inf)
        missed = []
        for sample in indices.t()[: max(1, MOST_CHECKED // (len(x) * x.shape[1]))]:
            missed.append(nearest[cloud, sample] < nearest.amax(dim=1) * (1 - TOLERANCE))
            distance = torch.zeros_like(x)
            for coordinate in (x, y, z):
                difference = coordinate - coordinate[cloud, sample][:, None]
                distance.addcmul_(difference, difference)
            torch.minimum(nearest, distance, out=nearest)
        wrong = torch.stack(missed).any(dim=1).nonzero()
        step = int(wrong[0]) if len(wrong) else None
        self.stepped.append((indices, step))
        return step


BENCHMARK = Benchmark("fps", "fps_bench", "farthest point sampling", cases, problem)

if __name__ == "__main__":
    sys.exit(run(BENCHMARK))
