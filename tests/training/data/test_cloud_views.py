"""Weak and strong views of clouds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from crosspoint.data import CloudAugmentation, CloudViews, strong_clouds, weak_clouds
from crosspoint.data.augment.cloud_views import AS_CODE_CROP, random_crop, random_tilt, upsample_clouds
from crosspoint.data.augment.clouds import augment_clouds, unit_sphere


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _clouds(batch: int = 64, count: int = 200) -> Tensor:
    return torch.rand(batch, count, 3, generator=_generator(9), dtype=torch.float64)


def test_weak_views_are_slightly_scaled_and_turned() -> None:
    points = _clouds()
    plain, weak = unit_sphere(points), weak_clouds(points, CloudViews(), _generator())
    scale = weak.norm(dim=2).amax(dim=1)
    assert 0.9 <= scale.min() < 0.92
    assert 1.08 < scale.max() <= 1.1
    assert torch.allclose(torch.cdist(weak, weak), torch.cdist(plain, plain) * scale.view(-1, 1, 1), atol=1e-6)
    assert torch.equal(weak, weak_clouds(points, CloudViews(), _generator()))


def test_tilt_turns_about_x_then_y_then_z(monkeypatch: pytest.MonkeyPatch) -> None:
    angles = torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 0.1], [0.1, 0.1, 9.0]], dtype=torch.float64)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: angles)
    turned = random_tilt(torch.eye(3, dtype=torch.float64).expand(4, 3, 3), 1.0, 0.18, _generator())
    cos, sin = torch.tensor(0.1).double().cos(), torch.tensor(0.1).double().sin()
    assert torch.allclose(turned[0, 1], torch.stack([0 * cos, cos, sin]))  # y towards z
    assert torch.allclose(turned[1, 2], torch.stack([sin, 0 * cos, cos]))  # z towards x
    assert torch.allclose(turned[2, 0], torch.stack([cos, sin, 0 * cos]))  # x towards y

    def about(axis: int, angle: float) -> Tensor:
        generator = torch.zeros(3, 3, dtype=torch.float64)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        generator[second, first], generator[first, second] = angle, -angle
        return torch.matrix_exp(generator)

    matrix = about(2, 0.18) @ about(1, 0.1) @ about(0, 0.1)  # the last angle is clipped
    assert torch.allclose(turned[3], matrix.T)


def test_a_crop_keeps_what_lies_in_its_box() -> None:
    points = _clouds(count=400)
    cropped = random_crop(points, (0.5, 0.8), (0.9, 1.1), 0.01, _generator())
    assert cropped.shape == points.shape
    before, after = (x.amax(dim=1) - x.amin(dim=1) for x in (points, cropped))
    share = after / before
    assert (share[:, 0] <= 0.8).all()
    assert (share[:, 1] <= 0.8 * 1.1).all()
    assert (share[:, 2] <= 0.8 / 0.9).all()
    assert share.min() < 0.55
    kept = (cropped == points).all(dim=2)
    assert 0.05 < kept.float().mean() < 0.6
    for cloud in range(8):  # replaced points are points of the box, all of them about equally often
        place = (cropped[cloud].unsqueeze(1) == points[cloud]).all(dim=2).int().argmax(dim=1)
        assert torch.equal(points[cloud, place], cropped[cloud])
        counts = place.bincount(minlength=400)
        assert torch.equal(counts > 0, kept[cloud])
        assert counts[counts > 0].max() - counts[counts > 0].min() <= 1


def test_a_crop_that_would_leave_too_little_is_left_out() -> None:
    points = _clouds()
    assert torch.equal(random_crop(points, (0.2, 0.2), (1.0, 1.0), 0.5, _generator()), points)


def test_the_official_crop_cuts_nothing() -> None:
    """The side is drawn from U(9, 1.1), whose ends numpy lets stand the wrong way round."""
    for count in (50, 500):
        points = torch.randn(200, count, 3, generator=_generator(3))
        assert torch.equal(random_crop(points, AS_CODE_CROP, (0.9, 1.1), 0.0001, _generator()), points)
    mended = random_crop(points, CloudViews().crop, (0.9, 1.1), 0.5, _generator())
    changed = (mended != points).any(dim=2).float().mean(dim=1)
    assert 0.2 < (changed > 0).float().mean() < 0.95
    assert changed.max() < 0.5


def test_upsampling_adds_means_of_neighborhoods() -> None:
    points = torch.randn(3, 40, 3, generator=_generator(2))
    more = upsample_clouds(points, 100, 10, _generator())
    assert more.shape == (3, 100, 3)
    assert torch.equal(more[:, :40], points)
    order = torch.cdist(points.double(), points.double()).argsort(dim=2)[..., :10]
    means = torch.stack([cloud[rows].mean(dim=1) for cloud, rows in zip(points, order, strict=True)])
    nearest = torch.cdist(more[:, 40:].double(), means.double()).min(dim=2)
    assert nearest.values.max() < 1e-5
    assert all(len(set(row.tolist())) > 20 for row in nearest.indices)
    assert upsample_clouds(points, 40, 10, _generator()) is points
    assert upsample_clouds(points[:, :4], 9, 10, _generator()).shape == (3, 9, 3)


def test_strong_views_are_those_of_crosspoint_cropped_and_upsampled() -> None:
    points = torch.randn(4, 30, 3, generator=_generator(1))
    plain = CloudViews(crop=AS_CODE_CROP)
    assert torch.equal(
        strong_clouds(points, plain, _generator(7)), augment_clouds(points, CloudAugmentation(), _generator(7))
    )
    more = strong_clouds(points, CloudViews(crop=AS_CODE_CROP, upsample=50), _generator(7))
    assert torch.equal(more[:, :30], strong_clouds(points, plain, _generator(7)))
    assert more.shape == (4, 50, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weak_scale": (1.1, 0.9)}, r"weak_scale must be a range .* got \(1.1, 0.9\)"),
        ({"tilt_sigma": -1.0}, "tilt_sigma must be at least 0, got -1.0"),
        ({"crop": (0.0, 1.0)}, r"crop must be positive, got \(0.0, 1.0\)"),
        ({"crop_kept": 0.0}, r"crop_kept must lie in \(0, 1\], got 0.0"),
        ({"upsample": 0}, "upsample must be at least 1, got 0"),
        ({"upsample_neighbors": 0}, "upsample_neighbors must be at least 1, got 0"),
    ],
)
def test_bad_parameters(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        CloudViews(**arguments)
