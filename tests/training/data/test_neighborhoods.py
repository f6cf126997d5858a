"""Sample spacing and normals from nearest neighbours."""

import math

import pytest
import torch

from crosspoint.data.rendering.neighborhoods import covering_radius, estimate_normals


def _square(count: int, seed: int = 0) -> torch.Tensor:
    points = torch.rand(1, count, 3, generator=torch.Generator().manual_seed(seed))
    points[..., 2] = 0.0
    return points


def test_covering_radius_leaves_few_holes() -> None:
    points = _square(1000)
    radius = covering_radius(points)
    probes = _square(2000, seed=1) * torch.tensor([0.8, 0.8, 0.0]) + torch.tensor([0.1, 0.1, 0.0])
    covered = (torch.cdist(probes, points) <= radius.unsqueeze(1)).any(dim=2)
    assert 0.93 < covered.double().mean() < 0.995


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_covering_radius_scales_with_the_cloud(scale: float) -> None:
    points = _square(200)
    assert torch.allclose(covering_radius(points * scale), covering_radius(points) * scale, rtol=1e-4)


def test_covering_radius_of_few_points() -> None:
    assert torch.equal(covering_radius(torch.zeros(2, 1, 3)), torch.zeros(2, 1))
    assert torch.equal(covering_radius(torch.zeros(2, 9, 3)), torch.zeros(2, 9))
    assert covering_radius(torch.rand(2, 3, 3)).isfinite().all()


def test_covering_radius_of_a_stray_point_is_capped() -> None:
    points = torch.cat([_square(300), torch.tensor([[[50.0, 0.0, 0.0]]])], dim=1)
    radius = covering_radius(points)
    assert radius[0, -1] <= 2 * radius.median() + 1e-6


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_estimate_normals_of_a_plane(scale: float) -> None:
    normal = torch.tensor([2.0, -1.0, 2.0]) / 3.0
    basis = torch.linalg.qr(torch.stack([normal, torch.eye(3)[0], torch.eye(3)[1]], dim=1)).Q
    points = scale * (_square(300)[..., [2, 0, 1]] @ basis.T)
    estimated = estimate_normals(points)
    assert torch.allclose((estimated @ normal).abs(), torch.ones(1, 300), atol=1e-4)


def test_estimate_normals_of_a_sphere() -> None:
    points = torch.randn(1, 3000, 3, generator=torch.Generator().manual_seed(0))
    points = points / points.norm(dim=2, keepdim=True)
    angle = (estimate_normals(points) * points).sum(dim=2).abs().clamp(max=1).acos()
    assert angle.mean() < math.radians(5)


def test_estimate_normals_of_degenerate_clouds_are_unit_vectors() -> None:
    for points in (
        torch.zeros(1, 20, 3),
        torch.rand(1, 1, 3),
        torch.linspace(0, 1, 30).view(1, -1, 1).expand(1, 30, 3),
    ):
        normals = estimate_normals(points)
        assert torch.allclose(normals.norm(dim=2), torch.ones(points.shape[:2]), atol=1e-5)
