"""The shapes that are timed, with the time that the design hopes for on an H200; and small ones for a dry run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ball_query_bench
import edgeconv_bench
import fps_bench
import knn_bench
import neighborhood_bench
from harness.contenders import Benchmark

from gpu import floors, gradients
from gpu.floors import Floor


@dataclass(frozen=True)
class Timed:
    """A case of a benchmark; the target is in seconds, None where the design has none."""

    benchmark: Benchmark
    case: Any
    target: float | None = None

    @property
    def label(self) -> str:
        """Unique among all."""
        return f"{self.benchmark.name} {self.case.label}"

    def floor(self, machine: dict[str, Any]) -> Floor:
        """The time below which no version can come on a machine of these constants."""
        case = self.case
        if isinstance(case, knn_bench.Case):
            return floors.knn(case.batch, case.points, case.channels, case.k, machine)
        if isinstance(case, fps_bench.Case):
            return floors.farthest_point_sampling(case.batch, case.points, case.samples, machine)
        if isinstance(case, ball_query_bench.Case):
            return floors.ball_query(case.batch, case.points, case.queries, case.k, machine)
        if isinstance(case, gradients.Case):
            channels = 0 if case.step == "reverse graph" else 3
            return floors.edges_moved(case.batch, case.points, case.k, channels, machine)
        backward = case.passes != "forward"
        if isinstance(case, neighborhood_bench.Case):
            if case.operator == "chamfer":
                return floors.chamfer(case.batch, case.points, case.queries, machine)
            sizes = (case.batch, case.points, case.queries, case.k, case.channels)
            return floors.gather(*sizes, backward, machine)
        if case.hidden:
            channels = (case.in_channels, case.hidden, case.out_channels)
            return floors.edge_conv_two_layer(case.batch, case.points, case.k, channels, backward, machine)
        return floors.edge_conv(case.batch, case.points, case.k, case.in_channels, case.out_channels, backward, machine)


def _knn(kind: str, batch: int, points: int, channels: int, k: int, target: float | None = None) -> Timed:
    return Timed(knn_bench.BENCHMARK, knn_bench.Case(kind, batch, points, channels, k), target)


def _fps(batch: int, points: int, samples: int, target: float | None = None) -> Timed:
    return Timed(fps_bench.BENCHMARK, fps_bench.Case("surface", batch, points, samples), target)


def _ball_query(batch: int, points: int, queries: int, radius: float, k: int) -> Timed:
    return Timed(ball_query_bench.BENCHMARK, ball_query_bench.Case("cube", batch, points, queries, radius, k, "first"))


def _neighborhood(operator: str, batch: int, points: int, queries: int, k: int, channels: int) -> list[Timed]:
    """Forward alone, and with the gradient: that of chamfer is kNN's, that of gathering the reverse graph's."""
    return [
        Timed(
            neighborhood_bench.BENCHMARK,
            neighborhood_bench.Case(operator, batch, points, queries, k, channels, passes),
        )
        for passes in edgeconv_bench.PASSES
    ]


def _gradients(batch: int, points: int, k: int) -> list[Timed]:
    return [
        Timed(gradients.BENCHMARK, gradients.Case(step, batch, points, k))
        for step in ("reverse graph", "gradient of knn")
    ]


def _edge_conv(
    batch: int, points: int, k: int, channels: tuple[int, int], targets: tuple[float | None, float | None],
    hidden: int = 0,
) -> list[Timed]:  # fmt: skip
    return [
        Timed(edgeconv_bench.BENCHMARK, edgeconv_bench.Case(batch, points, k, *channels, passes, hidden), target)
        for passes, target in zip(edgeconv_bench.PASSES, targets, strict=True)
    ]


def cases(dry_run: bool) -> Sequence[Timed]:
    """In the order of the report: those that most networks use first, the largest last."""
    if dry_run:
        return [
            _knn("surface", 2, 100, 3, 8),
            _fps(2, 200, 20),
            *_edge_conv(2, 60, 5, (3, 8), (None, None)),
            *_edge_conv(2, 60, 5, (3, 8), (None, None), hidden=6),
            _ball_query(2, 60, 40, 0.3, 8),
            *_neighborhood("gather", 2, 60, 40, 5, 8),
            *_neighborhood("chamfer", 2, 60, 70, 1, 0),
            *_gradients(2, 60, 5),
        ]
    return [
        _knn("surface", 32, 1024, 3, 20, 30e-6),
        _fps(32, 1024, 512, 70e-6),
        *_edge_conv(32, 1024, 20, (3, 64), (25e-6, 70e-6)),
        *_edge_conv(32, 1024, 20, (64, 64), (40e-6, 130e-6)),
        _knn("features", 32, 1024, 64, 20, 55e-6),
        _knn("features", 32, 1024, 128, 20, 80e-6),
        *_edge_conv(32, 1024, 20, (64, 128), (60e-6, 200e-6)),
        *_edge_conv(32, 1024, 20, (128, 256), (130e-6, 420e-6)),
        *_edge_conv(32, 2048, 40, (64, 64), (200e-6, None), hidden=64),
        _ball_query(32, 1024, 512, 0.2, 32),
        *_neighborhood("gather", 32, 1024, 1024, 16, 64),
        *_neighborhood("chamfer", 32, 1024, 1024, 1, 0),
        *_gradients(32, 1024, 20),
        _knn("surface", 32, 2048, 3, 40, 65e-6),
        _fps(32, 2048, 1024, 180e-6),
        _fps(8, 16384, 4096, 0.8e-3),
        _fps(1, 100_000, 10_000, 2e-3),
        _knn("surface", 1, 100_000, 3, 16, 130e-6),
        _knn("surface", 1, 1_000_000, 3, 16, 0.8e-3),
        _fps(1, 1_000_000, 100_000, 30e-3),
    ]


def hottest(dry_run: bool) -> Sequence[Timed]:
    """Those that hold the kernels in which networks spend their time."""
    if dry_run:
        return cases(dry_run)[:2]
    return [
        _knn("surface", 32, 1024, 3, 20),
        _knn("features", 32, 1024, 64, 20),
        _fps(32, 1024, 512),
        _edge_conv(32, 1024, 20, (64, 64), (None, None))[1],
    ]
