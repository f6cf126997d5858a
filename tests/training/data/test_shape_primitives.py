"""Surfaces that objects are assembled from, and points drawn from them."""

import math

import numpy as np
import pytest

from crosspoint.data.keys import random_stream
from crosspoint.data.mesh import Array, Facets, rotation, sample_surface
from crosspoint.data.shapes.primitives import (
    arc,
    beam,
    box,
    disc,
    ellipsoid,
    grid,
    lathe,
    plate,
    rod,
    tapered_box,
    tube,
)

SOLIDS = {
    "box": box((1, 2, 3), (0.5, 1, 2)),
    "tapered box": tapered_box((1, 2), (0.5, 0.5), 0.7, (0.1, -0.2)),
    "disc": disc(0.5, 1.0, 0.1),
    "rod": rod((0, 0, 0), (1, 2, -1), 0.1, 0.3),
    "flat rod": rod((-1, 0, 0), (1, 0, 0), 0.1),
    "beam": beam((1, 0, 0), (0, 3, 1), 0.2, 0.1),
    "ellipsoid": ellipsoid((1, 0, 1), (1, 2, 0.5)),
    "lathe": lathe(((0, 0), (1, 0), (0.5, 1), (0, 1.5))),
    "torus": tube(arc((0, 0, 0), (1, 1), 0, 2 * math.pi, "xz", 25), 0.2, (0, 1, 0)),
    "plate": plate(((-1, -1), (1, -1), (1, 1), (0, 2), (-1, 1)), 0.2),
    "turned": box((0, 0, 0), (1, 2, 3)).turned("x", 0.3).turned("y", 1.0).turned("z", 2.0),
    "flattened": ellipsoid((0, 0, 0), (1, 1, 1)).flattened(0.5, 2.0, 1.0),
}


def _areas(facets: Facets) -> Array:
    first, second = (facets.corners[:, i] - facets.corners[:, 0] for i in (1, 2))
    areas: Array = np.linalg.norm(np.cross(first, second), axis=1) / 2
    return areas


@pytest.mark.parametrize("name", SOLIDS)
def test_normals_are_unit_and_point_out_of_the_front_of_the_triangles(name: str) -> None:
    facets = SOLIDS[name]
    assert facets.corners.shape == facets.normals.shape
    assert np.allclose(np.linalg.norm(facets.normals, axis=2), 1)
    first, second = (facets.corners[:, i] - facets.corners[:, 0] for i in (1, 2))
    front = np.cross(first, second)
    solid = _areas(facets) > 1e-9
    agreement = np.einsum("fd,fcd->fc", front, facets.normals)[solid] / np.linalg.norm(front[solid], axis=1)[:, None]
    assert agreement.min() > 0.5


@pytest.mark.parametrize("name", [name for name in SOLIDS if name not in ("rod", "flat rod")])
def test_solids_are_closed_and_outward(name: str) -> None:
    """Volume by the divergence theorem: positive, and the same wherever the origin is."""
    corners = SOLIDS[name].corners
    volume = np.linalg.det(corners).sum() / 6
    moved = np.linalg.det(corners + np.array((5.0, -3.0, 2.0))).sum() / 6
    assert volume > 0
    assert moved == pytest.approx(volume, rel=1e-6)


@pytest.mark.parametrize(
    ("facets", "area", "tolerance"),
    [
        (box((0, 0, 0), (1, 2, 3)), 22.0, 1e-9),
        (box((0, 0, 0), (1, 2, 3)).flattened(x=2), 2 * (6 + 4 + 6), 1e-9),
        (plate(((0, 0), (2, 0), (2, 1), (0, 1)), 0.5), 2 * 2 + 6 * 0.5, 1e-9),
        (disc(1.0, 0.0, 2.0, 200), 2 * math.pi + 4 * math.pi, 1e-3),
        (rod((0, 0, 0), (3, 0, 4), 0.5, segments=200), 5 * math.pi, 1e-3),
        (ellipsoid((0, 0, 0), (2, 2, 2), 80, 80), 16 * math.pi, 2e-3),
        (SOLIDS["torus"], 4 * math.pi**2 * 0.2, 0.07),
        (grid(np.stack(np.meshgrid([0.0, 1.0, 3.0], [0.0, 2.0], [0.0]), axis=-1)[:, :, 0]), 6.0, 1e-9),
    ],
)
def test_areas(facets: Facets, area: float, tolerance: float) -> None:
    assert _areas(facets).sum() == pytest.approx(area, rel=tolerance)


