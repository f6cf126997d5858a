"""Another way to picture objects: coloured parts, light from anywhere, a background, a poor lens and sensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from crosspoint.data.mesh import unit
from crosspoint.data.rendering.render import look
from crosspoint.data.rendering.views import as_bytes, directions_around

_PATCHES = 5  # a background's colours vary over so many patches along each side
_AMBIENT = 0.25  # the light that comes from all sides


@dataclass(frozen=True)
class PhotoShift:
    """How pictures differ from plain renderings. An object's severity, drawn from [0, 1], scales each of them."""

    background: float = 0.08
    """How far the background goes from white to patches of any colour, at most; in [0, 1]."""
    colour: float = 0.5
    """How far the parts go from one light grey to any colour each, at most; in [0, 1]."""
    light: float = 0.6
    """How far the light goes from above the viewer's shoulder to anywhere, at most; in [0, 1]."""
    zoom: float = 0.1
    """By which share objects are smaller in their pictures, at most; in [0, 1). They move aside as far as they fit."""
    blur: float = 0.7
    """Largest standard deviation of the blur, in 48ths of the picture's side."""
    noise: float = 0.04
    """Largest standard deviation of the noise on each value."""
    elevation: tuple[float, float] = (-math.pi / 12, math.pi / 3)
    """Lowest and highest elevation of the camera above the horizon, radians, whatever the severity."""

    def __post_init__(self) -> None:
        for name in ("background", "colour", "light"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.zoom < 1:
            raise ValueError(f"zoom must lie in [0, 1), got {self.zoom}")
        for name in ("blur", "noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        low, high = self.elevation
        if not -math.pi / 2 <= low <= high <= math.pi / 2:
            raise ValueError(f"elevation must be a range inside [-pi/2, pi/2], got {self.elevation}")


def photograph(
    points: Tensor,
    normals: Tensor,
    parts: NDArray[np.int64],
    shift: PhotoShift,
    severity: float,
    rng: np.random.Generator,
    *,
    count: int,
    size: int,
) -> Tensor:
    """Pictures of an object from all around, each in its own place.

    Args:
        points: (N, 3) float32 inside the unit sphere, y up.
        normals: (N, 3) float32.
        parts: (N,) the part of the object that each point lies on, from 0.
        shift: What happens to pictures.
        severity: How much of it happens to this object, in [0, 1].
        rng: The object's random stream.
        count: Number of pictures V.
        size: Their side, pixels.

    Returns:
        (V, 3, size, size) uint8 RGB.
    """
    azimuth, elevation = directions_around(count, rng, shift.elevation)
    scale = 1.0 - severity * rng.uniform(0.0, shift.zoom, size=(count, 1, 1))
    aside = (1.0 - scale) * unit(rng.normal(size=(count, 1, 3))) * rng.random((count, 1, 1))
    placed = points * torch.from_numpy(scale).float() + torch.from_numpy(aside).float()
    seen = look(placed, normals.expand_as(placed), azimuth=azimuth, elevation=elevation, size=size)

    usual = np.array((-0.45, 0.6, 0.65))
    amount = severity * shift.light
    light = unit((1.0 - amount) * usual + amount * unit(rng.normal(size=(count, 3))))
    towards = torch.from_numpy(light).float().view(count, 1, 1, 3)
    brightness = _AMBIENT + (1.0 - _AMBIENT) * (seen.normal * towards).sum(dim=-1).clamp(min=0.0)
    amount = severity * shift.colour
    palette = (1.0 - amount) * 0.8 + amount * rng.random((int(parts.max()) + 1, 3))
    colour = torch.from_numpy(palette[parts]).float()[seen.point.clamp(min=0)]
    lit = brightness.unsqueeze(1) * colour.permute(0, 3, 1, 2)

    amount = severity * shift.background
    patches = torch.from_numpy((1.0 - amount) + amount * rng.random((count, 3, _PATCHES, _PATCHES))).float()
    behind = F.interpolate(patches, size=(size, size), mode="bilinear", align_corners=True)
    pictures = torch.where(seen.point.unsqueeze(1) >= 0, lit, behind)
    pictures = _blurred(pictures, severity * rng.uniform(0.0, shift.blur) * size / 48.0)
    grain = rng.standard_normal(tuple(pictures.shape), dtype=np.float32)
    pictures = pictures + severity * rng.uniform(0.0, shift.noise) * torch.from_numpy(grain)
    return as_bytes(pictures.clamp(0.0, 1.0))


def _blurred(pictures: Tensor, sigma: float) -> Tensor:
    """Pictures (V, 3, S, S) under a Gaussian of a standard deviation in pixels; the border is repeated."""
    reach = math.ceil(2.0 * sigma)
    if reach == 0:
        return pictures
    offsets = torch.arange(-reach, reach + 1, dtype=pictures.dtype)
    weights = (-0.5 * (offsets / sigma).square()).exp()
    weights = weights / weights.sum()
    padded = F.pad(pictures.flatten(0, 1).unsqueeze(1), (reach,) * 4, mode="replicate")
    rows = F.conv2d(padded, weights.view(1, 1, -1, 1))
    return F.conv2d(rows, weights.view(1, 1, 1, -1)).view_as(pictures)
