"""Weak and strong views of images, and the operations of RandAugment against Pillow's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from crosspoint.data import ImageViews, plain_images, strong_images, weak_images
from crosspoint.data.augment.image_views import random_resized_crop
from crosspoint.data.augment.rand_augment import OPERATIONS, RandAugment, auto_contrast, rand_augment

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
COLOURS = dict(OPERATIONS)
NAMES = [name for name, _ in OPERATIONS]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def bytes_() -> Tensor:
    """Eight pictures with smooth parts, edges, and little contrast in some."""
    picture = torch.rand(8, 3, 24, 20, generator=_generator(1))
    picture[:4] = torch.nn.functional.interpolate(picture[:4, :, :6, :5], size=(24, 20), mode="bicubic").clamp(0, 1)
    picture[1] = 0.3 + 0.2 * picture[1]
    picture[2, 0] = 0.5  # a channel of one value
    return (255 * picture).round().to(torch.uint8)


def _pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    rows = [change(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images]
    return torch.stack([torch.from_numpy(np.array(row)).permute(2, 0, 1) for row in rows]).float()


ADDED = [min(255, value + 99) if value < 128 else value for value in range(256)] * 3
LEVEL, DOWN = 0.9, -1.0  # of operations of magnitude 9
PILLOWS: dict[str, tuple[float, float, Callable[[Image.Image], Image.Image], float]] = {
    "auto_contrast": (LEVEL, 1.0, ImageOps.autocontrast, 1.0),
    "equalize": (LEVEL, 1.0, ImageOps.equalize, 0.0),
    "invert": (LEVEL, 1.0, ImageOps.invert, 0.0),
    "posterize": (LEVEL, 1.0, lambda image: ImageOps.posterize(image, 1), 0.0),
    "posterize less": (0.3, 1.0, lambda image: ImageOps.posterize(image, 3), 0.0),
    "solarize": (LEVEL, 1.0, lambda image: ImageOps.solarize(image, 26), 0.0),
    "solarize_add": (LEVEL, 1.0, lambda image: image.point(ADDED), 0.0),
    "colour": (LEVEL, 1.0, lambda image: ImageEnhance.Color(image).enhance(1.81), 2.0),
    "colour less": (LEVEL, DOWN, lambda image: ImageEnhance.Color(image).enhance(0.19), 2.0),
    "contrast": (LEVEL, 1.0, lambda image: ImageEnhance.Contrast(image).enhance(1.81), 2.0),
    "brightness": (LEVEL, DOWN, lambda image: ImageEnhance.Brightness(image).enhance(0.19), 1.0),
    "sharpness": (LEVEL, 1.0, lambda image: ImageEnhance.Sharpness(image).enhance(1.81), 2.0),
    "sharpness less": (LEVEL, DOWN, lambda image: ImageEnhance.Sharpness(image).enhance(0.19), 2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", PILLOWS)
def test_colour_operations_are_pillows(name: str, bytes_: Tensor) -> None:
    level, sign, pillow, tolerance = PILLOWS[name]
    operation = COLOURS[name.split(" ")[0]]
    assert operation is not None
    shape = (len(bytes_), 1, 1, 1)
    ours = 255 * operation(bytes_.float() / 255, torch.full(shape, level), torch.full(shape, sign))
    difference = (ours - _pillow(bytes_, pillow)).abs().max()
    assert difference <= tolerance + 1e-3


def test_auto_contrast_keeps_a_channel_of_one_value() -> None:
    assert torch.equal(auto_contrast(torch.full((1, 3, 4, 4), 0.25)), torch.full((1, 3, 4, 4), 0.25))


def _moved(name: str, monkeypatch: pytest.MonkeyPatch, images: Tensor, fill: float) -> Tensor:
    """Images under one operation alone, with the strength of magnitude 10 and a sign that the seed draws."""
    number = NAMES.index(name)
    monkeypatch.setattr(torch, "randint", lambda high, shape, **_: torch.full(shape, number if high > 2 else 1))
    parameters = RandAugment(operations=1, magnitude=10, magnitude_std=0, probability=1)
    return rand_augment(images, parameters, _generator(), (fill,) * 3)


@pytest.mark.parametrize("name", ["translate_x", "translate_y", "rotate", "shear_x", "shear_y"])
def test_moves(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(1, 3, 40, 20, generator=_generator())
    result = _moved(name, monkeypatch, images, fill=0.5)[0]
    if name == "translate_x":  # by 45 percent of 20 pixels, to the left
        assert torch.allclose(result[..., :11], images[0, ..., 9:], atol=1e-5)
        assert torch.allclose(result[..., 12:], torch.tensor(0.5), atol=1e-5)
    elif name == "translate_y":
        assert torch.allclose(result[:, :22], images[0, :, 18:], atol=1e-5)
    else:
        # A smooth picture, of which the value at the place that a pixel comes from is known.
        y, x = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(20) - 9.5, indexing="ij")
        plane = (0.5 + 0.01 * x + 0.004 * y).expand(1, 3, -1, -1)
        angle = math.radians(30)
        matrix = {
            "rotate": ((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))),
            "shear_x": ((1.0, 0.3), (0.0, 1.0)),
            "shear_y": ((1.0, 0.0), (0.3, 1.0)),
        }[name]
        from_x, from_y = matrix[0][0] * x + matrix[0][1] * y, matrix[1][0] * x + matrix[1][1] * y
        inside = (from_x.abs() < 9.4) & (from_y.abs() < 19.4)
        expected = 0.5 + 0.01 * from_x + 0.004 * from_y
        moved = _moved(name, monkeypatch, plane, fill=0.5)[0]
        assert torch.allclose(moved[:, inside], expected[inside].expand(3, -1), atol=1e-5)


def test_rand_augment_draws_for_each_image(bytes_: Tensor) -> None:
    images = bytes_[:1].float().div(255).expand(64, -1, -1, -1)
    fill = (0.1, 0.2, 0.3)
    result = rand_augment(images, RandAugment(), _generator(3), fill)
    assert torch.equal(result, rand_augment(images, RandAugment(), _generator(3), fill))
    assert not torch.equal(result, rand_augment(images, RandAugment(), _generator(4), fill))
    assert 0 <= result.min() <= result.max() <= 1
    same = (result == images).flatten(1).all(dim=1).float().mean()
    assert 0.1 < same < 0.45  # both operations are left out with probability a quarter
    assert len({tuple(row[0, 0].tolist()) for row in result}) > 25
    assert torch.equal(rand_augment(images, RandAugment(probability=0), _generator(), fill), images)
    assert torch.equal(images, bytes_[:1].float().div(255).expand(64, -1, -1, -1)), "the argument is left alone"


# Crops and views


def test_a_crop_of_everything_is_a_resize(bytes_: Tensor) -> None:
    square = bytes_[:4, :, :20].float() / 255
    whole = random_resized_crop(square, 8, (1.0, 1.0), (1.0, 1.0), _generator())
    expected = _pillow(bytes_[:4, :, :20], lambda image: image.resize((8, 8), Image.Resampling.BICUBIC))
    assert (255 * whole - expected).abs().max() < 1.01
    assert torch.allclose(random_resized_crop(square, 20, (1.0, 1.0), (1.0, 1.0), _generator()), square, atol=1e-6)


def test_crops_cover_the_share_and_the_shapes_asked_for() -> None:
    # A picture that tells where its pixels were: red is x, green is y, from 0 to 1 between the outermost centres.
    line = torch.linspace(0, 1, 64)
    picture = torch.stack([line.expand(64, 64), line.view(-1, 1).expand(64, 64), torch.zeros(64, 64)])
    crops = random_resized_crop(picture.expand(400, -1, -1, -1), 32, (0.3, 1.0), (3 / 4, 4 / 3), _generator(5)).double()
    wide = (crops[:, 0, 16, -9] - crops[:, 0, 16, 8]) * 63 / 64 * 32 / 15
    tall = (crops[:, 1, -9, 16] - crops[:, 1, 8, 16]) * 63 / 64 * 32 / 15
    area, ratio = wide * tall, wide / tall
    assert 0.29 < area.min() < 0.34
    assert 0.9 < area.max() <= 1.01
    rng = np.random.default_rng(0)
    shares, shapes = rng.uniform(0.3, 1.0, 20000), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), 20000))
    fits = np.maximum(shares * shapes, shares / shapes) <= 1
    assert float(area.mean()) == pytest.approx(shares[fits].mean(), abs=0.02)  # what does not fit is drawn again
    assert 0.74 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.35
    left = crops[:, 0, 16, 8] - wide * 8.5 / 32
    assert left.min() > -0.02
    assert left.std() > 0.05


def test_an_image_that_no_crop_fits_is_cut_in_the_middle() -> None:
    image = torch.arange(100.0).div(100).expand(1, 3, 10, 100)
    cut = random_resized_crop(image, 10, (0.9, 1.0), (1.0, 1.0), _generator())
    assert torch.allclose(cut, image[..., 45:55], atol=1e-5)


def test_the_weak_view_of_a_square_is_a_resize(bytes_: Tensor) -> None:
    square = bytes_[..., :20, :]
    result = weak_images(square, ImageViews(size=20), _generator())
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (ImageViews().mean, ImageViews().std))
    assert torch.allclose(result, (square.float() / 255 - mean) / std, atol=1e-6)
    smaller = weak_images(square, ImageViews(size=8, **PLAIN), _generator())
    expected = _pillow(square, lambda image: image.resize((8, 8), Image.Resampling.BICUBIC))
    assert (255 * smaller - expected).abs().max() < 1.01


def test_oblong_images_are_cut_at_random_and_in_the_middle() -> None:
    parameters = ImageViews(size=4, **PLAIN)
    wide = torch.arange(9.0).div(9).expand(60, 3, 4, 9)
    for images in (wide, wide.transpose(2, 3)):
        starts = (9 * weak_images(images, parameters, _generator())[:, 0, 0, 0]).round().int().tolist()
        assert set(starts) == set(range(6))
        assert (9 * plain_images(images, parameters)[:, 0, 0, 0]).round().eq(2).all()


def test_strong_views() -> None:
    images = torch.randint(256, (6, 3, 30, 30), dtype=torch.uint8, generator=_generator(8))
    parameters = ImageViews(size=16)
    result = strong_images(images, parameters, _generator(1))
    assert result.shape == (6, 3, 16, 16)
    assert result.dtype == torch.float32
    assert torch.equal(result, strong_images(images, parameters, _generator(1)))
    low = (0 - torch.tensor(parameters.mean)) / torch.tensor(parameters.std)
    high = (1 - torch.tensor(parameters.mean)) / torch.tensor(parameters.std)
    assert (result.amin(dim=(0, 2, 3)) >= low - 1e-5).all()
    assert (result.amax(dim=(0, 2, 3)) <= high + 1e-5).all()
    before = torch.get_rng_state()
    strong_images(images, parameters, _generator())
    assert torch.equal(torch.get_rng_state(), before)
    nothing = torch.empty(0, 3, 30, 30)
    assert strong_images(nothing, parameters, _generator()).shape == (0, 3, 16, 16)
    assert weak_images(nothing, parameters, _generator()).shape == (0, 3, 16, 16)
    nothing_else = RandAugment(operations=0)
    flipping = ImageViews(size=30, scale=(1, 1), ratio=(1, 1), flip=1.0, operations=nothing_else)
    mirrored = strong_images(images, flipping, _generator())
    assert torch.allclose(mirrored, weak_images(images, ImageViews(size=30), _generator()).flip(-1), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (ImageViews, {"size": 0}, "size must be at least 1, got 0"),
        (ImageViews, {"scale": (0.5, 1.2)}, r"scale must be a range .* got \(0.5, 1.2\)"),
        (ImageViews, {"ratio": (0.0, 1.0)}, r"ratio must be a range .* got \(0.0, 1.0\)"),
        (ImageViews, {"flip": 2.0}, r"flip must lie in \[0, 1\], got 2.0"),
        (ImageViews, {"std": (1.0, 0.0, 1.0)}, r"std must be positive, got \(1.0, 0.0, 1.0\)"),
        (RandAugment, {"operations": -1}, "operations must be at least 0, got -1"),
        (RandAugment, {"magnitude": 11.0}, r"magnitude must lie in \[0, 10\], got 11.0"),
        (RandAugment, {"magnitude_std": math.nan}, "magnitude_std must be at least 0, got nan"),
        (RandAugment, {"probability": -0.1}, r"probability must lie in \[0, 1\], got -0.1"),
    ],
)
def test_bad_parameters(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        kind(**arguments)


def test_bad_images() -> None:
    with pytest.raises(ValueError, match=r"^images must have shape \(B, 3, H, W\), got \(3, 4, 4\)$"):
        weak_images(torch.zeros(3, 4, 4), ImageViews(), _generator())
    with pytest.raises(TypeError, match=r"^images must be uint8 or floating point, got torch.int64$"):
        strong_images(torch.zeros(1, 3, 4, 4, dtype=torch.int64), ImageViews(), _generator())
