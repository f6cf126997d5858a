"""Augmentation of images.

Written by hand, because torchvision's transforms take no random generator, without which a run could not resume exactly
where it stopped.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from crosspoint.data.augment.draws import uniform

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, the weights every colour-jitter implementation converts to grey with


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