def test_rods_and_beams_join_their_ends() -> None:
    for start, end in (
        ((0, 0, 0), (0, 1, 0)),
        ((1, 2, 3), (4, 2, 3)),
        ((0, 0, 0), (0.5, -1, 2)),
        ((0, 0, 0), (0, 0, 1)),
    ):
        bar, post = rod(start, end, 1e-6), beam(start, end, 1e-6, 1e-6)
        for piece in (bar, post):
            corners = piece.corners.reshape(-1, 3)
            for target in (start, end):
                assert np.linalg.norm(corners - np.array(target), axis=1).min() < 1e-5
            low, high = np.minimum(start, end), np.maximum(start, end)
            assert (corners > low - 1e-5).all()
            assert (corners < high + 1e-5).all()


@pytest.mark.parametrize(("axis", "start", "end"), [("x", 1, 2), ("y", 2, 0), ("z", 0, 1)])
def test_rotation_is_right_handed(axis: str, start: int, end: int) -> None:
    matrix = rotation(axis, math.pi / 2)
    assert np.allclose(matrix @ np.eye(3)[start], np.eye(3)[end])
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_flattened_normals_stay_orthogonal_to_the_surface() -> None:
    facets = ellipsoid((0, 0, 0), (1, 1, 1), 40, 40).flattened(3.0, 1.0, 0.2)
    expected = facets.corners / np.array((9.0, 1.0, 0.04))
    expected /= np.linalg.norm(expected, axis=2, keepdims=True)
    assert np.allclose(facets.normals, expected, atol=1e-9)


def test_samples_lie_on_the_surface_with_its_normals() -> None:
    drawn = sample_surface(box((0, 0, 0), (2, 4, 6)), np.zeros(12, dtype=np.int64), 2000, random_stream(0))
    half = np.array((1.0, 2.0, 3.0))
    inside = np.abs(drawn.points) / half
    assert inside.max() == pytest.approx(1)
    axis = np.abs(drawn.normals).argmax(axis=1)
    assert np.allclose(np.abs(drawn.normals)[np.arange(2000), axis], 1)
    at = drawn.points[np.arange(2000), axis] / half[axis]
    assert np.allclose(at, drawn.normals[np.arange(2000), axis])


def test_samples_are_proportional_to_area() -> None:
    facets = box((0, 0, 0), (1, 2, 3))
    faces = np.repeat(np.arange(6), 2)
    drawn = sample_surface(facets, faces, 2200, random_stream(1))
    expected = np.bincount(faces, weights=_areas(facets)) / 22 * 2200
    assert np.abs(np.bincount(drawn.parts, minlength=6) - expected).max() <= 2


def test_samples_are_uniform_within_a_triangle() -> None:
    corners = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    facets = Facets(corners, np.broadcast_to(np.array((0.0, 0, 1)), (1, 3, 3)).copy())
    points = sample_surface(facets, np.zeros(1, dtype=np.int64), 20000, random_stream(2)).points
    assert (points >= 0).all()
    assert (points[:, 0] + points[:, 1] <= 1 + 1e-12).all()
    assert np.allclose(points.mean(axis=0)[:2], 1 / 3, atol=0.01)
    assert np.cov(points.T)[:2, :2] == pytest.approx(np.array([[1 / 18, -1 / 36], [-1 / 36, 1 / 18]]), abs=2e-3)


def test_triangles_without_area_are_never_drawn() -> None:
    good, empty = box((0, 0, 0), (1, 1, 1)), np.zeros((5, 3, 3))
    facets = Facets(np.concatenate((empty, good.corners, empty)), np.concatenate((empty, good.normals, empty)))
    parts = np.repeat(np.array([0, 1, 2]), (5, 12, 5))
    assert set(sample_surface(facets, parts, 3000, random_stream(3)).parts) == {1}


def test_samples_come_in_random_order() -> None:
    facets = box((0, 0, 0), (1, 1, 1))
    parts = np.repeat(np.arange(6), 2)
    drawn = sample_surface(facets, parts, 600, random_stream(4)).parts
    first = np.bincount(drawn[:120], minlength=6)
    assert first.min() > 5
    assert len(set(drawn[:20].tolist())) > 2
