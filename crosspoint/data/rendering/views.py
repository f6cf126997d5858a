"""All views of an object, in an order that never changes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from crosspoint.data.rendering.neighborhoods import estimate_normals
from crosspoint.data.rendering.render import RenderMode, render
from crosspoint.data.sample import UpAxis


def directions_around(
    count: int, rng: np.random.Generator, elevation: tuple[float, float] = (0.0, math.pi / 4)
) -> tuple[Tensor, Tensor]:
    """Viewing directions evenly around the up axis, starting anywhere, each at a random elevation.

    Args:
        count: Number of views V.
        rng: The object's random stream.
        elevation: Lowest and highest elevation above the horizon, radians.

    Returns:
        (azimuth, elevation), each (V,) float32, radians.
    """
    azimuth = 2.0 * math.pi * (np.arange(count) + rng.random()) / count
    return torch.from_numpy(azimuth).float(), torch.from_numpy(rng.uniform(*elevation, size=count)).float()


def as_bytes(pictures: Tensor) -> Tensor:
    """Pictures in [0, 1] as uint8."""
    return (255.0 * pictures).round().to(torch.uint8)


def render_views(
    points: Tensor,
    normals: Tensor | None,
    rng: np.random.Generator,
    *,
    count: int,
    size: int,
    mode: RenderMode = "shaded",
    up_axis: UpAxis = "y",
) -> Tensor:
    """Views of a cloud from all around, each in its own light and tint.

    Args:
        points: (N, 3) float32 inside the unit sphere.
        normals: (N, 3), or None to estimate them.
        rng: The object's random stream.
        count: Number of views V.
        size: Side of the square pictures, pixels.
        mode: What a view shows.
        up_axis: Vertical axis of the cloud.

    Returns:
        (V, 3, size, size) uint8 RGB.
    """
    azimuth, elevation = directions_around(count, rng)
    cloud = points.unsqueeze(0)
    normals = estimate_normals(cloud) if normals is None else normals.unsqueeze(0)
    pictures = render(
        cloud.expand(count, -1, -1),
        normals.expand(count, -1, -1),
        azimuth=azimuth,
        elevation=elevation,
        size=size,
        mode=mode,
        up_axis=up_axis,
        generator=torch.Generator().manual_seed(int(rng.integers(2**62))),
    )
    return as_bytes(pictures)
