"""Weak and strong views of clouds for self-training, batched and driven by an explicit generator.

The order and the numbers are those of Cross-MoST's official code.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

import pointkernels
from crosspoint.data.augment.clouds import (
    CloudAugmentation,
    augment_clouds,
    check_batch,
    random_scale,
    unit_sphere,
)
from crosspoint.data.augment.draws import uniform

AS_CODE_CROP = (9.0, 1.1)
"""The official range of the crop's side: 9 stands where 0.9 was probably meant, so that nothing is ever cut away."""


@dataclass(frozen=True, kw_only=True)
class CloudViews:
    """Parameters of `weak_clouds` and `strong_clouds`; the defaults are Cross-MoST's without its crop."""

    weak_scale: tuple[float, float] = (0.9, 1.1)
    """Range of a weak view's isotropic scale factor."""
    tilt_sigma: float = 0.06
    """Standard deviation of a weak view's rotation about each axis, radians."""
    tilt_clip: float = 0.18
    """Largest rotation about each axis, radians."""
    strong: CloudAugmentation = field(default_factory=CloudAugmentation)
    """What happens to a strong view before it is cropped; CrossPoint's transform, of which they are the same."""
    crop: tuple[float, float] = (0.9, 1.1)
    """Ends between which the side of a strong view's box is drawn, as a share of the extent; from 1 on, nothing is cut.
    `AS_CODE_CROP` is what the official code does."""
    crop_ratio: tuple[float, float] = (0.9, 1.1)
    """Range of the factor by which the box is longer along the second axis, and shorter along the third."""
    crop_kept: float = 0.5
    """A cloud is cropped only if at least this share of its points remains."""
    upsample: int | None = None
    """Points that a strong view with fewer is brought to, each the mean of the neighbourhood of one; None: as many as
    it has. Officially 8192."""
    upsample_neighbors: int = 10
    """Points in such a mean, itself included."""

    def __post_init__(self) -> None:
        low, high = self.weak_scale
        if not 0 < low <= high:
            raise ValueError(f"weak_scale must be a range (low, high) with 0 < low <= high, got {self.weak_scale}")
        for name in ("tilt_sigma", "tilt_clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("crop", "crop_ratio"):
            if not min(getattr(self, name)) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 < self.crop_kept <= 1:
            raise ValueError(f"crop_kept must lie in (0, 1], got {self.crop_kept}")
        if self.upsample is not None and self.upsample < 1:
            raise ValueError(f"upsample must be at least 1, got {self.upsample}")
        if self.upsample_neighbors < 1:
            raise ValueError(f"upsample_neighbors must be at least 1, got {self.upsample_neighbors}")


def weak_clouds(points: Tensor, parameters: CloudViews, generator: torch.Generator) -> Tensor:
    """The teacher's view: unit sphere, a slight scale, a slight rotation about any axis.

    Args:
        points: (B, N, 3) floating point, any device.
        parameters: Ranges of the draws.
        generator: Source of all randomness.

    Returns:
        (B, N, 3).
    """
    check_batch(points)
    points = random_scale(unit_sphere(points), *parameters.weak_scale, generator)
    return random_tilt(points, parameters.tilt_sigma, parameters.tilt_clip, generator)


def strong_clouds(points: Tensor, parameters: CloudViews, generator: torch.Generator) -> Tensor:
    """The student's view: CrossPoint's transform, then a crop, then more points.

    Args:
        points: (B, N, 3) floating point, any device.
        parameters: Ranges of the draws.
        generator: Source of all randomness.

    Returns:
        (B, max(N, upsample), 3).
    """
    points = augment_clouds(points, parameters.strong, generator)
    points = random_crop(points, parameters.crop, parameters.crop_ratio, parameters.crop_kept, generator)
    if parameters.upsample is not None:
        points = upsample_clouds(points, parameters.upsample, parameters.upsample_neighbors, generator)
    return points


def random_tilt(points: Tensor, sigma: float, clip: float, generator: torch.Generator) -> Tensor:
    """Rotate each cloud (B, N, 3) about x, then y, then z, by normal draws of deviation `sigma` clipped to `clip`."""
    check_batch(points)
    noise = torch.randn((len(points), 3), generator=generator, device=generator.device, dtype=points.dtype)
    x, y, z = (sigma * noise).clamp(-clip, clip).to(points.device).unbind(dim=1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, dim=1).view(-1, 3, 3)

    about_x = matrix(one, zero, zero, zero, x.cos(), -x.sin(), zero, x.sin(), x.cos())
    about_y = matrix(y.cos(), zero, y.sin(), zero, one, zero, -y.sin(), zero, y.cos())
    about_z = matrix(z.cos(), -z.sin(), zero, z.sin(), z.cos(), zero, zero, zero, one)
    return points @ (about_z @ about_y @ about_x).transpose(1, 2)


def random_crop(
    points: Tensor, side: tuple[float, float], ratio: tuple[float, float], kept: float, generator: torch.Generator
) -> Tensor:
    """Keep of each cloud what lies in a random box; points outside are replaced by random ones inside.

    Args:
        points: (B, N, 3) floating point.
        side: Ends between which the box's side along the first axis is drawn, as a share of the cloud's extent.
        ratio: Range of a factor r: the sides along the second and third axis are r and 1 / r times the first.
        kept: A cloud of which less than this share would remain stays whole.
        generator: Source of all randomness.

    Returns:
        (B, N, 3). A side of 1 or more contains the whole extent.
    """
    check_batch(points)
    batch, count, _ = points.shape
    first = uniform((batch,), *side, points, generator)
    factor = uniform((batch,), *ratio, points, generator)
    sides = torch.stack([first, first * factor, first / factor], dim=1).unsqueeze(1)
    low, high = points.amin(dim=1, keepdim=True), points.amax(dim=1, keepdim=True)
    corner = (1.0 - sides) * uniform((batch, 1, 3), 0.0, 1.0, points, generator)  # below 0 where the side is above 1
    start = low + corner * (high - low)
    stop = start + sides * (high - low)
    # A box that reaches the end of the extent contains it, whatever rounding says.
    inside = ((points >= start) | (corner <= 0)) & ((points <= stop) | (corner + sides >= 1.0))
    inside = inside.all(dim=2)
    inside |= inside.float().mean(dim=1, keepdim=True) < kept
    order = torch.where(inside, uniform((batch, count), 0.0, 1.0, points, generator), 2.0).argsort(dim=1)
    remaining = inside.sum(dim=1, keepdim=True)
    source = ((~inside).cumsum(dim=1) - 1).clamp(min=0) % remaining  # each remaining point equally often
    substitute = points.gather(1, order.gather(1, source).unsqueeze(2).expand(-1, -1, 3))
    return torch.where(inside.unsqueeze(2), points, substitute)


def upsample_clouds(points: Tensor, count: int, neighbors: int, generator: torch.Generator) -> Tensor:
    """Add points to each cloud: means of the nearest neighbours of random ones of its points.

    Args:
        points: (B, N, 3) floating point.
        count: Points wanted; clouds that have as many or more stay as they are.
        neighbors: Points in a mean, the random one itself included; at most N.
        generator: Source of the random points.

    Returns:
        (B, max(N, count), 3): the given points, then the new ones.
    """
    check_batch(points)
    batch, given, _ = points.shape
    if given >= count:
        return points
    chosen = torch.randint(given, (batch, count - given), generator=generator, device=generator.device)
    chosen = chosen.to(points.device).unsqueeze(2).expand(-1, -1, 3)
    centers = points.gather(1, chosen)
    nearest: Tensor = pointkernels.knn(points, min(neighbors, given), query=centers)
    rows = torch.arange(batch, device=points.device).view(-1, 1, 1)
    return torch.cat([points, points[rows, nearest].mean(dim=2)], dim=1)
