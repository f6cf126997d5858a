"""Random transforms of clouds and images, batched and driven by an explicit generator.

Each object of a batch gets its own draw. Random numbers are drawn on the generator's device and moved to the data's, so
a CPU generator gives the same augmentation whatever device the batch is on. The composition and the default numbers are
those of CrossPoint's pre-training (Afham et al. 2022, https://arxiv.org/abs/2203.00680).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from crosspoint.data.sample import UpAxis

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, the weights every colour-jitter implementation converts to grey with
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


@dataclass(frozen=True)
class ImageAugmentation:
    """Parameters of `augment_images`; the defaults are CrossPoint's."""

    size: int | None = 224
    """Side of the square output, pixels; None keeps the input's size."""
    brightness: float = 0.4
    """The brightness factor is drawn from [max(0, 1 - brightness), 1 + brightness]."""
    contrast: float = 0.4
    """The contrast factor is drawn likewise."""
    saturation: float = 0.4
    """The saturation factor is drawn likewise."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Mean of each channel, subtracted at the end."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Standard deviation of each channel, divided by at the end."""

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")
        for name in ("brightness", "contrast", "saturation"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip must lie in [0, 1], got {self.flip}")
        if not min(self.std) > 0:
            raise ValueError(f"std must be positive, got {self.std}")


def uniform(shape: tuple[int, ...], low: float, high: float, like: Tensor, generator: torch.Generator) -> Tensor:
    draw = torch.rand(shape, generator=generator, device=generator.device, dtype=like.dtype)
    return (low + (high - low) * draw).to(like.device)


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


def as_float_images(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1], from bytes where they are uint8; raises TypeError or ValueError for others."""
    if images.dim() != 4 or images.shape[1] != 3:
        raise ValueError(f"images must have shape (B, 3, H, W), got {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        return images.float() / 255.0
    if not images.is_floating_point():
        raise TypeError(f"images must be uint8 or floating point, got {images.dtype}")
    return images


def resize_images(images: Tensor, size: int) -> Tensor:
    """Resize (B, 3, H, W) floating point images to (B, 3, size, size): bilinear, antialiased."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def random_colour_jitter(
    images: Tensor, brightness: float, contrast: float, saturation: float, generator: torch.Generator
) -> Tensor:
    """Change brightness, contrast and saturation of each image by its own factors and in its own random order.

    Args:
        images: (B, 3, H, W) floating point in [0, 1].
        brightness: the factor is drawn from [max(0, 1 - brightness), 1 + brightness]; it blends with black.
        contrast: likewise; blends with the mean grey of the image.
        saturation: likewise; blends with the grey image.
        generator: source of the factors and of the order.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    batch = len(images)
    factors = torch.cat(
        [
            uniform((batch, 1), max(0.0, 1.0 - s), 1.0 + s, images, generator)
            for s in (brightness, contrast, saturation)
        ],
        dim=1,
    )
    order = uniform((batch, 3), 0.0, 1.0, images, generator).argsort(dim=1)
    luma = torch.tensor(LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    for step in range(3):
        change = order[:, step : step + 1]
        factor = factors.gather(1, change).view(-1, 1, 1, 1)
        grey = (images * luma).sum(dim=1, keepdim=True)
        change = change.view(-1, 1, 1, 1)
        towards = torch.where(change == 1, grey.mean(dim=(2, 3), keepdim=True), grey) * (change > 0)
        images = (factor * images + (1.0 - factor) * towards).clamp(0.0, 1.0)
    return images


def random_flip(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Mirror each image (B, 3, H, W) left to right with the given probability."""
    flipped = uniform((len(images), 1, 1, 1), 0.0, 1.0, images, generator) < probability
    return torch.where(flipped, images.flip(-1), images)


def normalise_images(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Subtract `mean` and divide by `std`, channel by channel, in images (B, 3, H, W)."""
    centre = torch.tensor(mean, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    spread = torch.tensor(std, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    return (images - centre) / spread


def augment_images(images: Tensor, parameters: ImageAugmentation, generator: torch.Generator) -> Tensor:
    """CrossPoint's image transform: resize, colour jitter, horizontal flip, normalisation; no crop.

    Args:
        images: (B, 3, H, W) floating point in [0, 1], or uint8; any device.
        parameters: ranges of the draws.
        generator: source of all randomness.

    Returns:
        (B, 3, size, size) floating point, normalised.
    """
    images = as_float_images(images)
    if parameters.size is not None:
        images = resize_images(images, parameters.size)
    images = random_colour_jitter(images, parameters.brightness, parameters.contrast, parameters.saturation, generator)
    images = random_flip(images, parameters.flip, generator)
    return normalise_images(images, parameters.mean, parameters.std)


def prepare_images(images: Tensor, parameters: ImageAugmentation) -> Tensor:
    """The part of `augment_images` that is not random, for evaluation: resize and normalisation."""
    images = as_float_images(images)
    if parameters.size is not None:
        images = resize_images(images, parameters.size)
    return normalise_images(images, parameters.mean, parameters.std)
