"""Weak and strong views of images for self-training, batched and driven by an explicit generator.

The numbers are those of Cross-MoST's official code, which takes the strong view from timm's ``create_transform``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from crosspoint.data.augment.images import as_float_images, normalise_images, random_flip
from crosspoint.data.augment.rand_augment import RandAugment, rand_augment

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_MOST_TRIES = 10  # for a crop of the drawn shape that fits into the image


@dataclass(frozen=True, kw_only=True)
class ImageViews:
    """Parameters of `weak_images`, `strong_images` and `plain_images`; the defaults are Cross-MoST's."""

    size: int = 224
    """Side of the square output, pixels."""
    scale: tuple[float, float] = (0.3, 1.0)
    """Share of the area that the crop of a strong view covers."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width of that crop, divided by its height."""
    flip: float = 0.5
    """Probability that a strong view is mirrored."""
    operations: RandAugment = field(default_factory=RandAugment)
    """What else happens to a strong view."""
    mean: tuple[float, float, float] = CLIP_MEAN
    """Mean of each channel, subtracted at the end."""
    std: tuple[float, float, float] = CLIP_STD
    """Standard deviation of each channel, divided by at the end."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"scale must be a range (low, high) with 0 < low <= high <= 1, got {self.scale}")
        low, high = self.ratio
        if not 0 < low <= high:
            raise ValueError(f"ratio must be a range (low, high) with 0 < low <= high, got {self.ratio}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip must lie in [0, 1], got {self.flip}")
        if not min(self.std) > 0:
            raise ValueError(f"std must be positive, got {self.std}")


def weak_images(images: Tensor, parameters: ImageViews, generator: torch.Generator) -> Tensor:
    """The teacher's view: resize the shorter side, cut out a square at a random place, normalise.

    Square images are cut at the only place there is.

    Args:
        images: (B, 3, H, W) floating point in [0, 1], or uint8; any device.
        parameters: Size, mean and deviation.
        generator: Source of the places.

    Returns:
        (B, 3, size, size) floating point, normalised.
    """
    images = _shorter_side(as_float_images(images), parameters.size)
    batch, size = len(images), parameters.size
    spare = max(images.shape[-2:]) - size
    if spare and batch:
        start = (torch.rand(batch, generator=generator, device=generator.device) * (spare + 1)).long().tolist()
        tall = images.shape[-2] > size
        images = torch.stack(
            [
                image[:, at : at + size] if tall else image[..., at : at + size]
                for image, at in zip(images, start, strict=True)
            ]
        )
    return normalise_images(images, parameters.mean, parameters.std)


def strong_images(images: Tensor, parameters: ImageViews, generator: torch.Generator) -> Tensor:
    """The student's view: a random crop, resized, mirrored, changed by RandAugment, and normalised.

    Args:
        images: (B, 3, H, W) floating point in [0, 1], or uint8; any device.
        parameters: Ranges of the draws.
        generator: Source of all randomness.

    Returns:
        (B, 3, size, size) floating point, normalised; each image changed by its own draws.
    """
    images = random_resized_crop(
        as_float_images(images), parameters.size, parameters.scale, parameters.ratio, generator
    )
    images = random_flip(images, parameters.flip, generator)
    images = rand_augment(images, parameters.operations, generator, fill=parameters.mean)
    return normalise_images(images, parameters.mean, parameters.std)


def plain_images(images: Tensor, parameters: ImageViews) -> Tensor:
    """The view for evaluation: resize the shorter side, cut out the middle, normalise.

    Args:
        images: (B, 3, H, W) floating point in [0, 1], or uint8; any device.
        parameters: Size, mean and deviation.

    Returns:
        (B, 3, size, size) floating point, normalised.
    """
    images = _shorter_side(as_float_images(images), parameters.size)
    top, left = ((length - parameters.size) // 2 for length in images.shape[-2:])
    images = images[..., top : top + parameters.size, left : left + parameters.size]
    return normalise_images(images, parameters.mean, parameters.std)


def _shorter_side(images: Tensor, size: int) -> Tensor:
    """Images resized, bicubic, until their shorter side is as long as wanted."""
    height, width = images.shape[-2:]
    shorter = min(height, width)
    if shorter == size:
        return images
    wanted = (round(height * size / shorter), round(width * size / shorter))
    return F.interpolate(images, size=wanted, mode="bicubic", antialias=True).clamp(0.0, 1.0)


def random_resized_crop(
    images: Tensor,
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """Cut from each image a rectangle of random area, shape and place, and make it a square.

    Args:
        images: (B, 3, H, W) floating point in [0, 1].
        size: Side of the result, pixels.
        scale: Range of the rectangle's share of the area.
        ratio: Range of its width divided by its height, drawn evenly on a logarithmic scale.
        generator: Source of all randomness.

    Returns:
        (B, 3, size, size) in [0, 1], bicubic. An image in which ten draws do not fit is cut in the middle, as large as
        the ratio allows.
    """
    batch, _, height, width = images.shape
    if batch == 0:
        return images.new_empty((0, 3, size, size))
    draws = torch.rand((batch, _MOST_TRIES, 4), generator=generator, device=generator.device).double()
    area = height * width * (scale[0] + (scale[1] - scale[0]) * draws[..., 0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    shape = torch.exp(low + (high - low) * draws[..., 1])
    wide, tall = (area * shape).sqrt(), (area / shape).sqrt()
    fits = (wide <= width) & (tall <= height)
    first = fits.int().argmax(dim=1, keepdim=True)
    whole = min(max(width / height, ratio[0]), ratio[1])
    fits = fits.any(dim=1)
    wide = torch.where(fits, wide.gather(1, first)[:, 0], min(float(width), height * whole))
    tall = torch.where(fits, tall.gather(1, first)[:, 0], min(float(height), width / whole))
    across, down = (torch.where(fits, draws[..., axis].gather(1, first)[:, 0], 0.5) for axis in (2, 3))
    left, top = across * (width - wide), down * (height - tall)

    # Pixel centres of the result, in the image's pixels.
    centre = (torch.arange(size, device=draws.device) + 0.5) / size
    x = left.unsqueeze(1) + wide.unsqueeze(1) * centre
    y = top.unsqueeze(1) + tall.unsqueeze(1) * centre
    rows = _bicubic_weights(y, tall / size, height).to(images)
    columns = _bicubic_weights(x, wide / size, width).to(images)
    return (rows.unsqueeze(1) @ images @ columns.unsqueeze(1).transpose(2, 3)).clamp(0.0, 1.0)


def _bicubic_weights(position: Tensor, step: Tensor, length: int) -> Tensor:
    """What each of `length` pixels in a line counts at each position (B, S), in pixels from the border: (B, S, length).

    The cubic kernel with a = -0.5, as Pillow's, wider where the step between positions is more than a pixel.
    """
    width = step.clamp(min=1.0).view(-1, 1, 1)
    pixels = torch.arange(length, device=position.device, dtype=position.dtype) + 0.5
    distance = ((pixels - position.unsqueeze(2)) / width).abs()
    near = (1.5 * distance - 2.5) * distance.square() + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    return weights / weights.sum(dim=2, keepdim=True)
