"""Surfaces that objects are assembled from, as triangles with a normal at every corner.

Objects stand on y = 0 with y up and face +z. Every function returns `Facets`; orientation of normals is outward where a
surface encloses something.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from crosspoint.data.mesh import Array, Facets, Vector, unit


@lru_cache(maxsize=64)
def _circle(segments: int) -> tuple[Array, Array]:
    """Cosines and sines of a full turn, first point repeated at the end: (segments + 1,) each."""
    angle = np.linspace(0.0, 2.0 * math.pi, segments + 1)
    return np.cos(angle), np.sin(angle)


def _unit_box() -> Facets:
    faces = []
    for axis in range(3):
        for side in (-1.0, 1.0):
            normal, u, v = np.zeros(3), np.zeros(3), np.zeros(3)
            normal[axis], u[(axis + 1) % 3], v[(axis + 2) % 3] = side, side, 1.0
            a, b, c, d = normal - u - v, normal + u - v, normal + u + v, normal - u + v
            faces += [(a, b, c), (a, c, d)]
    corners = np.array(faces) * 0.5
    flat = unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    return Facets(corners, np.repeat(flat[:, None], 3, axis=1))


_BOX = _unit_box()


def box(center: Vector, size: Vector) -> Facets:
    """Axis-aligned box."""
    return Facets(_BOX.corners * np.array(size) + np.array(center), _BOX.normals)


def tapered_box(bottom: Vector, top: Vector, height: float, shift: Vector = (0.0, 0.0)) -> Facets:
    """Frustum of a box standing on y = 0: rectangles (x, z) `bottom` and `top`, the top moved by `shift`."""
    upper = _BOX.corners[..., 1:2] + 0.5
    corners = np.empty_like(_BOX.corners)
    corners[..., 1:2] = upper * height
    for axis, which in ((0, 0), (2, 1)):
        width = bottom[which] + (top[which] - bottom[which]) * upper[..., 0]
        corners[..., axis] = _BOX.corners[..., axis] * width + shift[which] * upper[..., 0]
    return flat(corners)


def flat(corners: Array) -> Facets:
    """Triangles (F, 3, 3) with the normals of their own planes (anticlockwise seen from outside)."""
    normals = unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    return Facets(corners, np.repeat(normals[:, None], 3, axis=1))


def grid(points: Array, normals: Array | None = None) -> Facets:
    """Surface through a grid of points (P, Q, 3); normals (P, Q, 3), or None for flat triangles."""
    corners = _grid_triangles(points)
    return flat(corners) if normals is None else Facets(corners, _grid_triangles(normals))


def _grid_triangles(values: Array) -> Array:
    a, b, c, d = values[:-1, :-1], values[1:, :-1], values[1:, 1:], values[:-1, 1:]
    return np.stack((a, b, c, a, c, d), axis=2).reshape(-1, 3, 3)


def lathe(profile: ArrayLike, segments: int = 14) -> Facets:
    """Surface of revolution about the y axis.

    Args:
        profile: (P, 2) pairs (radius, height). Followed upwards, it has the outside on the right.
        segments: facets around.
    """
    rings = np.asarray(profile, dtype=np.float64)
    cos, sin = _circle(segments)
    step = np.diff(rings, axis=0)
    length = np.hypot(step[:, 0], step[:, 1])
    if not length.all():  # a repeated point makes a band without area, which has no normal
        return lathe(rings[np.append(True, length > 0)], segments)
    across, along = step[:, 1] / length, -step[:, 0] / length  # outward normal (radial, height) of each band
    radius = np.stack((rings[:-1, 0], rings[1:, 0]), axis=1)
    height = np.stack((rings[:-1, 1], rings[1:, 1]), axis=1)
    bands = len(step)
    points = np.empty((bands, 2, segments + 1, 3))
    points[..., 0] = radius[..., None] * sin
    points[..., 1] = height[..., None]
    points[..., 2] = radius[..., None] * cos
    normals = np.empty_like(points)
    normals[..., 0] = across[:, None, None] * sin
    normals[..., 1] = along[:, None, None]
    normals[..., 2] = across[:, None, None] * cos
    return Facets(_band_triangles(points), _band_triangles(normals))


def _band_triangles(values: Array) -> Array:
    """(bands, 2, segments + 1, 3), lower ring first and running anticlockwise seen from above, to triangles."""
    low, high = values[:, 0], values[:, 1]
    a, b, c, d = low[:, :-1], low[:, 1:], high[:, 1:], high[:, :-1]
    return np.stack((a, b, c, a, c, d), axis=2).reshape(-1, 3, 3)


def disc(radius: float, height: float, thickness: float, segments: int = 14) -> Facets:
    """Closed upright cylinder about the y axis with its bottom at `height`."""
    top = height + thickness
    return lathe(((0.0, height), (radius, height), (radius, top), (0.0, top)), segments)


def rod(start: Vector, end: Vector, radius: float, end_radius: float | None = None, segments: int = 8) -> Facets:
    """Round bar from `start` to `end`, open at the ends; a different `end_radius` makes it conical."""
    last = radius if end_radius is None else end_radius
    x, y, z = end[0] - start[0], end[1] - start[1], end[2] - start[2]
    length = math.sqrt(x * x + y * y + z * z)
    bar = lathe(((radius, 0.0), (last, length)), segments)
    frame = _frame((x / length, y / length, z / length))
    return Facets(bar.corners @ frame + np.array(start), bar.normals @ frame)


def beam(start: Vector, end: Vector, width: float, depth: float) -> Facets:
    """Rectangular bar between two points; `width` is its extent nearest to the x axis."""
    x, y, z = end[0] - start[0], end[1] - start[1], end[2] - start[2]
    length = math.sqrt(x * x + y * y + z * z)
    bar = _BOX.corners * np.array((width, length, depth)) + np.array((0.0, length / 2.0, 0.0))
    frame = _frame((x / length, y / length, z / length))
    return Facets(bar @ frame + np.array(start), _BOX.normals @ frame)


def _frame(axis: tuple[float, float, float]) -> Array:
    """Rows of a right-handed frame whose second row is `axis`."""
    x, y, z = axis
    if abs(x) < 0.9:  # first row: the x axis made orthogonal to the axis
        fx, fy, fz = 1.0 - x * x, -x * y, -x * z
    else:
        fx, fy, fz = -z * x, -z * y, 1.0 - z * z
    norm = 1.0 / math.sqrt(fx * fx + fy * fy + fz * fz)
    fx, fy, fz = fx * norm, fy * norm, fz * norm
    third = (fy * z - fz * y, fz * x - fx * z, fx * y - fy * x)
    return np.array(((fx, fy, fz), axis, third))


@lru_cache(maxsize=8)
def _unit_sphere(rings: int, segments: int) -> Facets:
    polar = np.linspace(0.0, math.pi, rings + 1)[:, None, None]
    cos, sin = _circle(segments)
    points = np.concatenate(
        np.broadcast_arrays(np.sin(polar) * sin[None, :, None], -np.cos(polar), np.sin(polar) * cos[None, :, None]),
        axis=2,
    )
    bands = np.stack((points[:-1], points[1:]), axis=1)
    triangles = _band_triangles(bands)
    return Facets(triangles, triangles)


def ellipsoid(center: Vector, radii: Vector, rings: int = 7, segments: int = 10) -> Facets:
    """Ellipsoid with axes along x, y, z."""
    sphere = _unit_sphere(rings, segments)
    sizes = np.array(radii)
    return Facets(sphere.corners * sizes + np.array(center), unit(sphere.normals / sizes))


def tube(path: ArrayLike, radius: ArrayLike, plane_normal: Vector, segments: int = 7) -> Facets:
    """Round tube along a smooth planar path, open at the ends unless they coincide.

    Args:
        path: (P, 3) points in one plane.
        radius: one radius or (P,).
        plane_normal: unit normal of the path's plane.
        segments: facets around.
    """
    centers = np.asarray(path, dtype=np.float64)
    tangent = np.empty_like(centers)
    tangent[1:-1] = centers[2:] - centers[:-2]
    tangent[0], tangent[-1] = centers[1] - centers[0], centers[-1] - centers[-2]
    if np.allclose(centers[0], centers[-1]):
        tangent[[0, -1]] = centers[1] - centers[-2]
    tangent = unit(tangent)
    binormal = np.array(plane_normal)
    normal = np.cross(binormal, tangent)
    cos, sin = _circle(segments)
    outward = cos[:, None] * normal[:, None] + sin[:, None] * binormal
    rings = (
        centers[:, None] + np.broadcast_to(np.asarray(radius, dtype=np.float64), len(centers))[:, None, None] * outward
    )
    return Facets(
        _band_triangles(np.stack((rings[:-1], rings[1:]), axis=1)),
        _band_triangles(np.stack((outward[:-1], outward[1:]), axis=1)),
    )


def arc(center: Vector, radii: Vector, start: float, stop: float, plane: str = "xy", count: int = 9) -> Array:
    """Points (count, 3) of an elliptic arc in the "xy", "xz" or "zy" plane; angles in radians from the first axis."""
    angle = np.linspace(start, stop, count)
    first, second = ("xyz".index(letter) for letter in plane)
    points = np.tile(np.array(center, dtype=np.float64), (count, 1))
    points[:, first] += radii[0] * np.cos(angle)
    points[:, second] += radii[1] * np.sin(angle)
    return points


def plate(outline: ArrayLike, thickness: float) -> Facets:
    """Plate of a given outline, lying in the xy plane with its thickness along z, centred on z = 0.

    Args:
        outline: (P, 2) anticlockwise (x, y), star-shaped about its mean.
        thickness: along z.
    """
    rim = np.asarray(outline, dtype=np.float64)
    following = np.roll(rim, -1, axis=0)
    count, half = len(rim), thickness / 2.0
    corners = np.empty((4, count, 3, 3))
    corners[0, :, 0, :2], corners[0, :, 1, :2], corners[0, :, 2, :2] = rim.mean(axis=0), rim, following
    corners[0, ..., 2] = half
    corners[1] = corners[0][:, ::-1] * np.array((1.0, 1.0, -1.0))
    corners[2, :, 0, :2], corners[2, :, 1, :2], corners[2, :, 2, :2] = rim, rim, following
    corners[2, ..., 2] = (half, -half, -half)
    corners[3, :, 0, :2], corners[3, :, 1, :2], corners[3, :, 2, :2] = rim, following, following
    corners[3, ..., 2] = (half, -half, half)
    return flat(corners.reshape(-1, 3, 3))
