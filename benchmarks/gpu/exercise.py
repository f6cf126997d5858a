"""Runs every operator once over small hard inputs; what compute-sanitizer watches. Checks integers against the CPU.

python benchmarks/gpu/exercise.py --device cuda
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pointkernels

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from clouds import cloud  # the named hard inputs of the tests

CLOUDS = ("random", "duplicates", "features", "odd_features", "lattice", "one_point", "two_coordinates", "nan")
DONE = "every operator has run"


def both(device: str, call: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """The results of a call on the device and on the CPU."""
    placed = [argument.to(device) if isinstance(argument, Tensor) else argument for argument in arguments]
    return call(*placed), call(*arguments)


def same(device: str, what: str, call: Callable[..., Tensor], *arguments: Any) -> None:
    """Fails unless both devices return the same integers."""
    there, here = both(device, call, *arguments)
    if not torch.equal(there.cpu(), here):
        raise SystemExit(f"{what} must be the same on {device} and on the CPU, got other integers")


def search(device: str, name: str, dtype: torch.dtype) -> None:
    """Neighbours: lists of one, two and four rows, several rounds, ragged clouds, gradients."""
    points = cloud(name, dtype)
    for k in (8, 40, 100, 150):
        same(device, f"knn of {name}, k = {k}", lambda p, k=k: pointkernels.knn(p, k), points)
    same(device, f"knn of {name} without itself", lambda p: pointkernels.knn(p, 5, include_self=False), points)
    lengths = torch.arange(points.shape[0]) * points.shape[1] // max(points.shape[0], 1)
    same(device, f"knn of ragged {name}", lambda p, n: pointkernels.knn(p, 8, lengths=n), points, lengths)
    leaf = points.to(device).requires_grad_()
    distances, _ = pointkernels.knn(leaf, min(8, points.shape[1]), return_distance=True)
    distances.sum().backward()


def gather(device: str, name: str, dtype: torch.dtype) -> None:
    """Neighbours within a radius, both orders, and what is computed from neighbours, with gradients."""
    points = cloud(name, dtype)
    for nearest in (False, True):
        for k in (8, 40):
            what = f"{'nearest' if nearest else 'first'} {k} within a radius of {name}"
            call: Callable[..., Tensor] = lambda p, k=k, n=nearest: pointkernels.ball_query(p, 0.5, k, nearest=n)  # noqa: E731
            same(device, what, call, points)
    leaf = points.to(device).requires_grad_()
    neighbors = pointkernels.knn(points, 4).to(device)
    features = torch.randn(*points.shape[:2], 5, dtype=dtype, device=device, requires_grad=True)
    weights = torch.rand(neighbors.shape, dtype=dtype, device=device, requires_grad=True)
    results = (
        pointkernels.gather_neighbors(features, neighbors),
        pointkernels.gather_weighted(features, neighbors, weights),
        pointkernels.interpolate(features, leaf, leaf.detach() + 0.1),
        pointkernels.chamfer_distance(leaf, leaf.detach() + 0.1),
    )
    torch.stack([result.sum() for result in results]).sum().backward()


def sample(device: str, name: str, dtype: torch.dtype) -> None:
    """Farthest points: all of each cloud, and of ragged ones."""
    points = cloud(name, dtype)
    count = points.shape[1]
    same(device, f"samples of {name}", lambda p: pointkernels.farthest_point_sampling(p, count), points)
    lengths = torch.arange(points.shape[0]) * count // max(points.shape[0], 1)
    same(
        device,
        f"samples of ragged {name}",
        lambda p, n: pointkernels.farthest_point_sampling(p, count, lengths=n),
        points,
        lengths,
    )


def convolve(device: str, k: int, training: bool, dtype: torch.dtype) -> None:
    """One EdgeConv layer, forward and backward; k beyond 255 takes wide slots."""
    torch.manual_seed(0)
    features = torch.randn(2, 70, 6, dtype=dtype)
    neighbors = torch.randint(-1, 70, (2, 70, k))
    layer = pointkernels.nn.EdgeConv(6, 40, k=k, dtype=dtype).to(device).train(training)
    leaf = features.to(device).requires_grad_()
    layer(leaf, neighbors.to(device)).square().sum().backward()


def exercise(device: str, clouds: int = len(CLOUDS)) -> None:
    """All of it on the first so many clouds, and a synchronisation, so that errors of the device come out here."""
    for dtype in (torch.float32, torch.float64):
        for name in CLOUDS[:clouds] if dtype == torch.float32 else CLOUDS[: min(clouds, 2)]:
            search(device, name, dtype)
            gather(device, name, dtype)
            sample(device, name, dtype)
        for k, training in ((5, True), (5, False), (260, True)):
            convolve(device, k, training, dtype)
    if device == "cuda":
        torch.cuda.synchronize()
    print(DONE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--clouds", type=int, default=len(CLOUDS), help="how many of the inputs (%(default)s)")
    arguments = parser.parse_args()
    if arguments.clouds < 1:
        parser.error(f"--clouds must be at least 1, got {arguments.clouds}")
    exercise(arguments.device, arguments.clouds)
