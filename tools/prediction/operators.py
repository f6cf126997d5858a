"""The operators at the sizes that the design speaks of: their kernels, torch's launches around them, their floors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpu import floors

from prediction import traffic
from prediction.kernels import edge_conv, graphs, products
from prediction.kernels.ball_query import ball_query
from prediction.kernels.farthest_point_sampling import farthest_point_sampling
from prediction.kernels.knn import knn, knn_backward
from prediction.launches import Launch


@dataclass(frozen=True)
class Operator:
    """A call.

    Attributes:
        name: with its sizes.
        launches: of our kernels.
        around: launches of torch's operations and of memsets; or the case of tools/cuda_counters.json that has as many.
        floor: the time below which no version can come.
        torch_bytes: that torch's operations move.
    """

    name: str
    launches: list[Launch]
    around: str | int
    floor: floors.Floor
    torch_bytes: float = 0


Machine = dict[str, Any]


def _knn(batch: int, points: int, channels: int, k: int, machine: Machine) -> Operator:
    name = f"knn {batch}x{points}x{channels} k={k}"
    counted = "knn of 160 points, k=20"
    return Operator(
        name, knn(batch, points, points, channels, k), counted, floors.knn(batch, points, channels, k, machine)
    )


def _fps(batch: int, points: int, samples: int, machine: Machine) -> Operator:
    floor = floors.farthest_point_sampling(batch, points, samples, machine)
    name = f"farthest_point_sampling {batch}x{points} -> {samples}"
    counted = "farthest_point_sampling of 160 points, 32 samples"
    return Operator(name, farthest_point_sampling(batch, points, samples), counted, floor)


def _edge_conv(channels: int, outputs: int, backward: bool, machine: Machine) -> Operator:
    batch, points, k = 32, 1024, 20
    rows = batch * points
    launches = [
        *graphs.used_rows(batch, points, k),
        *products.product(rows, channels, 2 * outputs, along_inner=True),
        *edge_conv.forward(batch, points, k, outputs),
    ]
    if backward:
        launches += [
            *graphs.reverse_graph(batch, points, k),
            *edge_conv.backward(batch, points, k, outputs),
            *products.product(rows, 2 * outputs, channels, along_inner=False),
            *products.transposed_product(rows, 2 * outputs, channels),
        ]
    name = f"edge_conv 32x1024 k=20 {channels}->{outputs}" + (" and gradient" if backward else "")
    counted = "edge_conv of 96 x 8, 64 to 64" + (", and its gradient" if backward else "")
    floor = floors.edge_conv(batch, points, k, channels, outputs, backward, machine)
    moved = traffic.of_edge_conv(batch, points, k, channels, outputs).moved
    return Operator(name, launches, counted, floor, moved)


def _two_layers(machine: Machine) -> Operator:
    batch, points, k, channels = 32, 2048, 40, 64
    around = traffic.of_two_layers(batch, points, k, channels, channels)
    launches = [
        *products.product(batch * points, channels, 2 * channels, along_inner=True),
        *products.product(batch * points * k, channels, channels, along_inner=True),
    ]
    floor = floors.edge_conv_two_layer(batch, points, k, (channels, channels, channels), False, machine)
    name = f"edge_conv_two_layer {batch}x{points} k={k} {channels}-{channels}-{channels}"
    return Operator(name, launches, around.launches, floor, around.moved)


def operators(machine: Machine) -> list[Operator]:
    """All of them, in the order of the table."""
    table: list[Callable[[], Operator]] = [
        *(lambda s=s: _knn(*s, machine) for s in (
            (32, 1024, 3, 20), (32, 1024, 64, 20), (32, 1024, 128, 20), (32, 2048, 3, 40), (1, 100_000, 3, 16),
            (1, 1_000_000, 3, 16),
        )),
        *(lambda s=s: _fps(*s, machine) for s in (
            (32, 1024, 512), (32, 2048, 1024), (8, 16384, 4096), (1, 100_000, 10_000), (1, 1_000_000, 100_000),
        )),
        *(lambda c=c, o=o, b=b: _edge_conv(c, o, b, machine)
          for b in (False, True) for c, o in ((3, 64), (64, 64), (64, 128), (128, 256))),
        lambda: _two_layers(machine),
        lambda: Operator(
            "ball_query 32x(512 of 1024) k=32", ball_query(32, 1024, 512, 32), "ball_query of 160 points, k=8",
            floors.ball_query(32, 1024, 512, 32, machine)),
        lambda: Operator(
            "gather_neighbors 32x1024x16 of 64", graphs.gather(32, 1024, 16, 64),
            "gather_neighbors of 160 x 8 of 32 channels", floors.gather(32, 1024, 1024, 16, 64, False, machine)),
        lambda: Operator(
            "reverse graph 32x1024x20", graphs.reverse_graph(32, 1024, 20), "reverse graph of 160 x 8",
            floors.gather(32, 1024, 1024, 20, 1, False, machine)),
        lambda: Operator(
            "knn's gradient 32x1024x3 k=20",
            [*graphs.reverse_graph(32, 1024, 20), *knn_backward(32, 1024, 20, 3)], "reverse graph of 160 x 8",
            floors.gather(32, 1024, 1024, 20, 3, False, machine)),
        lambda: Operator(
            "chamfer_distance 2x(32, 1024, 1024)", [*knn(32, 1024, 1024, 3, 1), *knn(32, 1024, 1024, 3, 1)],
            "chamfer_distance of 160 points", floors.chamfer(32, 1024, 1024, machine)),
    ]  # fmt: skip
    return [make() for make in table]
