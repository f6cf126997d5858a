"""Augmentations of clouds and images."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from crosspoint.data import (
    CloudAugmentation,
    ImageAugmentation,
    UpAxis,
    augment_clouds,
    augment_images,
    prepare_images,
)
from crosspoint.data.augment.clouds import (
    random_input_dropout,
    random_jitter,
    random_rotation,
    random_scale,
    random_translation,
    unit_sphere,
)
from crosspoint.data.augment.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    random_colour_jitter,
    random_flip,
    resize_images,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _clouds(batch: int = 256, count: int = 32) -> Tensor:
    return torch.randn(batch, count, 3, generator=_generator(99), dtype=torch.float64)


# Clouds


def test_unit_sphere() -> None:
    points = _clouds(8) * torch.tensor([100.0, 1.0, 1e-3]) + 1000.0
    result = unit_sphere(points)
    assert torch.allclose(result.mean(dim=1), torch.zeros(8, 3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(result.norm(dim=2).amax(dim=1), torch.ones(8, dtype=torch.float64))
    ratio = (points - points.mean(dim=1, keepdim=True)) / result
    assert torch.allclose(ratio, ratio[:, :1, :1].expand_as(ratio))


def test_unit_sphere_of_one_place_is_the_origin() -> None:
    assert torch.equal(unit_sphere(torch.full((2, 5, 3), 7.0)), torch.zeros(2, 5, 3))
    assert torch.equal(unit_sphere(torch.full((1, 3), 7.0)), torch.zeros(1, 3))


def test_random_scale_is_isotropic_per_cloud_and_fills_its_range() -> None:
    points = _clouds()
    factor = random_scale(points, 0.5, 2.0, _generator()) / points
    assert torch.allclose(factor, factor[:, :1, :1].expand_as(factor))
    factors = factor[:, 0, 0]
    assert factors.min() >= 0.5
    assert factors.max() <= 2.0
    assert factors.min() < 0.55
    assert factors.max() > 1.95
    assert abs(factors.mean() - 1.25) < 0.1


@pytest.mark.parametrize(("axis", "number"), [("x", 0), ("y", 1), ("z", 2)])
def test_random_rotation_turns_about_the_up_axis(axis: UpAxis, number: int) -> None:
    points = _clouds()
    rotated = random_rotation(points, 2 * math.pi, _generator(), up_axis=axis)
    assert torch.equal(rotated[..., number], points[..., number])
    assert torch.allclose(torch.cdist(rotated, rotated), torch.cdist(points, points), atol=1e-6)
    matrix = torch.linalg.lstsq(points, rotated).solution  # points @ matrix = rotated
    assert torch.allclose(torch.linalg.det(matrix), torch.ones(len(points), dtype=torch.float64))
    first, second = (number + 1) % 3, (number + 2) % 3
    angle = torch.atan2(matrix[:, first, second], matrix[:, first, first])  # right-handed
    quarter = torch.histc(angle, bins=4, min=-math.pi, max=math.pi)
    assert quarter.min() > len(points) / 8


def test_random_rotation_keeps_to_its_range() -> None:
    points = torch.tensor([[[0.0, 0.0, 1.0]]]).expand(64, 1, 3)
    rotated = random_rotation(points, math.pi / 2, _generator())
    angle = torch.atan2(rotated[..., 0], rotated[..., 2])  # about y, z turns towards x
    assert angle.min() >= 0
    assert angle.max() <= math.pi / 2
    assert angle.max() > 1.2


def test_random_translation_follows_the_extent_of_each_axis() -> None:
    points = _clouds() * torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    moved = random_translation(points, 0.5, _generator()) - points
    assert torch.allclose(moved, moved[:, :1].expand_as(moved), atol=1e-9)
    share = moved[:, 0] / (points.amax(dim=1) - points.amin(dim=1))
    assert share.abs().max() <= 0.5
    assert (share.amax(dim=0) > 0.45).all()
    assert (share.amin(dim=0) < -0.45).all()
    assert torch.corrcoef(share.T).triu(1).abs().max() < 0.3


def test_random_jitter_has_its_deviation_and_clip() -> None:
    points = _clouds()
    noise = random_jitter(points, 0.01, 0.05, _generator()) - points
    assert abs(noise.std() - 0.01) < 5e-4
    assert abs(noise.mean()) < 1e-3
    clipped = random_jitter(points, 0.1, 0.05, _generator()) - points
    assert clipped.abs().max() <= 0.05 + 1e-12
    assert (clipped.abs() > 0.0499).double().mean() > 0.5


def test_random_input_dropout_repeats_the_first_point() -> None:
    points = _clouds(256, 64)
    result = random_input_dropout(points, 0.875, _generator())
    first = (result == points[:, :1]).all(dim=2)
    kept = (result == points).all(dim=2)
    assert (first | kept).all()
    share = (~kept).double().mean(dim=1)
    assert share.max() > 0.75
    assert share.max() < 0.99
    assert share.min() < 0.05
    assert abs(share.mean() - 0.43) < 0.06


def test_augment_clouds_composes_and_leaves_its_input_alone() -> None:
    points = _clouds(64, 128).float()
    before = points.clone()
    result = augment_clouds(points, CloudAugmentation(), _generator())
    assert torch.equal(points, before)
    assert result.shape == points.shape
    assert result.dtype == torch.float32
    still = CloudAugmentation(
        scale=(1.0, 1.0), max_rotation=0.0, translate=0.0, jitter_sigma=0.0, jitter_clip=0.0, max_dropout=0.0
    )
    assert torch.equal(augment_clouds(points, still, _generator()), unit_sphere(points))
    only_scale = dataclasses.replace(still, scale=(3.0, 3.0))
    assert torch.allclose(augment_clouds(points, only_scale, _generator()), 3 * unit_sphere(points))


def test_augment_clouds_draws_for_each_cloud_and_repeats_with_the_seed() -> None:
    points = _clouds(1, 32).expand(4, -1, -1)
    once = augment_clouds(points, CloudAugmentation(), _generator(3))
    again = augment_clouds(points, CloudAugmentation(), _generator(3))
    assert torch.equal(once, again)
    assert len({tuple(cloud.flatten().tolist()) for cloud in once}) == 4
    assert not torch.equal(once, augment_clouds(points, CloudAugmentation(), _generator(4)))


def test_augment_clouds_does_not_touch_the_global_generator() -> None:
    before = torch.get_rng_state()
    augment_clouds(_clouds(4), CloudAugmentation(), _generator())
    augment_images(torch.rand(2, 3, 8, 8, generator=_generator()), ImageAugmentation(), _generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_augment_clouds_of_nothing() -> None:
    assert augment_clouds(torch.empty(0, 5, 3), CloudAugmentation(), _generator()).shape == (0, 5, 3)


@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        (torch.rand(2, 4), ValueError, r"points must have shape \(\.\.\., N, 3\) with N >= 1, got \(2, 4\)"),
        (torch.rand(2, 0, 3), ValueError, r"points must have shape \(\.\.\., N, 3\) with N >= 1, got \(2, 0, 3\)"),
        (torch.rand(4, 3), ValueError, r"points must have shape \(B, N, 3\), got \(4, 3\)"),
        (
            torch.zeros(2, 4, 3, dtype=torch.int64),
            TypeError,
            r"points must be a floating point tensor, got torch.int64",
        ),
    ],
)
def test_augment_clouds_rejects(points: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        augment_clouds(points, CloudAugmentation(), _generator())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": (0.0, 1.0)}, r"scale must be a range \(low, high\) with 0 < low <= high, got \(0\.0, 1\.0\)"),
        ({"scale": (2.0, 1.0)}, r"scale must be a range \(low, high\) with 0 < low <= high, got \(2\.0, 1\.0\)"),
        ({"up_axis": "w"}, "up_axis must be 'x', 'y' or 'z', got 'w'"),
        ({"translate": -0.1}, r"translate must be at least 0, got -0\.1"),
        ({"jitter_sigma": float("nan")}, "jitter_sigma must be at least 0, got nan"),
        ({"max_dropout": 1.5}, r"max_dropout must lie in \[0, 1\], got 1\.5"),
    ],
)
def test_cloud_parameters_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        CloudAugmentation(**change)


# Images


def _images(batch: int = 64, size: int = 8) -> Tensor:
    return torch.rand(batch, 3, size, size, generator=_generator(7), dtype=torch.float64)


def _grey(images: Tensor) -> Tensor:
    return (images * torch.tensor([0.2989, 0.587, 0.114], dtype=images.dtype).view(1, 3, 1, 1)).sum(1, keepdim=True)


def test_brightness_scales() -> None:
    images = _images() * 0.5 + 0.1
    factor = random_colour_jitter(images, 0.4, 0.0, 0.0, _generator()) / images
    assert torch.allclose(factor, factor[:, :1, :1, :1].expand_as(factor))
    assert factor.min() >= 0.6
    assert factor.max() <= 1.4
    assert factor[:, 0, 0, 0].std() > 0.1


def test_contrast_blends_with_the_mean_grey() -> None:
    images = _images() * 0.4 + 0.3
    mean = _grey(images).mean(dim=(2, 3), keepdim=True)
    factor = (random_colour_jitter(images, 0.0, 0.4, 0.0, _generator()) - mean) / (images - mean)
    assert torch.allclose(factor, factor[:, :1, :1, :1].expand_as(factor), atol=1e-9)
    assert factor[:, 0, 0, 0].std() > 0.1


def test_saturation_blends_with_grey() -> None:
    images = _images() * 0.4 + 0.3
    grey = _grey(images)
    factor = (random_colour_jitter(images, 0.0, 0.0, 0.4, _generator()) - grey) / (images - grey)
    assert torch.allclose(factor, factor[:, :1, :1, :1].expand_as(factor), atol=1e-9)
    assert factor[:, 0, 0, 0].std() > 0.1


def test_colour_jitter_uses_all_orders() -> None:
    """With the three factors known, the result tells in which order they were applied."""
    image = _images(1) * 0.9 + 0.05
    images = image.expand(200, -1, -1, -1)
    result = random_colour_jitter(images, 0.4, 0.4, 0.4, _generator(1))
    factors = torch.stack([0.6 + 0.8 * draw for draw in _draws(_generator(1), 200)], dim=1)
    seen = set()
    for number in range(200):
        for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
            expected = image
            for change in order:
                factor = factors[number, change]
                grey = _grey(expected)
                other = (torch.zeros_like(grey), grey.mean(dim=(2, 3), keepdim=True), grey)[change]
                expected = (factor * expected + (1 - factor) * other).clamp(0, 1)
            if torch.allclose(result[number], expected[0], atol=1e-12):
                seen.add(order)
                break
        else:
            pytest.fail(f"image {number} matches no order")
    assert len(seen) == 6


def _draws(generator: torch.Generator, batch: int) -> list[Tensor]:
    return [torch.rand((batch, 1), generator=generator, dtype=torch.float64)[:, 0] for _ in range(3)]


def test_random_flip() -> None:
    images = _images(200)
    result = random_flip(images, 0.5, _generator())
    flipped = (result == images.flip(-1)).flatten(1).all(dim=1)
    assert ((result == images).flatten(1).all(dim=1) ^ flipped).all()
    assert 70 < flipped.sum() < 130
    assert torch.equal(random_flip(images, 0.0, _generator()), images)
    assert torch.equal(random_flip(images, 1.0, _generator()), images.flip(-1))


def test_resize_averages_when_it_shrinks() -> None:
    checkerboard = (torch.arange(32).view(-1, 1) + torch.arange(32)).remainder(2).double().expand(1, 3, 32, 32)
    assert torch.allclose(resize_images(checkerboard, 4), torch.full((1, 3, 4, 4), 0.5, dtype=torch.float64), atol=0.05)
    assert resize_images(checkerboard, 32) is checkerboard
    assert resize_images(torch.rand(2, 3, 5, 9), 16).shape == (2, 3, 16, 16)


def test_augment_images_normalises() -> None:
    still = ImageAugmentation(size=None, brightness=0.0, contrast=0.0, saturation=0.0, flip=0.0)
    images = _images()
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    assert torch.allclose(augment_images(images, still, _generator()), (images - mean) / std)
    assert torch.allclose(prepare_images(images, ImageAugmentation(size=8)), (images - mean) / std)


def test_images_of_bytes_are_scaled() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    plain = ImageAugmentation(size=None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert torch.allclose(prepare_images(images, plain)[0, :, 0, 0], torch.tensor([0.0, 0.2, 1.0]))


def test_augment_images_has_the_size_asked_for_and_repeats() -> None:
    images = _images(4, 20).float()
    parameters = ImageAugmentation(size=16)
    once = augment_images(images, parameters, _generator(5))
    assert once.shape == (4, 3, 16, 16)
    assert once.dtype == torch.float32
    assert torch.equal(once, augment_images(images, parameters, _generator(5)))
    assert not torch.equal(once, augment_images(images, parameters, _generator(6)))


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.rand(2, 1, 4, 4), ValueError, r"images must have shape \(B, 3, H, W\), got \(2, 1, 4, 4\)"),
        (
            torch.zeros(2, 3, 4, 4, dtype=torch.int64),
            TypeError,
            "images must be uint8 or floating point, got torch.int64",
        ),
    ],
)
def test_augment_images_rejects(images: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        augment_images(images, ImageAugmentation(), _generator())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"contrast": -1.0}, r"contrast must be at least 0, got -1\.0"),
        ({"flip": 2.0}, r"flip must lie in \[0, 1\], got 2\.0"),
        ({"std": (1.0, 0.0, 1.0)}, r"std must be positive, got \(1\.0, 0\.0, 1\.0\)"),
    ],
)
def test_image_parameters_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        ImageAugmentation(**change)
