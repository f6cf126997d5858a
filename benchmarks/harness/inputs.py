"""The point clouds and features that are measured, all seeded."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.contenders import LeftOut
from pointkernels.nn import EdgeConv

ROOT = Path(__file__).resolve().parents[2]


def cube(batch: int, count: int, channels: int = 3, seed: int = 0) -> Tensor:
    """(B, N, C) uniform in the unit cube."""
    return torch.rand(batch, count, channels, generator=torch.Generator().manual_seed(seed))


def surface(batch: int, count: int, seed: int = 0) -> Tensor:
    """(B, N, 3) on the unit sphere, with 2 % noise: the density of real surface scans, without their holes."""
    generator = torch.Generator().manual_seed(seed)
    points: Tensor = F.normalize(torch.randn(batch, count, 3, generator=generator), dim=2)
    return points + 0.02 * torch.randn(points.shape, generator=generator)


def features(batch: int, count: int, channels: int, seed: int = 0) -> Tensor:
    """(B, N, C) surface points through a random two-layer ReLU network, plus 2 % noise.

    Nearer to learned features than random numbers are: neighbours in space stay neighbours, and the points lie close to
    a surface, which trees can still make use of.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    first = torch.randn(3, channels, generator=generator)
    second = torch.randn(channels, channels, generator=generator) / channels**0.5
    mapped: Tensor = torch.relu(surface(batch, count, seed) @ first) @ second
    return mapped + 0.02 * mapped.std() * torch.randn(mapped.shape, generator=generator)


def layers(batch: int, count: int, channels: int, seed: int = 0) -> Tensor:
    """(B, N, C) what two layers of DGCNN, and a third one to C channels, make of surface points before any training."""
    widths = (3, 64, 64, channels)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = nn.Sequential(*[EdgeConv(*width) for width in itertools.pairwise(widths)])
        mapped: Tensor = network(surface(batch, count, seed))
    return mapped


def scan(name: str, count: int | None = None, seed: int = 0) -> Tensor:
    """(1, N, 3) float32: a real scan, whole or a random part of it.

    Raises:
        LeftOut: the folder of real data is not there, or the scan has too few points.
    """
    shared = Path(os.environ.get("POINTKERNELS_SHARED", ROOT.parent / "shared"))
    path = shared / "data" / "scans" / f"{name}.npz"
    if not path.is_file():
        raise LeftOut("needs the real scans; set POINTKERNELS_SHARED to the folder that has data/scans")
    with np.load(path) as archive:
        points = torch.from_numpy(archive["points"].astype(np.float32))
    points = points[points.isfinite().all(dim=1)]
    if count is not None:
        if len(points) < count:
            raise LeftOut(f"needs {count} points, and {name} has {len(points)}")
        points = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:count]]
    return points[None].contiguous()


def make(kind: str, batch: int, count: int, channels: int) -> Tensor:
    """Inputs by name: cube, surface, features, layers, or a scan.

    Raises:
        LeftOut: a scan that is not there.
    """
    of_any_width = {"cube": cube, "features": features, "layers": layers}
    if kind in of_any_width:
        return of_any_width[kind](batch, count, channels)
    if kind == "surface":
        return surface(batch, count)
    return scan(kind, count)
