"""Pictures of point clouds."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from crosspoint.data import Shapes, UpAxis, collate
from crosspoint.data.rendering.render import RenderMode, look, random_views, render


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _sphere(count: int = 4000) -> Tensor:
    points = torch.randn(1, count, 3, generator=_generator())
    return points / points.norm(dim=2, keepdim=True)


def _plate(z: float, half: float = 0.5, count: int = 1500) -> Tensor:
    points = (torch.rand(1, count, 3, generator=_generator()) * 2 - 1) * half
    points[..., 2] = z
    return points


def _objects(count: int = 4, num_points: int = 256) -> tuple[Tensor, Tensor]:
    dataset = Shapes(per_class=1, num_points=num_points)
    batch = collate([dataset[3 * i] for i in range(count)])
    return batch["points"], batch["normals"]


def _front(points: Tensor, normals: Tensor | None = None, **options: Any) -> Tensor:
    """Seen from +z, horizontally."""
    zeros = torch.zeros(len(points))
    return render(points, normals, azimuth=zeros, elevation=zeros, **options)


def _centroid(image: Tensor) -> tuple[float, float]:
    """Mean (row, column) of the object's pixels in a shaded picture (1, 3, S, S)."""
    rows, columns = (image[0, 0] < 1).nonzero(as_tuple=True)
    assert len(rows) > 0
    return float(rows.double().mean()), float(columns.double().mean())


@pytest.mark.parametrize("mode", ["shaded", "depth"])
@pytest.mark.parametrize("with_normals", [True, False])
def test_shape_range_and_grey(mode: RenderMode, with_normals: bool) -> None:
    points, normals = _objects()
    azimuth, elevation = random_views(4, _generator())
    image = render(points, normals if with_normals else None, azimuth=azimuth, elevation=elevation, size=40, mode=mode)
    assert image.shape == (4, 3, 40, 40)
    assert image.dtype == torch.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert torch.equal(image, image[:, :1].expand_as(image))
    background = 1.0 if mode == "shaded" else 0.0
    covered = (image[:, 0] != background).double().mean(dim=(1, 2))
    assert (covered > 0.02).all()
    assert (covered < 0.95).all()


def test_sphere_fills_its_outline_without_holes() -> None:
    size = 64
    points = _sphere()
    image = _front(points, points, size=size)
    center = torch.arange(size) + 0.5 - size / 2
    distance = (center.view(-1, 1) ** 2 + center**2).sqrt() / (size / 2)
    object_ = image[0, 0] < 1
    assert object_[distance < 0.93].double().mean() > 0.995
    assert not object_[distance > 1.0].any()


def test_sphere_is_bright_towards_the_light_and_ambient_away_from_it() -> None:
    points = _sphere()
    image = _front(points, points, size=64)[0, 0]
    object_ = torch.where(image < 1, image, 0)
    row, column = divmod(int(object_.argmax()), 64)
    assert row < 32  # the light comes from the upper left
    assert column < 32
    assert abs(float(object_.max()) - 0.9) < 0.01
    assert abs(float(image[50:58, 44:50].min()) - 0.35) < 0.05


def test_normals_may_have_either_sign() -> None:
    points, normals = _objects()
    azimuth, elevation = random_views(4, _generator())
    sign = torch.where(torch.rand(4, 256, 1, generator=_generator()) < 0.5, -1.0, 1.0)
    view = {"azimuth": azimuth, "elevation": elevation, "size": 48}
    assert torch.equal(render(points, normals, **view), render(points, normals * sign, **view))


def test_estimated_normals_give_nearly_the_same_sphere() -> None:
    points = _sphere()
    difference = _front(points, None, size=64) - _front(points, points, size=64)
    assert difference.abs().mean() < 0.03


def test_the_nearer_surface_hides_the_farther() -> None:
    near, far = _plate(0.5), _plate(-0.5)
    normals = torch.tensor([0.0, 0.0, 1.0]).expand(1, 3000, 3)
    for points in (torch.cat([near, far], dim=1), torch.cat([far, near], dim=1)):
        both = _front(points, normals, size=64, mode="depth")[0, 0]
        alone = _front(near, normals[:, :1500], size=64, mode="depth")[0, 0]
        seen = alone > 0
        # Holes between the discs of the near plate, a few percent of it, let the far one through.
        assert (both[seen] == alone[seen]).double().mean() > 0.9
        assert abs(float(alone[seen].median()) - (0.1 + 0.9 * 0.75)) < 1e-3


