"""The steps of gradients that operators share, on their own: the reverse graph, and the gradient of kNN's distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from harness import inputs
from harness.contenders import Benchmark, Contender, Problem, Settings, Verdict, ours
from torch import Tensor

import pointkernels

# Allowed |difference| / |value| in norm, in float32: sums of some tens of terms.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """Lists of k neighbours of every point; `step` is "reverse graph" or "gradient of knn"."""

    step: str
    batch: int
    points: int
    k: int

    @property
    def label(self) -> str:
        """As in "reverse graph 32x1024 k=20"."""
        return f"{self.step} {self.batch}x{self.points} k={self.k}"


def cases(settings: Settings) -> Sequence[Case]:
    """The steps at a usual size."""
    sizes = (2, 60, 5) if settings.quick else (8, 1024, 20)
    return [Case("reverse graph", *sizes), Case("gradient of knn", *sizes)]


def problem(case: Case, settings: Settings) -> Problem:
    """Our operator, and what one would write in torch: a stable sort, or two sums by index."""
    cloud = inputs.surface(case.batch, case.points).to(settings.device)
    lists = pointkernels.knn(cloud, case.k).flatten(0, 1)
    points, size = cloud.flatten(0, 1), case.points
    rows = len(points)
    first = torch.arange(rows, device=points.device)[:, None] // size * size
    targets = (first + lists).flatten()
    graph = torch.ops.pointkernels._reverse_graph(lists, size, size, rows)
    grad = torch.rand(rows, case.k, generator=torch.Generator().manual_seed(0)).to(settings.device)

    def our_graph() -> Any:
        return torch.ops.pointkernels._reverse_graph(lists, size, size, rows)

    def sorted_graph() -> tuple[Tensor, Tensor]:
        counts = torch.bincount(targets, minlength=rows)
        return torch.cat([counts.new_zeros(1), counts.cumsum(0)]), targets.argsort(stable=True)

    def our_gradient() -> Any:
        return torch.ops.pointkernels._knn_backward(grad, points, points, lists, size, size, *graph)

    def summed_gradient() -> tuple[Tensor, Tensor]:
        parts = 2 * grad[..., None] * (points[:, None] - points[targets].view(rows, case.k, 3))
        return torch.zeros_like(points).index_add_(0, targets, -parts.flatten(0, 1)), parts.sum(dim=1)

    is_graph = case.step == "reverse graph"
    mine, reference = (our_graph, sorted_graph) if is_graph else (our_gradient, summed_gradient)
    name = "torch bincount+argsort" if is_graph else "torch index_add"
    expected = reference()

    def check(contender: Contender, result: Any) -> Verdict:
        for found, value in zip(result, expected, strict=True):
            error = float((found - value).double().norm() / value.double().norm().clamp(min=1))
            if not error <= (0 if is_graph else TOLERANCE):
                return Verdict(f"results must be those of {name}, got others by {error:.2g}")
        return Verdict()

    return Problem([*ours(mine, settings), Contender(name, reference, "torch")], check)


BENCHMARK = Benchmark("gradients", "gpu.gradients", "the reverse graph, and the gradient of kNN", cases, problem)
