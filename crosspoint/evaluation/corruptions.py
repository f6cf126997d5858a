"""Changes of clouds that real sensors and scenes bring about, at five strengths, seeded.

Every function maps (B, N, 3) points in the unit sphere to (B, M, 3), each cloud changed by its own draw from the
generator, and leaves its input alone. The kinds are among those of ModelNet40-C (Sun et al. 2022,
https://arxiv.org/abs/2201.12296); the numbers are our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

STRENGTHS = 5
"""Strengths run from 1 to this; 0 is the unchanged cloud."""

Corruption = Callable[[Tensor, float, torch.Generator], Tensor]


def noise(points: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Adds to every coordinate normal noise of the given standard deviation (radius of the unit sphere)."""
    return points + deviation * torch.randn(points.shape, generator=generator, dtype=points.dtype)


def drop(points: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Removes a random share of the points; at least one is left."""
    order = torch.rand(points.shape[:2], generator=generator).argsort(dim=1)
    return _take(points, order[:, : _kept(points, share)])


def rotate(points: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Turns each cloud by the given angle about an axis drawn uniformly from the sphere."""
    axis = torch.nn.functional.normalize(
        torch.randn((len(points), 3), generator=generator, dtype=points.dtype), dim=1
    ).unsqueeze(1)
    angle = math.radians(degrees)
    # Rodrigues' formula.
    along = (points * axis).sum(dim=2, keepdim=True) * axis
    across: Tensor = torch.linalg.cross(axis.expand_as(points), points, dim=2)
    return points * math.cos(angle) + across * math.sin(angle) + along * (1.0 - math.cos(angle))


def scale(points: Tensor, factor: float, generator: torch.Generator) -> Tensor:
    """Scales each axis of each cloud by a factor of its own, log-uniform between 1 / ``factor`` and ``factor``."""
    draw = 2.0 * torch.rand((len(points), 1, 3), generator=generator, dtype=points.dtype) - 1.0
    return points * torch.exp(math.log(factor) * draw)


def occlude(points: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Removes the given share of the points: those farthest from a viewer in a direction drawn from the sphere."""
    towards = torch.nn.functional.normalize(
        torch.randn((len(points), 3), generator=generator, dtype=points.dtype), dim=1
    )
    depth = -(points * towards.unsqueeze(1)).sum(dim=2)
    nearest = depth.argsort(dim=1, stable=True)[:, : _kept(points, share)]
    return _take(points, nearest.sort(dim=1).values)


def _kept(points: Tensor, share: float) -> int:
    return max(1, round((1.0 - share) * points.shape[1]))


def _take(points: Tensor, chosen: Tensor) -> Tensor:
    return points.gather(1, chosen.unsqueeze(2).expand(-1, -1, points.shape[2]))


CORRUPTIONS: Mapping[str, tuple[Corruption, tuple[float, ...]]] = {
    "noise": (noise, (0.01, 0.02, 0.03, 0.05, 0.08)),
    "dropped points": (drop, (0.25, 0.5, 0.75, 0.85, 0.95)),
    "rotation": (rotate, (10.0, 20.0, 40.0, 90.0, 180.0)),
    "scale": (scale, (1.2, 1.4, 1.6, 2.0, 3.0)),
    "occlusion": (occlude, (0.2, 0.35, 0.5, 0.65, 0.8)),
}
"""For each kind the function and its parameter at strengths 1 to 5."""

UNITS: Mapping[str, str] = {
    "noise": "standard deviation",
    "dropped points": "share removed",
    "rotation": "degrees",
    "scale": "largest factor",
    "occlusion": "share removed",
}
"""What each kind's parameter is."""


def corruption(kind: str, strength: int, seed: int) -> Callable[[Tensor], Tensor]:
    """A change of batches that is the same whenever it is made anew.

    Args:
        kind: A key of :data:`CORRUPTIONS`.
        strength: 0 (no change) to :data:`STRENGTHS`.
        seed: Seed of the draws; batches that come in the same order get the same ones.

    Raises:
        ValueError: If there is no such kind or strength.
    """
    if kind not in CORRUPTIONS:
        raise ValueError(f"a corruption must be one of {', '.join(CORRUPTIONS)}, got {kind}")
    if not 0 <= strength <= STRENGTHS:
        raise ValueError(f"the strength of a corruption must lie in [0, {STRENGTHS}], got {strength}")
    if strength == 0:
        return lambda points: points
    change, parameters = CORRUPTIONS[kind]
    generator = torch.Generator().manual_seed(seed * 1000 + 10 * list(CORRUPTIONS).index(kind) + strength)
    return lambda points: change(points, parameters[strength - 1], generator)
