"""RandAugment on batches: each image gets its own random operations, drawn from an explicit generator.

The operations and how their strength follows from a magnitude are those of timm's increasing RandAugment
(``rand-m9-mstd0.5-inc1``; Cubuk et al. 2020, https://arxiv.org/abs/1909.13719), on float images instead of Pillow's.
Written by hand, because those of timm and torchvision draw from global random numbers, one image after the other: a run
could not resume exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from crosspoint.data.augment.images import LUMA

_LARGEST = 10.0  # the magnitude at which an operation is strongest
_LEVELS = 255.0  # of a channel: thresholds and bits are meant for bytes


@dataclass(frozen=True)
class RandAugment:
    """Parameters of `rand_augment`; the defaults are those of Cross-MoST's strong images."""

    operations: int = 2
    """Operations on each image, one after the other, each drawn anew."""
    magnitude: float = 9.0
    """Mean strength of an operation, in [0, 10]."""
    magnitude_std: float = 0.5
    """Standard deviation of the strength; draws outside [0, 10] count as its ends."""
    probability: float = 0.5
    """Probability that a drawn operation is carried out."""

    def __post_init__(self) -> None:
        if self.operations < 0:
            raise ValueError(f"operations must be at least 0, got {self.operations}")
        if not 0 <= self.magnitude <= _LARGEST:
            raise ValueError(f"magnitude must lie in [0, 10], got {self.magnitude}")
        if not self.magnitude_std >= 0:
            raise ValueError(f"magnitude_std must be at least 0, got {self.magnitude_std}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], got {self.probability}")


def rand_augment(
    images: Tensor, parameters: RandAugment, generator: torch.Generator, fill: tuple[float, float, float]
) -> Tensor:
    """Change each image by random operations of random strength.

    Args:
        images: (B, 3, H, W) floating point in [0, 1], any device.
        parameters: Which operations are drawn.
        generator: Source of all randomness.
        fill: Colour of what an operation moves in from outside.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    if len(images) == 0:
        return images
    images = images.clone()
    for _ in range(parameters.operations):
        shape, device = (len(images),), generator.device
        which = torch.randint(len(OPERATIONS), shape, generator=generator, device=device)
        noise = torch.randn(shape, generator=generator, device=device)
        strength = (parameters.magnitude + parameters.magnitude_std * noise).clamp(0.0, _LARGEST) / _LARGEST
        sign = torch.randint(2, shape, generator=generator, device=device) * 2 - 1
        happens = torch.rand(shape, generator=generator, device=device) < parameters.probability
        which = torch.where(happens, which, -1)
        _move(images, which, strength, sign, fill)
        for number, (_, colour) in enumerate(OPERATIONS):
            rows = (which == number).nonzero().squeeze(1).to(images.device)
            if colour is not None and len(rows):
                level = strength.to(images)[rows].view(-1, 1, 1, 1)
                images[rows] = colour(images[rows], level, sign.to(images)[rows].view(-1, 1, 1, 1))
    return images


def _move(images: Tensor, which: Tensor, strength: Tensor, sign: Tensor, fill: tuple[float, float, float]) -> None:
    """Shears, shifts and turns the images whose operation says so, in place."""
    names = [name for name, _ in OPERATIONS]
    moved = torch.isin(which, torch.tensor([names.index(name) for name in _SPANS], device=which.device))
    rows = moved.nonzero().squeeze(1)
    if len(rows) == 0:
        return
    kind, amount = which[rows], (strength * sign)[rows]
    size = {name: torch.where(kind == names.index(name), amount * span, 0.0) for name, span in _SPANS.items()}
    cos, sin = size["rotate"].cos(), size["rotate"].sin()
    height, width = images.shape[-2:]
    # In the coordinates of grid_sample, [-1, 1] along each side: where a pixel's colour comes from.
    across = torch.stack([cos, size["shear_x"] * height / width - sin * height / width, 2.0 * size["translate_x"]], -1)
    down = torch.stack([size["shear_y"] * width / height + sin * width / height, cos, 2.0 * size["translate_y"]], -1)
    matrix = torch.stack([across, down], dim=1).to(images)
    rows = rows.to(images.device)
    images[rows] = warp(images[rows], matrix, fill)


def warp(images: Tensor, matrix: Tensor, fill: tuple[float, float, float]) -> Tensor:
    """Images (B, 3, H, W) whose pixels come from matrix (B, 2, 3) times their own place, bilinear, in [0, 1]."""
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    colour = images.new_tensor(fill).view(1, 3, 1, 1)
    moved = F.grid_sample(images - colour, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (moved + colour).clamp(0.0, 1.0)


def grey(images: Tensor) -> Tensor:
    """(B, 1, H, W) brightness of images (B, 3, H, W)."""
    return (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def auto_contrast(images: Tensor) -> Tensor:
    """Stretch each channel to [0, 1]; a channel of one value stays."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-12), images)


