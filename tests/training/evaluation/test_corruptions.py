import math
import re

import pytest
import torch

from crosspoint.evaluation.corruptions import (
    CORRUPTIONS,
    STRENGTHS,
    UNITS,
    corruption,
    drop,
    noise,
    occlude,
    rotate,
    scale,
)


def clouds(count: int = 4, points: int = 200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    raw = torch.randn(count, points, 3, generator=generator)
    return raw / raw.norm(dim=2).amax(dim=1)[:, None, None]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_noise_has_the_deviation_it_should() -> None:
    change = noise(clouds(20, 500), 0.05, generator()) - clouds(20, 500)
    assert change.std().item() == pytest.approx(0.05, rel=0.02)
    assert abs(change.mean().item()) < 0.002


@pytest.mark.parametrize("change", [drop, occlude])
@pytest.mark.parametrize(("share", "left"), [(0.25, 150), (0.95, 10), (1.0, 1)])
def test_points_are_removed_and_the_rest_is_left(change: object, share: float, left: int) -> None:
    points = clouds()
    got = change(points, share, generator())  # type: ignore[operator]
    assert got.shape == (4, left, 3)
    for cloud, rest in zip(points, got, strict=True):
        rows = [int((cloud == point).all(dim=1).nonzero().squeeze()) for point in rest]
        assert len(set(rows)) == left


def test_dropped_points_lie_everywhere_and_occluded_ones_on_one_side() -> None:
    points = clouds(1, 4000)
    assert drop(points, 0.5, generator()).mean(dim=1).norm() < 0.03
    assert occlude(points, 0.5, generator()).mean(dim=1).norm() > 0.1


def test_occlusion_hides_what_lies_behind_a_plane() -> None:
    points = clouds(1)
    seen = occlude(points, 0.5, generator())
    towards = torch.nn.functional.normalize(torch.randn((1, 3), generator=generator()), dim=1)[0]
    hidden_depth = (points[0] @ towards).sort().values[:100]
    assert (seen[0] @ towards).min() > hidden_depth.max() - 1e-6


def test_rotation_keeps_distances_and_turns_by_the_angle() -> None:
    points = clouds()
    points, got = points.double(), rotate(points, 40.0, generator()).double()
    torch.testing.assert_close(torch.cdist(got, got), torch.cdist(points, points), atol=1e-5, rtol=1e-5)
    for cloud, turned in zip(points, got, strict=True):
        matrix = torch.linalg.lstsq(cloud, turned).solution
        assert torch.linalg.det(matrix).item() == pytest.approx(1.0, abs=1e-4)
        assert math.degrees(math.acos((matrix.trace().item() - 1) / 2)) == pytest.approx(40.0, abs=0.01)


def test_every_axis_is_scaled_within_bounds() -> None:
    points = clouds(200, 5)
    factors = (scale(points, 2.0, generator()) / points)[:, 0]
    assert factors.min() >= 0.5 - 1e-5
    assert factors.max() <= 2.0 + 1e-5
    assert abs(factors.log().mean().item()) < 0.1
    assert (factors[:, 0] - factors[:, 1]).abs().max() > 0.5


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_seeded_and_stronger_with_strength(kind: str) -> None:
    points = clouds(16)
    before = points.clone()
    first = corruption(kind, 3, 0)
    one, again = first(points), first(points)
    torch.testing.assert_close(corruption(kind, 3, 0)(points), one, atol=0, rtol=0)
    assert not torch.equal(one, again)  # the second batch has draws of its own
    assert not torch.equal(corruption(kind, 3, 1)(points), one)
    assert torch.equal(corruption(kind, 0, 0)(points), points)
    assert torch.equal(points, before)
    parameters = CORRUPTIONS[kind][1]
    assert len(parameters) == STRENGTHS
    assert UNITS[kind]
    assert list(parameters) == sorted(set(parameters))


def test_errors() -> None:
    message = "a corruption must be one of noise, dropped points, rotation, scale, occlusion, got fog"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        corruption("fog", 1, 0)
    with pytest.raises(ValueError, match=r"^the strength of a corruption must lie in \[0, 5\], got 6$"):
        corruption("noise", 6, 0)