def test_depth_picture_of_a_slope_is_the_depth_of_its_plane() -> None:
    points = _plate(0.0, count=3000)
    points[..., 2] = points[..., 0]
    normals = torch.tensor([-1.0, 0.0, 1.0]).div(math.sqrt(2)).expand_as(points)
    image = _front(points, normals, size=64, mode="depth")[0, 0]
    columns = image[32 - 8 : 32 + 8].amax(dim=0)
    seen = columns[columns > 0]
    assert len(seen) > 20
    assert (seen[3:-3].diff() > -0.02).all()
    assert seen[-4] - seen[3] > 0.3


@pytest.mark.parametrize(
    ("up_axis", "azimuth", "place", "row", "column"),
    [
        ("y", 0.0, (0, 0.8, 0), -1, 0),
        ("y", 0.0, (0.8, 0, 0), 0, 1),
        ("y", math.pi / 2, (0, 0, -0.8), 0, 1),
        ("y", math.pi / 2, (0.8, 0, 0), 0, 0),
        ("y", math.pi, (0.8, 0, 0), 0, -1),
        ("z", 0.0, (0, 0, 0.8), -1, 0),
        ("z", 0.0, (0, 0.8, 0), 0, 1),
        ("z", math.pi / 2, (0, 0.8, 0), 0, 0),
        ("x", 0.0, (0.8, 0, 0), -1, 0),
        ("x", 0.0, (0, 0, 0.8), 0, 1),
    ],
)
def test_where_a_point_appears(
    up_axis: UpAxis, azimuth: float, place: tuple[float, float, float], row: int, column: int
) -> None:
    points = torch.tensor(place).view(1, 1, 3)
    image = render(points, points, azimuth=torch.tensor([azimuth]), elevation=torch.zeros(1), size=65, up_axis=up_axis)
    at = _centroid(image)
    reach = 0.8 * 0.95 * math.sqrt(8) / 3 * 32.5
    assert abs(at[0] - 32 - row * reach) < 1.01
    assert abs(at[1] - 32 - column * reach) < 1.01


def test_elevation_looks_down() -> None:
    points = torch.tensor([[[0.0, 0.0, 0.8]]])
    level = torch.zeros(1)
    above = render(points, points, azimuth=level, elevation=level + 0.5, size=65)
    assert _centroid(above)[0] > 36  # what is in front appears lower
    top = torch.tensor([[[0.0, 0.8, 0.0]]])
    overhead = render(top, top, azimuth=level, elevation=level + math.pi / 2, size=65)
    assert _centroid(overhead) == pytest.approx((32, 32), abs=1.01)


def test_nearer_objects_look_larger() -> None:
    areas = [float((_front(_plate(z), size=64)[0, 0] < 1).double().mean()) for z in (-0.5, 0.0, 0.5)]
    assert areas[0] < areas[1] < areas[2]
    assert areas[2] / areas[0] == pytest.approx((3.5 / 2.5) ** 2, rel=0.15)


def test_turning_the_object_or_the_camera_is_the_same() -> None:
    points, normals = _objects(2, 512)
    angle = torch.tensor([0.7, 2.1])
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros(2), torch.ones(2)
    turn = torch.stack([cos, zero, -sin, zero, one, zero, sin, zero, cos], dim=1).view(2, 3, 3)
    camera = render(points, normals, azimuth=-angle, elevation=zero + 0.3, size=48)
    turned = render(points @ turn, normals @ turn, azimuth=zero, elevation=zero + 0.3, size=48)
    assert (camera - turned).abs().mean() < 0.01


