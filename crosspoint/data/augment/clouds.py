"""Random transforms of clouds, batched and driven by an explicit generator.

Each object of a batch gets its own draw. Random numbers are drawn on the generator's device and moved to the data's, so
a CPU generator gives the same augmentation whatever device the batch is on. The composition and the default numbers are
those of CrossPoint's pre-training (Afham et al. 2022, https://arxiv.org/abs/2203.00680).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from crosspoint.data.augment.draws import uniform
from crosspoint.data.sample import UpAxis

_AXES: dict[UpAxis, int] = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class CloudAugmentation:
    """Parameters of `augment_clouds`; the defaults are CrossPoint's."""

    scale: tuple[float, float] = (0.5, 2.0)
    """Range of the isotropic scale factor."""
    max_rotation: float = 2.0 * math.pi
    """The rotation about the up axis is drawn from [0, max_rotation), radians."""
    up_axis: UpAxis = "y"
    """Axis of the rotation."""
    translate: float = 0.5
    """Translation along each axis, at most this fraction of the bounding box's extent, either way."""
    jitter_sigma: float = 0.01
    """Standard deviation of the noise on every coordinate."""
    jitter_clip: float = 0.05
    """Largest absolute noise on a coordinate."""
    max_dropout: float = 0.875
    """The share of points replaced by the first point is drawn from [0, max_dropout)."""

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(f"scale must be a range (low, high) with 0 < low <= high, got {self.scale}")
        if self.up_axis not in _AXES:
            raise ValueError(f"up_axis must be 'x', 'y' or 'z', got {self.up_axis!r}")
        for name in ("max_rotation", "translate", "jitter_sigma", "jitter_clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.max_dropout <= 1:
            raise ValueError(f"max_dropout must lie in [0, 1], got {self.max_dropout}")


def _check_clouds(points: Tensor) -> None:
    if not points.is_floating_point():
        raise TypeError(f"points must be a floating point tensor, got {points.dtype}")
    if points.dim() < 2 or points.shape[-1] != 3 or points.shape[-2] == 0:
        raise ValueError(f"points must have shape (..., N, 3) with N >= 1, got {tuple(points.shape)}")


def check_batch(points: Tensor) -> None:
    _check_clouds(points)
    if points.dim() != 3:
        raise ValueError(f"points must have shape (B, N, 3), got {tuple(points.shape)}")


def unit_sphere(points: Tensor) -> Tensor:
    """Centre clouds on the mean of their points and scale them so that the farthest point has norm 1.

    Args:
        points: (..., N, 3) floating point. A cloud of identical points becomes all zeros.

    Returns:
        Clouds of the same shape.
    """
    _check_clouds(points)
    centred = points - points.mean(dim=-2, keepdim=True)
    radius = centred.norm(dim=-1, keepdim=True).amax(dim=-2, keepdim=True)
    return centred / torch.where(radius > 0, radius, torch.ones_like(radius))


def random_scale(points: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Scale each cloud (B, N, 3) about the origin by a factor from U(low, high)."""
    check_batch(points)
    return points * uniform((len(points), 1, 1), low, high, points, generator)


def random_rotation(points: Tensor, max_angle: float, generator: torch.Generator, *, up_axis: UpAxis = "y") -> Tensor:
    """Rotate each cloud (B, N, 3) about `up_axis` by an angle from U(0, max_angle), radians."""
    check_batch(points)
    angle = uniform((len(points), 1), 0.0, max_angle, points, generator)
    cos, sin = angle.cos(), angle.sin()
    up = _AXES[up_axis]
    first, second = (
        (up + 1) % 3,
        (up + 2) % 3,
    )  # a right-handed pair, so that the angle turns the same way for each axis
    rotated = points.clone()
    rotated[..., first] = cos * points[..., first] - sin * points[..., second]
    rotated[..., second] = sin * points[..., first] + cos * points[..., second]
    return rotated


def random_translation(points: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
    """Move each cloud (B, N, 3) along each axis by U(-ratio, ratio) times its extent on that axis."""
    check_batch(points)
    extent = points.amax(dim=1, keepdim=True) - points.amin(dim=1, keepdim=True)
    return points + extent * uniform((len(points), 1, 3), -ratio, ratio, points, generator)


def random_jitter(points: Tensor, sigma: float, clip: float, generator: torch.Generator) -> Tensor:
    """Add to each coordinate of (B, N, 3) normal noise of deviation `sigma`, clipped to [-clip, clip]."""
    check_batch(points)
    noise = torch.randn(points.shape, generator=generator, device=generator.device, dtype=points.dtype)
    return points + (sigma * noise).clamp(-clip, clip).to(points.device)


def random_input_dropout(points: Tensor, max_ratio: float, generator: torch.Generator) -> Tensor:
    """Replace in each cloud (B, N, 3) a share of the points, itself drawn from U(0, max_ratio), by the first point."""
    check_batch(points)
    ratio = uniform((len(points), 1), 0.0, max_ratio, points, generator)
    dropped = uniform((len(points), points.shape[1]), 0.0, 1.0, points, generator) < ratio
    return torch.where(dropped.unsqueeze(-1), points[:, :1], points)


def augment_clouds(points: Tensor, parameters: CloudAugmentation, generator: torch.Generator) -> Tensor:
    """CrossPoint's cloud transform: unit sphere, scale, rotation, translation, jitter, input dropout.

    Args:
        points: (B, N, 3) floating point, any device.
        parameters: ranges of the draws.
        generator: source of all randomness.

    Returns:
        (B, N, 3), each cloud transformed by its own draw. Differentiable in `points`.
    """
    check_batch(points)
    points = unit_sphere(points)
    points = random_scale(points, *parameters.scale, generator)
    points = random_rotation(points, parameters.max_rotation, generator, up_axis=parameters.up_axis)
    points = random_translation(points, parameters.translate, generator)
    points = random_jitter(points, parameters.jitter_sigma, parameters.jitter_clip, generator)
    return random_input_dropout(points, parameters.max_dropout, generator)
