"""What a cheap scanner makes of an object: one side of it, noisy, leaning, with strays and pieces missing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosspoint.data.mesh import Array, rotation

_CELLS = 40  # of the grid, along each axis, in which a scanner sees only what is nearest
_THICKNESS = 0.1  # how far behind the nearest point of its cell a point is still seen, in units of the object's radius
_GAP = 0.3  # likewise behind the nearest point of the cells around, which closes the holes between points
_LEFT = 32  # points that always remain


@dataclass(frozen=True)
class ScanShift:
    """How scans differ from the surface. A scan's severity, drawn from [0, 1], scales all but the viewpoints."""

    viewpoints: int = 1
    """Stations of the scanner around the object; what none of them sees is missing. 0: nothing is hidden."""
    cut: float = 0.3
    """Largest share of the points that something in front of the object takes away on one side."""
    noise: float = 0.03
    """Largest standard deviation of the noise on every coordinate, as a share of the object's radius."""
    strays: float = 0.01
    """Largest share of points that lie anywhere."""
    stretch: float = 0.3
    """Each axis is scaled by exp of a draw from U(-stretch, stretch), beyond the stretch of the objects themselves."""
    tilt: float = 0.25
    """Largest angle by which the up axis leans, radians."""

    def __post_init__(self) -> None:
        if self.viewpoints < 0:
            raise ValueError(f"viewpoints must be at least 0, got {self.viewpoints}")
        for name in ("cut", "strays"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        for name in ("noise", "stretch", "tilt"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


def scan(points: Array, shift: ScanShift, severity: float, rng: np.random.Generator) -> Array:
    """Scan a dense cloud.

    Args:
        points: (N, 3) inside the unit sphere, y up, dense enough to hide what lies behind it.
        shift: What happens to scans.
        severity: How bad this one is, in [0, 1].
        rng: The scan's random stream.

    Returns:
        (M, 3) with M <= N: what the scanner saw, in its own scale and pose.
    """
    seen = np.zeros(len(points), dtype=bool)
    start = rng.uniform(0.0, 2.0 * math.pi)
    for station in range(shift.viewpoints):
        azimuth = start + 2.0 * math.pi * station / shift.viewpoints
        seen |= visible(points, azimuth, rng.uniform(0.0, math.pi / 5))
    scanned: Array = points[seen] if shift.viewpoints else points
    direction = rng.normal(size=3)
    kept = max(min(_LEFT, len(scanned)), round(len(scanned) * (1.0 - severity * rng.uniform(0.0, shift.cut))))
    scanned = scanned[np.argsort(scanned @ direction, kind="stable")[:kept]]

    scanned = scanned * np.exp(severity * rng.uniform(-shift.stretch, shift.stretch, size=3))
    lean = severity * rng.uniform(0.0, shift.tilt)
    towards = rng.uniform(0.0, 2.0 * math.pi)
    scanned = scanned @ (rotation("y", -towards) @ rotation("x", lean) @ rotation("y", towards)).T
    scanned = scanned + severity * shift.noise * rng.normal(size=scanned.shape)
    stray = rng.random(len(scanned)) < severity * rng.uniform(0.0, shift.strays)
    scanned[stray] = rng.uniform(-1.0, 1.0, size=(int(stray.sum()), 3))
    return scanned


def visible(points: Array, azimuth: float, elevation: float) -> NDArray[np.bool_]:
    """Which points a distant scanner sees: the nearest of each cell of a grid, and those little behind it.

    Surfaces that it sees at a grazing angle lose some of theirs, as they do in real scans.

    Args:
        points: (N, 3) inside the unit sphere, y up.
        azimuth: Of the scanner about the up axis, radians; 0 is towards +z.
        elevation: Of the scanner above the horizon, radians.

    Returns:
        (N,) bool.
    """
    turned = points @ (rotation("x", elevation) @ rotation("y", -azimuth)).T
    cell = np.clip(((turned[:, :2] + 1.0) * (_CELLS / 2.0)).astype(np.int64), 0, _CELLS - 1)
    at = cell[:, 0] * _CELLS + cell[:, 1]
    nearest = np.full(_CELLS * _CELLS, -np.inf)
    np.maximum.at(nearest, at, turned[:, 2])
    framed = np.pad(nearest.reshape(_CELLS, _CELLS), 1, constant_values=-np.inf)
    shifts = [framed[i : i + _CELLS, j : j + _CELLS] for i in range(3) for j in range(3)]
    around = np.max(shifts, axis=0).ravel()
    seen: NDArray[np.bool_] = (turned[:, 2] >= nearest[at] - _THICKNESS) & (turned[:, 2] >= around[at] - _GAP)
    return seen