def equalize(images: Tensor) -> Tensor:
    """Make the values of each channel as evenly frequent as whole bytes allow; a channel of one value stays.

    Pillow's rule: with step the number of pixels below the brightest value, divided by 255 and rounded down, a byte v
    becomes (step // 2 + number of pixels below v) // step, or stays where step is 0.
    """
    batch, channels, height, width = images.shape
    values = (images * _LEVELS).round().long().clamp(0, 255).view(batch * channels, height * width)
    histogram = values.new_zeros((batch * channels, 256))
    histogram.scatter_add_(1, values, torch.ones_like(values))
    last = values.gather(1, values.argmax(dim=1, keepdim=True))
    step = (height * width - histogram.gather(1, last)).div(255, rounding_mode="floor")
    below = histogram.cumsum(dim=1) - histogram
    table = (step.div(2, rounding_mode="floor") + below).div(step.clamp(min=1), rounding_mode="floor").clamp(max=255)
    mapped = torch.where(step > 0, table.gather(1, values), values)
    return (mapped.to(images.dtype) / _LEVELS).view_as(images)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest bits (B, 1, 1, 1), 0 to 8, of each byte."""
    step = torch.exp2(8.0 - bits)
    return ((images * _LEVELS).round() / step).floor() * step / _LEVELS


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert what is at least as bright as the threshold, channel by channel."""
    return torch.where(images >= threshold, 1.0 - images, images)


def sharpen(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with a smoothed copy: 0 is smooth, 1 the image, 2 sharper. The outermost pixels stay."""
    kernel = images.new_ones(3, 3)
    kernel[1, 1] = 5.0
    kernel = (kernel / kernel.sum()).expand(3, 1, 3, 3)
    smooth = images.clone()
    if min(images.shape[-2:]) >= 3:
        smooth[..., 1:-1, 1:-1] = F.conv2d(images, kernel, groups=3)
    return _blend(smooth, images, factor)


def _blend(other: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    return (factor * images + (1.0 - factor) * other).clamp(0.0, 1.0)


def _factor(level: Tensor, sign: Tensor) -> Tensor:
    """Of an enhancement: 1 changes nothing."""
    return (1.0 + 0.9 * level * sign).clamp(min=0.1)


def _contrast(images: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    return _blend(grey(images).mean(dim=(2, 3), keepdim=True), images, _factor(level, sign))


def _solarize_add(images: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    added = (110.0 * level).floor() / _LEVELS
    return torch.where(images < 128.0 / _LEVELS, (images + added).clamp(max=1.0), images)


Colour = Callable[[Tensor, Tensor, Tensor], Tensor]  # images, level in [0, 1], sign
OPERATIONS: tuple[tuple[str, Colour | None], ...] = (
    ("auto_contrast", lambda images, level, sign: auto_contrast(images)),
    ("equalize", lambda images, level, sign: equalize(images)),
    ("invert", lambda images, level, sign: 1.0 - images),
    ("rotate", None),
    ("posterize", lambda images, level, sign: posterize(images, 4.0 - (4.0 * level).floor())),
    ("solarize", lambda images, level, sign: solarize(images, (256.0 - (256.0 * level).floor()) / _LEVELS)),
    ("solarize_add", _solarize_add),
    ("colour", lambda images, level, sign: _blend(grey(images), images, _factor(level, sign))),
    ("contrast", _contrast),
    ("brightness", lambda images, level, sign: _blend(torch.zeros_like(images), images, _factor(level, sign))),
    ("sharpness", lambda images, level, sign: sharpen(images, _factor(level, sign))),
    ("shear_x", None),
    ("shear_y", None),
    ("translate_x", None),
    ("translate_y", None),
)
"""Names and changes of colour; those without one move the pixels."""
_SPANS = {"rotate": math.radians(30.0), "shear_x": 0.3, "shear_y": 0.3, "translate_x": 0.45, "translate_y": 0.45}
