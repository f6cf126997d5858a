"""One DGCNN layer on a given graph, with one convolution or two, against the layer with materialised edges.

python benchmarks/edgeconv_bench.py --help
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from harness import inputs
from harness.contenders import Benchmark, Contender, Problem, Settings, Verdict, gather
from harness.runner import run
from peers import edgeconv as edgeconv_peers

import pointkernels

PASSES = ("forward", "forward+backward")

# Allowed |difference| / |value| in norm, in float32. They are wide for the others: with 160,000 edges, channels last,
# BatchNorm of PyTorch on a CPU gives outputs 1e-5 off and gradients 1e-3 off (measured with torch 2.13). Where two
# edges of a point are equal up to rounding, the maximum may be taken from either, and the gradient of a feature moves
# to another point: some elements in a million. Every error found is among the remarks.
TOLERANCES = {"output": 1e-4, "features": 2e-2, "weight": 1e-2, "gamma": 1e-2, "beta": 1e-2}
# Those of the second convolution; in the gradient of the first beta what is left of large sums is small.
TOLERANCES |= {"beta": 3e-2, **{f"{name}2": TOLERANCES[name] for name in ("weight", "gamma", "beta")}}


@dataclass(frozen=True)
class Case:
    """A layer: its graph, its channels, and which passes."""

    batch: int
    points: int
    k: int
    in_channels: int
    out_channels: int
    passes: str
    hidden: int = 0  # channels between two convolutions; 0: there is only one
    cube: bool = False  # uniform in as many dimensions as there are channels, rather than on a surface

    @property
    def label(self) -> str:
        """As in "8x1024 k=20 64->64 forward", or "... forward cube"."""
        channels = (
            [self.in_channels, self.hidden, self.out_channels] if self.hidden else [self.in_channels, self.out_channels]
        )
        kind = " cube" if self.cube else ""
        return f"{self.batch}x{self.points} k={self.k} {'->'.join(map(str, channels))} {self.passes}{kind}"


def cases(settings: Settings) -> Sequence[Case]:
    """The cases in the order of the tables."""
    if settings.quick:
        return [Case(2, 100, 6, 8, 16, passes, hidden) for hidden in (0, 12) for passes in PASSES]
    channels = ((3, 64), (64, 64), (64, 128), (128, 256))
    one = [Case(8, 1024, 20, *pair, passes) for pair in channels for passes in PASSES]
    # Part segmentation: the T-Net and both stages.
    triples = ((3, 64, 128), (3, 64, 64), (64, 64, 64))
    two = [Case(4, 2048, 40, c, out, passes, hidden) for c, hidden, out in triples for passes in PASSES]
    uniform = [replace(case, cube=True) for case in one + two if case.in_channels == 64 and case.passes == PASSES[1]]
    return one + two + uniform


def problem(case: Case, settings: Settings) -> Problem:
    """Inputs, contenders and check of a case: a surface, features over one, or a cube, with its own kNN graph."""
    generator = torch.Generator().manual_seed(0)
    kind = "cube" if case.cube else "surface" if case.in_channels == 3 else "features"
    features = inputs.make(kind, case.batch, case.points, case.in_channels)
    neighbors = pointkernels.knn(features, case.k)
    sizes = [case.in_channels, case.hidden, case.out_channels] if case.hidden else [case.in_channels, case.out_channels]
    weights = []
    for number, (inputs_of, outputs) in enumerate(pairwise(sizes)):
        columns = inputs_of if number else 2 * inputs_of
        weight = torch.randn(outputs, columns, generator=generator) / inputs_of**0.5
        gamma, beta = torch.randn(2, outputs, generator=generator).to(settings.device).unbind()
        weights.append((weight.to(settings.device), gamma, beta))
    grad = torch.randn(case.batch, case.points, case.out_channels, generator=generator)
    layer = edgeconv_peers.Layer(
        features.to(settings.device),
        neighbors.to(settings.device),
        tuple(weights),
        None if case.passes == "forward" else grad.to(settings.device),
    )
    contenders, left_out = gather(dict(edgeconv_peers.BUILDERS), layer, settings)
    return Problem(contenders, LayerCheck(layer), left_out)


class LayerCheck:
    """Whether output and gradients are those of the materialised layer in float64."""

    def __init__(self, layer: edgeconv_peers.Layer) -> None:
        self.layer = layer
        self.expected: dict[str, torch.Tensor] | None = None

    def _reference(self) -> dict[str, torch.Tensor]:
        if self.expected is None:
            reference = edgeconv_peers.materialised(self.layer.double(), Settings())
            self.expected = reference.result(reference.call())
        return self.expected

    def __call__(self, contender: Contender, result: Any) -> Verdict:
        """Check the tensors of a result by name."""
        expected = self._reference()
        if result.keys() != expected.keys():
            return Verdict(f"results must be {', '.join(expected)}, got {', '.join(result)}")
        errors = {}
        for name, value in expected.items():
            if result[name].shape != value.shape:
                return Verdict(f"{name} must have shape {tuple(value.shape)}, got {tuple(result[name].shape)}")
            errors[name] = float((result[name] - value).norm() / value.norm())
            if not errors[name] <= TOLERANCES[name]:
                what = "output" if name == "output" else f"gradient of {name}"
                return Verdict(f"{what} must be within {TOLERANCES[name]:g} of the reference, got {errors[name]:.2g}")
        return Verdict(note="error: " + ", ".join(f"{name} {error:.1g}" for name, error in errors.items()))


BENCHMARK = Benchmark("edgeconv", "edgeconv_bench", "one EdgeConv layer in training mode", cases, problem)

if __name__ == "__main__":
    sys.exit(run(BENCHMARK))
