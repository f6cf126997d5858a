"""Gathering and mixing features of neighbours, and chamfer distance: pointkernels against PyTorch and other libraries.

python benchmarks/neighborhood_bench.py --help
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from harness import inputs
from harness.contenders import Benchmark, Contender, Problem, Settings, Verdict, gather
from harness.runner import run
from peers import neighborhood as peers
from torch import Tensor

import pointkernels

# Allowed |difference| / |value| in norm, in float32: sums of a few terms, and gradients of hundreds.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """An operator, its sizes, and which passes."""

    operator: str
    batch: int
    points: int
    queries: int
    k: int
    channels: int
    passes: str

    @property
    def label(self) -> str:
        """As in "interpolate 8x1024->4096 k=3 C=128 forward"."""
        rest = "" if self.operator == "chamfer" else f" k={self.k} C={self.channels}"
        return f"{self.operator} {self.batch}x{self.points}->{self.queries}{rest} {self.passes}"


def cases(settings: Settings) -> Sequence[Case]:
    """The cases in the order of the tables."""
    if settings.quick:
        return [
            Case("gather", 2, 60, 40, 5, 8, "forward+backward"),
            Case("interpolate", 2, 60, 90, 3, 8, "forward"),
            Case("chamfer", 2, 60, 70, 1, 0, "forward+backward"),
        ]
    shapes = [
        ("gather", 8, 1024, 512, 32, 64),
        ("gather", 8, 4096, 1024, 32, 64),
        ("interpolate", 8, 512, 1024, 3, 128),
        ("interpolate", 8, 1024, 4096, 3, 128),
        ("chamfer", 8, 1024, 1024, 1, 0),
        ("chamfer", 8, 2048, 2048, 1, 0),
        ("chamfer", 1, 16384, 16384, 1, 0),
    ]
    return [Case(*shape, passes) for shape in shapes for passes in ("forward", "forward+backward")]


def problem(case: Case, settings: Settings) -> Problem:
    """Inputs, contenders and check of a case: surfaces with random features."""
    generator = torch.Generator().manual_seed(0)
    points = inputs.surface(case.batch, case.points)
    queries = inputs.surface(case.batch, case.queries, seed=1)
    output = {
        "gather": (case.queries, case.k, case.channels),
        "interpolate": (case.queries, case.channels),
        "chamfer": (),
    }
    task = peers.Task(
        operator=case.operator,
        points=points.to(settings.device),
        queries=queries.to(settings.device),
        features=torch.randn(case.batch, case.points, case.channels, generator=generator).to(settings.device),
        neighbors=pointkernels.knn(points, case.k, query=queries).to(settings.device),
        k=case.k,
        backward=case.passes != "forward",
        upstream=torch.rand(case.batch, *output[case.operator], generator=generator).to(settings.device),
    )
    contenders, left_out = gather(dict(peers.BUILDERS[case.operator]), task, settings)
    return Problem(contenders, OutputCheck(task), left_out)


class OutputCheck:
    """Whether output and gradient are those of plain PyTorch in float64."""

    def __init__(self, task: peers.Task) -> None:
        self.task = task
        self.expected: dict[str, Tensor] | None = None

    def _reference(self) -> dict[str, Tensor]:
        """Cloud by cloud."""
        if self.expected is None:
            parts = []
            for cloud in range(len(self.task.points)):
                one = {
                    name: value[cloud : cloud + 1].double() if value.is_floating_point() else value[cloud : cloud + 1]
                    for name, value in vars(self.task).items()
                    if isinstance(value, Tensor)
                }
                reference = peers.by_definition(replace(self.task, **one))
                parts.append(reference.result(reference.call()))
            self.expected = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return self.expected

    def __call__(self, contender: Contender, result: Any) -> Verdict:
        """Check the tensors of a result by name."""
        expected = self._reference()
        if result.keys() != expected.keys():
            return Verdict(f"results must be {', '.join(expected)}, got {', '.join(result)}")
        for name, value in expected.items():
            if result[name].shape != value.shape:
                return Verdict(f"{name} must have shape {tuple(value.shape)}, got {tuple(result[name].shape)}")
            error = float((result[name] - value).norm() / value.norm())
            if not error <= TOLERANCE:
                what = "output" if name == "output" else f"gradient of {name}"
                return Verdict(f"{what} must be within {TOLERANCE:g} of the reference, got {error:.2g}")
        return Verdict()


BENCHMARK = Benchmark(
    "neighborhood", "neighborhood_bench", "features of neighbours, and chamfer distance", cases, problem
)

if __name__ == "__main__":
    sys.exit(run(BENCHMARK))
