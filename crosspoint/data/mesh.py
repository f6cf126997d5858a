"""Surfaces made of triangles, and points drawn uniformly by area from them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Vector = Sequence[float]


class Facets(NamedTuple):
    """Triangles: corners (F, 3, 3) and the unit normals of the surface at them (F, 3, 3)."""

    corners: Array
    normals: Array

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> "Facets":
        """The facets translated."""
        return Facets(self.corners + np.array((x, y, z)), self.normals)

    def turned(self, axis: str, angle: float) -> "Facets":
        """The facets rotated about the origin: right-handed, about axis "x", "y" or "z", radians."""
        matrix = rotation(axis, angle).T
        return Facets(self.corners @ matrix, self.normals @ matrix)

    def flattened(self, x: float = 1.0, y: float = 1.0, z: float = 1.0) -> "Facets":
        """The facets scaled along the axes, by positive factors."""
        factors = np.array((x, y, z))
        return Facets(self.corners * factors, unit(self.normals / factors))


def unit(vectors: Array) -> Array:
    """Vectors (..., 3) divided by their lengths; zero stays zero."""
    length = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    scaled: Array = vectors / np.maximum(length, 1e-30)[..., None]
    return scaled


def rotation(axis: str, angle: float) -> Array:
    """Right-handed rotation matrix (3, 3) about axis "x", "y" or "z"."""
    cos, sin = math.cos(angle), math.sin(angle)
    if axis == "x":
        return np.array(((1.0, 0.0, 0.0), (0.0, cos, -sin), (0.0, sin, cos)))
    if axis == "y":
        return np.array(((cos, 0.0, sin), (0.0, 1.0, 0.0), (-sin, 0.0, cos)))
    return np.array(((cos, -sin, 0.0), (sin, cos, 0.0), (0.0, 0.0, 1.0)))


class SurfaceSample(NamedTuple):
    """Points (N, 3) with unit normals (N, 3), float64, and the part (N,) int64 each lies on."""

    points: Array
    normals: Array
    parts: NDArray[np.int64]


def sample_surface(
    facets: Facets, parts: NDArray[np.int64], num_points: int, rng: np.random.Generator
) -> SurfaceSample:
    """Draw points from a surface, uniformly by area, in random order.

    The triangles are chosen by systematic sampling (evenly spaced positions with one random jitter each), which keeps
    the number of points on any run of triangles within two of its expectation: less clumped than independent draws.

    Args:
        facets: F triangles; those of no area are never chosen.
        parts: (F,) part of each triangle.
        num_points: how many points to draw.
        rng: source of the draws.

    Returns:
        The points, their interpolated normals, and their parts.
    """
    corners = facets.corners
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    x = first[:, 1] * second[:, 2] - first[:, 2] * second[:, 1]
    y = first[:, 2] * second[:, 0] - first[:, 0] * second[:, 2]
    z = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    cumulative = np.cumsum(np.sqrt(x * x + y * y + z * z))
    draws = rng.random((3, num_points))
    position = (np.arange(num_points) + draws[0]) * (cumulative[-1] / num_points)
    chosen = np.minimum(np.searchsorted(cumulative, position, side="right"), len(cumulative) - 1)
    chosen = chosen[rng.permutation(num_points)]
    root = np.sqrt(draws[1])
    weights = np.stack((1.0 - root, root * (1.0 - draws[2]), root * draws[2]), axis=1)
    points = np.einsum("nc,ncd->nd", weights, corners[chosen])
    normals = unit(np.einsum("nc,ncd->nd", weights, facets.normals[chosen]))
    return SurfaceSample(points, normals, parts[chosen])
