"""The batched augmentation draws what augmenting one cloud after the other, the published way, draws."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from crosspoint.data import CloudAugmentation, augment_clouds

Array = NDArray[np.float64]
CLOUDS, POINTS = 4000, 24
# Seeds are fixed, so this either holds or does not; below it, the two would differ once in a thousand seeds.
LIKELY, UNLIKELY = 1e-3, 1e-6

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]


def cloud() -> Array:
    return np.random.default_rng(3).normal(size=(POINTS, 3)) * (1.0, 2.0, 0.5) + (4.0, 0.0, 1.0)


def one_after_the_other(seed: int) -> Array:
    """CrossPoint's transform of one cloud at a time, in plain numpy: (clouds, points, 3)."""
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(CLOUDS):
        points = cloud()
        points = points - points.mean(axis=0)
        points = points / np.sqrt((points**2).sum(axis=1)).max()
        points = points * rng.uniform(0.5, 2.0)
        angle = rng.uniform(0.0, 2.0 * np.pi)
        cosine, sine = np.cos(angle), np.sin(angle)
        points = points @ np.array([[cosine, 0.0, -sine], [0.0, 1.0, 0.0], [sine, 0.0, cosine]])
        points = points + rng.uniform(-0.5, 0.5, size=3) * (points.max(axis=0) - points.min(axis=0))
        points = points + np.clip(0.01 * rng.normal(size=points.shape), -0.05, 0.05)
        dropped = rng.random(POINTS) <= rng.random() * 0.875
        points[dropped] = points[0]
        results.append(points)
    return np.stack(results)


def batched(parameters: CloudAugmentation, device: str) -> Array:
    """All at once, drawn on the device."""
    points = torch.from_numpy(cloud()).expand(CLOUDS, -1, -1).to(device)
    generator = torch.Generator(device).manual_seed(0)
    augmented = augment_clouds(points, parameters, generator)
    assert augmented.device.type == device
    result: Array = augmented.cpu().numpy()
    return result


def summaries(clouds: Array) -> dict[str, Array]:
    """One number per cloud for each thing that the transform changes."""
    kept = (clouds[:, 1:] != clouds[:, :1]).any(axis=2)
    values = {
        "share of points dropped": 1.0 - kept.mean(axis=1),
        "height of the first point": clouds[:, 0, 1],
        "place of the first point": clouds[:, 0, 0],
        "depth of the first point": clouds[:, 0, 2],
    }
    pair = kept[:, 0] & kept[:, 1]
    first, second = clouds[pair, 1] - clouds[pair, 0], clouds[pair, 2] - clouds[pair, 0]
    values["distance of two points"] = np.linalg.norm(first, axis=1)
    values["direction of two points"] = np.arctan2(first[:, 0], first[:, 2])
    # In space, two differences keep their angle but for the noise on each point.
    cosine = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    values["angle between three points"] = cosine
    return values


@pytest.fixture(scope="module")
def published() -> dict[str, Array]:
    return summaries(one_after_the_other(1))


@pytest.mark.parametrize("device", DEVICES)
def test_equal_in_distribution(published: dict[str, Array], device: str) -> None:
    ours = summaries(batched(CloudAugmentation(), device))
    for name, values in published.items():
        assert ks_2samp(ours[name], values).pvalue > LIKELY, name


def test_clouds_of_a_batch_are_independent() -> None:
    for name, values in summaries(batched(CloudAugmentation(), "cpu")).items():
        half = len(values) // 2
        assert ks_2samp(values[:half], values[half:]).pvalue > LIKELY, name
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / math.sqrt(len(values)), name


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"max_dropout": 0.7}, "share of points dropped"),
        ({"scale": (0.7, 2.0)}, "distance of two points"),
        ({"max_rotation": 1.7 * math.pi}, "direction of two points"),
        ({"up_axis": "z"}, "direction of two points"),
        ({"translate": 0.35}, "height of the first point"),
        ({"jitter_sigma": 0.02}, "angle between three points"),
        ({"jitter_clip": 0.002}, "angle between three points"),
    ],
)
def test_another_distribution_would_be_noticed(
    published: dict[str, Array], change: dict[str, float], name: str
) -> None:
    other = summaries(batched(dataclasses.replace(CloudAugmentation(), **change), "cpu"))
    assert ks_2samp(other[name], published[name]).pvalue < UNLIKELY
