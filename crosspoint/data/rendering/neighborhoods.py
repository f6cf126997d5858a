"""What the nearest neighbours of a point tell about the surface it lies on: sample spacing and normal."""

import math

import torch
from torch import Tensor

import pointkernels

_SPACING_NEIGHBORS = 7  # enough to average out Poisson noise, few enough to stay on a thin part
_NORMAL_NEIGHBORS = 12
_UNCOVERED = 0.04  # share of the surface; less makes parts visibly thicker


def covering_radius(points: Tensor) -> Tensor:
    """Radius of the disc around each point with which the discs of all points just close their surface.

    For a Poisson sample of density rho, discs of radius r leave the share exp(-pi rho r^2) uncovered; rho is estimated
    around each point from the distance to its k-th neighbour, k / (pi d_k^2), and r is chosen to leave 4 percent. Radii
    are capped at twice the cloud's median, so that stray points stay small.

    Args:
        points: (B, N, 3) floating point.

    Returns:
        (B, N) radii in the units of the points; zeros where N = 1.
    """
    neighbors = min(_SPACING_NEIGHBORS, points.shape[1] - 1)
    if neighbors == 0:
        return points.new_zeros(points.shape[:2])
    squared, _ = pointkernels.knn(points, neighbors, include_self=False, return_distance=True)
    radius = squared[..., -1].sqrt() * math.sqrt(math.log(1.0 / _UNCOVERED) / neighbors)
    return torch.minimum(radius, 2.0 * radius.median(dim=1, keepdim=True).values)


def estimate_normals(points: Tensor) -> Tensor:
    """Unit normals of the planes fitted to the neighbourhoods of the points, with arbitrary sign.

    Args:
        points: (B, N, 3) floating point. Where the neighbourhood spans no plane the normal is an arbitrary unit vector.

    Returns:
        (B, N, 3): the direction of least variance among the 12 nearest points (the point itself included).
    """
    batch, count, _ = points.shape
    neighbors = min(_NORMAL_NEIGHBORS, count)
    indices: Tensor = pointkernels.knn(points, neighbors)
    clouds = torch.arange(batch, device=points.device).view(-1, 1, 1)
    neighborhood = points[clouds, indices]
    offsets = neighborhood - neighborhood.mean(dim=2, keepdim=True)
    # Eigenvectors do not change with scale; dividing keeps the smallest covariances of dense clouds out of underflow.
    size = offsets.abs().amax(dim=(2, 3), keepdim=True)
    offsets = offsets / torch.where(size > 0, size, torch.ones_like(size))
    _, directions = torch.linalg.eigh(offsets.transpose(2, 3) @ offsets)
    normals: Tensor = directions[..., 0]
    return normals