def test_pictures_do_not_depend_on_their_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    points, normals = _objects(6)
    azimuth, elevation = random_views(6, _generator())
    together = render(points, normals, azimuth=azimuth, elevation=elevation, size=48)
    for one in range(6):
        part = slice(one, one + 1)
        alone = render(points[part], normals[part], azimuth=azimuth[part], elevation=elevation[part], size=48)
        assert torch.equal(alone, together[part])
    for most in (1, 30_000):
        monkeypatch.setattr("crosspoint.data.rendering.render._MAX_PAIRS", most)
        assert torch.equal(render(points, normals, azimuth=azimuth, elevation=elevation, size=48), together)


def test_many_views_of_one_cloud_are_those_of_its_copies() -> None:
    points, normals = _objects(1)
    azimuth, elevation = random_views(5, _generator())
    several = points.expand(5, -1, -1)
    expanded = render(several, normals.expand(5, -1, -1), azimuth=azimuth, elevation=elevation, size=32)
    copied = render(several.clone(), normals.repeat(5, 1, 1), azimuth=azimuth, elevation=elevation, size=32)
    assert torch.equal(expanded, copied)


def test_what_pixels_see() -> None:
    near, far = _plate(0.4, half=0.2), _plate(-0.4, half=0.6)
    seen = look(torch.cat([near, far], dim=1), azimuth=torch.zeros(1), elevation=torch.zeros(1), size=32)
    assert seen.point.shape == seen.depth.shape == (1, 32, 32)
    assert seen.normal.shape == (1, 32, 32, 3)
    assert int(seen.point[0, 0, 0]) == -1
    assert 0 <= int(seen.point[0, 16, 16]) < 1500
    assert int(seen.point[0, 16, 8]) >= 1500
    assert seen.depth[0, 16, 16] == pytest.approx(0.4)
    assert seen.depth[0, 16, 8] == pytest.approx(-0.4)
    assert torch.allclose(seen.normal[0, 16, 8], torch.tensor([0.0, 0.0, 1.0]), atol=1e-3)


def test_the_order_of_the_points_does_not_matter() -> None:
    points, normals = _objects(4)
    azimuth, elevation = random_views(4, _generator())
    order = torch.randperm(256, generator=_generator())
    picture = render(points, normals, azimuth=azimuth, elevation=elevation, size=48)
    shuffled = render(points[:, order], normals[:, order], azimuth=azimuth, elevation=elevation, size=48)
    assert torch.equal(picture, shuffled)


@pytest.mark.parametrize("size", [1, 2, 7, 33])
@pytest.mark.parametrize("mode", ["shaded", "depth"])
def test_odd_clouds_and_sizes(size: int, mode: RenderMode) -> None:
    clouds = {
        "one point": torch.zeros(2, 1, 3),
        "two points": torch.rand(2, 2, 3),
        "identical": torch.full((2, 50, 3), 0.3),
        "line": torch.linspace(-1, 1, 50).view(1, -1, 1) * torch.tensor([0.5, 0.5, 0.5]).expand(2, 1, 3),
        "outside": 5 * torch.randn(2, 50, 3, generator=_generator()),
        "at the camera": torch.tensor([0.0, 0.0, 3.0]).expand(2, 5, 3),
        "behind the camera": torch.tensor([0.0, 0.0, 9.0]).expand(2, 5, 3),
        "strided": torch.rand(3, 50, 2, generator=_generator()).permute(2, 1, 0),
    }
    for name, points in clouds.items():
        for normals in (None, torch.zeros_like(points), torch.ones_like(points) / math.sqrt(3)):
            image = _front(points, normals, size=size, mode=mode)
            assert image.shape == (2, 3, size, size), name
            assert image.isfinite().all(), name
            assert ((image >= 0) & (image <= 1)).all(), name
    assert (_front(clouds["one point"], size=size)[:, 0] < 1).flatten(1).sum(dim=1).tolist() == [1, 1]
    assert (_front(clouds["behind the camera"], size=size) == 1).all()


def test_thin_parts_do_not_vanish() -> None:
    """Discs seen edge-on are narrower than a pixel."""
    points = _plate(0.0)
    normals = torch.tensor([0.0, 0.0, 1.0]).expand_as(points)
    image = render(points, normals, azimuth=torch.tensor([math.pi / 2]), elevation=torch.zeros(1), size=33)
    assert (image[0, 0] < 1).any(dim=1).sum() >= 14


