"""Runs every operator on the emulated device, and counts what its kernels do and what torch does around them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import emulated
import torch
from torch import Tensor

import pointkernels
from cuda_gates.around import Around
from pointkernels.ops import edge_conv_two_layer_chunks as chunks


def _points(rows: int, dims: int) -> Tensor:
    return torch.randn(1, rows, dims, generator=torch.Generator().manual_seed(0))


def _edge_conv(channels: int, outputs: int, backward: bool) -> Callable[[], Any]:
    features, weight = _points(96, channels), _points(outputs, 2 * channels)[0]
    lists = pointkernels.knn(features, 8)
    one, zero = torch.ones(outputs), torch.zeros(outputs)
    running = torch.zeros(outputs), torch.ones(outputs)
    if backward:
        features, weight = features.requires_grad_(), weight.requires_grad_()

    def call() -> None:
        output = pointkernels.edge_conv(features, lists, weight, one, zero, *running, training=True)
        if backward:
            output.backward(torch.ones_like(output))

    return call


def _two_layers() -> Callable[[], Any]:
    nodes, lists = _points(96, 32)[0], pointkernels.knn(_points(96, 3), 8)[0]
    weight, vectors = _points(12, 16)[0], [torch.ones(n) for n in (16, 16, 16, 12, 12)]
    bn_weight, bn_bias, center, bn_weight2, bn_bias2 = vectors
    first = (nodes, lists, 96, bn_weight, bn_bias, None, None, 1e-5, 0.2)
    return lambda: chunks.forward(*first, weight, center, bn_weight2, bn_bias2, None, None, 1e-5, 0.2)


def _knn_backward() -> Callable[[], Any]:
    points = _points(96, 3).requires_grad_()

    def call() -> None:
        distances, _ = pointkernels.knn(points, 8, return_distance=True)
        distances.sum().backward()

    return call


def cases() -> dict[str, Callable[[], Any]]:
    """A call of every operator by what it does; inputs are made here, outside of what is counted."""
    small, large = _points(160, 3), _points(64, 64)
    lists, features = pointkernels.knn(small, 8), _points(160, 32)
    x, weight, grad = _points(200, 24)[0], _points(40, 24)[0], _points(200, 40)[0]
    operators = torch.ops.pointkernels
    return {
        "knn of 160 points, k=20": lambda: pointkernels.knn(small, 20),
        "knn of 64 features of 64 channels, k=20": lambda: pointkernels.knn(large, 20),
        "knn of 96 points, k=8, and its gradient": _knn_backward(),
        "farthest_point_sampling of 160 points, 32 samples": lambda: pointkernels.farthest_point_sampling(small, 32),
        "ball_query of 160 points, k=8": lambda: pointkernels.ball_query(small, 1.0, 8),
        "gather_neighbors of 160 x 8 of 32 channels": lambda: pointkernels.gather_neighbors(features, lists),
        "reverse graph of 160 x 8": lambda: operators._reverse_graph(lists[0], 160, 160, 160),
        "linear of 200 rows, 24 to 40": lambda: operators._linear(x, weight),
        "linear's gradient": lambda: operators._linear_backward(grad, x, weight, True, True),
        "chamfer_distance of 160 points": lambda: pointkernels.chamfer_distance(small, small.flip(1) + 1),
        "edge_conv of 96 x 8, 3 to 16": _edge_conv(3, 16, backward=False),
        "edge_conv of 96 x 8, 3 to 16, and its gradient": _edge_conv(3, 16, backward=True),
        "edge_conv of 96 x 8, 64 to 64": _edge_conv(64, 64, backward=False),
        "edge_conv of 96 x 8, 64 to 64, and its gradient": _edge_conv(64, 64, backward=True),
        "edge_conv_two_layer of 96 x 8, 16 to 12": _two_layers(),
    }


def count(call: Callable[[], Any]) -> dict[str, dict[str, int]]:
    """The counts of a call, by kernel, and of the call as a whole under ""."""
    library = emulated.operators(90, "counters")
    with emulated.device("forward", check="counters"):
        library.reset_counters()
        with Around() as around:
            call()
    counted = library.counters()
    total = {
        "launches": sum(kernel["launches"] for kernel in counted["kernels"]),
        "memsets": counted["memsets"],
        "torch_launches": around.launches,
        "bytes": around.bytes,
    }
    kernels = {
        k["name"]: {name: n for name, n in k.items() if name not in ("name", "blocks", "work")} | k["work"]
        for k in counted["kernels"]
    }
    return {"": total, **kernels}


def count_all() -> dict[str, dict[str, dict[str, int]]]:
    """The counts of every case."""
    return {name: count(call) for name, call in cases().items()}


def missing() -> str | None:
    """Why nothing can be counted here; None where it can."""
    return emulated.missing()


def compiler() -> str:
    """What compiles the emulation."""
    from build_emulation import COMPILER

    printed = subprocess.run([COMPILER, "-dumpfullversion"], capture_output=True, text=True, check=True).stdout
    return f"{COMPILER} {printed.strip()}"