def test_no_clouds() -> None:
    assert _front(torch.empty(0, 8, 3), size=16).shape == (0, 3, 16, 16)


def test_generator_varies_light_and_colour_and_repeats() -> None:
    points, normals = _objects(1)
    points, normals = points.expand(3, -1, -1), normals.expand(3, -1, -1)
    once = _front(points, normals, size=32, generator=_generator(1))
    assert torch.equal(once, _front(points, normals, size=32, generator=_generator(1)))
    assert not torch.equal(once, _front(points, normals, size=32, generator=_generator(2)))
    assert not torch.equal(once[0], once[1])
    assert not torch.equal(once[0, 0], once[0, 1])
    outline = (_front(points, normals, size=32)[0, 0] < 1).expand(3, -1, -1)
    assert torch.equal((once < 1).all(dim=1), outline)


def test_rendering_keeps_to_its_generator() -> None:
    before = torch.get_rng_state()
    points, normals = _objects(2)
    azimuth, elevation = random_views(2, _generator())
    render(points, normals, azimuth=azimuth, elevation=elevation, size=16, generator=_generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_random_views() -> None:
    azimuth, elevation = random_views(2000, _generator())
    assert azimuth.shape == elevation.shape == (2000,)
    assert 0 <= azimuth.min() < 0.05
    assert 2 * math.pi - 0.05 < azimuth.max() <= 2 * math.pi
    assert 0 <= elevation.min() < 0.05
    assert math.pi / 4 - 0.05 < elevation.max() <= math.pi / 4
    assert torch.equal(azimuth, random_views(2000, _generator())[0])
    _, fixed = random_views(3, _generator(), elevation=(0.5, 0.5))
    assert fixed.tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("mode", ["shaded", "depth"])
def test_devices_agree(device: str, mode: RenderMode) -> None:
    points, normals = _objects(4, 512)
    azimuth, elevation = random_views(4, _generator())
    expected = render(points, normals, azimuth=azimuth, elevation=elevation, size=64, mode=mode, generator=_generator())
    pictures = [
        render(
            points.to(device),
            normals.to(device),
            azimuth=azimuth.to(device),
            elevation=elevation.to(device),
            size=64,
            mode=mode,
            generator=_generator(),
        )
        for _ in range(2)
    ]
    assert pictures[0].device.type == device
    assert torch.equal(pictures[0], pictures[1])
    # Rounding may move the border of a disc by a pixel, where two devices round sums differently.
    assert (pictures[0].cpu() - expected).abs().mean() < 1e-3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"points": torch.rand(2, 8, 3).double()}, TypeError, "points must be float32, got torch.float64"),
        (
            {"points": torch.rand(8, 3)},
            ValueError,
            r"points must have shape \(B, N, 3\) with N >= 1, got \(8, 3\)",
        ),
        (
            {"points": torch.rand(2, 0, 3)},
            ValueError,
            r"points must have shape \(B, N, 3\) with N >= 1, got \(2, 0, 3\)",
        ),
        (
            {"normals": torch.rand(2, 7, 3)},
            ValueError,
            r"normals must be float32 of the shape of points \(2, 8, 3\), got torch.float32 \(2, 7, 3\)",
        ),
        ({"azimuth": torch.zeros(3)}, ValueError, r"azimuth must have shape \(2,\), got \(3,\)"),
        ({"elevation": torch.zeros(2, 1)}, ValueError, r"elevation must have shape \(2,\), got \(2, 1\)"),
        ({"size": 0}, ValueError, "size must be at least 1, got 0"),
        ({"mode": "line"}, ValueError, "mode must be 'shaded' or 'depth', got 'line'"),
        ({"up_axis": "up"}, ValueError, "up_axis must be 'x', 'y' or 'z', got 'up'"),
        ({"points": torch.full((2, 8, 3), math.nan)}, ValueError, "points must be finite, got NaN or infinity"),
    ],
)
def test_bad_arguments(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {
        "points": torch.rand(2, 8, 3),
        "normals": torch.rand(2, 8, 3),
        "azimuth": torch.zeros(2),
        "elevation": torch.zeros(2),
    }
    with pytest.raises(error, match=f"^{message}$"):
        render(**(arguments | change))
