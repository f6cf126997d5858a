"""Pictures of point clouds: batched, on the tensor's device, deterministic.

Each point is a small disc in its tangent plane (a surfel). For every pixel near a point the viewing ray is intersected
with that plane; among the discs that a ray meets, the nearest one wins. The winner is found by a minimum over 64-bit
keys (depth above, point number below), which does not depend on the order in which threads arrive.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from crosspoint.data.rendering.neighborhoods import covering_radius, estimate_normals
from crosspoint.data.sample import UpAxis

RenderMode = Literal["shaded", "depth"]

_DISTANCE = 3.0  # camera to centre of the unit sphere: mild perspective
_FOCAL = 0.95 * math.sqrt(_DISTANCE**2 - 1.0)  # the unit sphere's outline then fills 95 percent of the image
_LIGHT = (-0.45, 0.6, 0.65)  # in camera coordinates: from above the viewer's left shoulder
_LIGHT_SPREAD = 0.5
_AMBIENT, _DIFFUSE = 0.35, 0.55
_FAR_BRIGHTNESS = 0.1  # of the depth picture at the far end of the unit sphere; the background is 0
_MAX_FOOTPRINT = 0.1  # radius of a disc, as a share of the image side
_PERSPECTIVE_SLACK = 1.06  # a disc's perspective image exceeds the parallel one by about radius / depth
_EDGE_DEPTH = 1.5  # how far the rim of a disc counts as behind its plane, in radii
_MAX_PAIRS = 1 << 20  # (point, pixel) pairs handled at once: bounds memory at about 0.25 GB
_ROLLS: dict[UpAxis, int] = {"x": 1, "y": 0, "z": -1}
_NOTHING = torch.iinfo(torch.int64).max


def random_views(
    batch: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    *,
    elevation: tuple[float, float] = (0.0, math.pi / 4),
) -> tuple[Tensor, Tensor]:
    """Draw viewing directions: azimuth from U(0, 2 pi), elevation from U(*elevation).

    Args:
        batch: number of views B.
        generator: source of the draws, on any device.
        device: where the result lies.
        elevation: lowest and highest elevation above the horizon, radians.

    Returns:
        (azimuth, elevation), each (B,) float32, radians.
    """
    draw = torch.rand((2, batch), generator=generator, device=generator.device).to(device)
    low, high = elevation
    return 2.0 * math.pi * draw[0], low + (high - low) * draw[1]


def render(
    points: Tensor,
    normals: Tensor | None = None,
    *,
    azimuth: Tensor,
    elevation: Tensor,
    size: int = 128,
    mode: RenderMode = "shaded",
    up_axis: UpAxis = "y",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Render each cloud from its own direction.

    Args:
        points: (B, N, 3) float32 inside the unit sphere; what lies outside may be cut off by the image border.
        normals: (B, N, 3) unit normals of either sign (a normal facing away from the camera is flipped), or None to
            fit planes to the points' neighbourhoods.
        azimuth: (B,) radians, turning the camera about the up axis. For `up_axis="y"`, 0 looks from +z and pi/2 from
            +x; other up axes permute the axes cyclically.
        elevation: (B,) radians above the horizon, in [-pi/2, pi/2].
        size: side of the square image, pixels.
        mode: "shaded": Lambert shading plus ambient light, white background. "depth": near is bright, background 0.
        up_axis: which axis of the points is up in the picture.
        generator: if given, the direction of the light is drawn around the default one and the object gets a random
            tint; otherwise light and a grey object are the same for all. Depth pictures do not use it.

    Returns:
        (B, 3, size, size) float32 in [0, 1]. Not differentiable.

    Raises:
        TypeError, ValueError: wrong dtypes, shapes or values.
    """
    if mode not in ("shaded", "depth"):
        raise ValueError(f"mode must be 'shaded' or 'depth', got {mode!r}")
    seen = look(points, normals, azimuth=azimuth, elevation=elevation, size=size, up_axis=up_axis)
    with torch.no_grad():
        if mode == "depth":
            near = (seen.depth + 1.0) / 2.0
            value = (_FAR_BRIGHTNESS + (1.0 - _FAR_BRIGHTNESS) * near).clamp(_FAR_BRIGHTNESS, 1.0)
            picture = torch.where(seen.point >= 0, value, 0.0).unsqueeze(1).expand(-1, 3, -1, -1)
        else:
            light, tint = _lighting(points, generator)
            brightness = _AMBIENT + _DIFFUSE * _dot(seen.normal, light.view(-1, 1, 1, 3)).clamp(min=0.0)
            lit = brightness.unsqueeze(1) * tint.view(-1, 3, 1, 1)
            picture = torch.where(seen.point.unsqueeze(1) >= 0, lit, 1.0)
        return picture.clamp(0.0, 1.0)


class Seen(NamedTuple):
    """What the pixels of B pictures of S x S pixels see, row by row from the top left."""

    point: Tensor
    """(B, S, S) int64 number of the point, or -1 for the background."""
    normal: Tensor
    """(B, S, S, 3) its unit normal, facing the camera: components to the right, upwards, towards the camera."""
    depth: Tensor
    """(B, S, S) how far it lies in front of the centre, towards the camera."""


@torch.no_grad()
def look(
    points: Tensor,
    normals: Tensor | None = None,
    *,
    azimuth: Tensor,
    elevation: Tensor,
    size: int,
    up_axis: UpAxis = "y",
) -> Seen:
    """Which point each pixel sees, for whatever shading; arguments and errors are those of `render`.

    The background has the normal and the depth of the cloud's first point.
    """
    _check_arguments(points, normals, azimuth, elevation, size, up_axis)
    batch = len(points)
    if batch == 0:
        empty = points.new_empty((0, size, size))
        return Seen(empty.long(), empty.unsqueeze(-1).expand(-1, -1, -1, 3), empty)
    if normals is None:
        normals = estimate_normals(points)
    camera = _camera_axes(azimuth, elevation)
    position = _into(camera, points.roll(_ROLLS[up_axis], dims=-1))
    normal = _into(camera, normals.roll(_ROLLS[up_axis], dims=-1))
    away = _dot(normal, position - _camera_position(points)) > 0
    normal = torch.where(away.unsqueeze(-1), -normal, normal)
    winner = _visible_points(position, normal, _radius(points), size)
    at = winner.clamp(min=0)
    return Seen(
        winner.view(batch, size, size),
        normal.gather(1, at.unsqueeze(-1).expand(-1, -1, 3)).view(batch, size, size, 3),
        position[..., 2].gather(1, at).view(batch, size, size),
    )


def _radius(points: Tensor) -> Tensor:
    """Radius of the disc of each point, (B, N); found once where the same cloud is seen from many sides."""
    same = len(points) > 1 and points.stride(0) == 0
    return covering_radius(points[:1]).expand(len(points), -1) if same else covering_radius(points)


def _check_arguments(
    points: Tensor,
    normals: Tensor | None,
    azimuth: Tensor,
    elevation: Tensor,
    size: int,
    up_axis: str,
) -> None:
    if points.dtype != torch.float32:
        raise TypeError(f"points must be float32, got {points.dtype}")
    if points.dim() != 3 or points.shape[2] != 3 or points.shape[1] == 0:
        raise ValueError(f"points must have shape (B, N, 3) with N >= 1, got {tuple(points.shape)}")
    if normals is not None and (normals.shape != points.shape or normals.dtype != points.dtype):
        raise ValueError(
            f"normals must be float32 of the shape of points {tuple(points.shape)}, "
            f"got {normals.dtype} {tuple(normals.shape)}"
        )
    for name, angle in (("azimuth", azimuth), ("elevation", elevation)):
        if angle.shape != points.shape[:1]:
            raise ValueError(f"{name} must have shape ({len(points)},), got {tuple(angle.shape)}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    if up_axis not in _ROLLS:
        raise ValueError(f"up_axis must be 'x', 'y' or 'z', got {up_axis!r}")
    if not bool(torch.isfinite(points).all()):
        raise ValueError("points must be finite, got NaN or infinity")


def _camera_axes(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """(B, 3, 3): columns are right, up and towards the camera, for y up."""
    azimuth, elevation = azimuth.float(), elevation.float()
    sin_a, cos_a, sin_e, cos_e = azimuth.sin(), azimuth.cos(), elevation.sin(), elevation.cos()
    right = torch.stack([cos_a, torch.zeros_like(sin_a), -sin_a], dim=-1)
    up = torch.stack([-sin_e * sin_a, cos_e, -sin_e * cos_a], dim=-1)
    towards = torch.stack([sin_a * cos_e, sin_e, cos_a * cos_e], dim=-1)
    return torch.stack([right, up, towards], dim=-1)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """Dot product over the last dimension; unlike matmul it rounds the same whatever the batch."""
    return first[..., 0] * second[..., 0] + first[..., 1] * second[..., 1] + first[..., 2] * second[..., 2]


def _into(axes: Tensor, vectors: Tensor) -> Tensor:
    """Components of vectors (B, N, 3) along the columns of axes (B, 3, 3)."""
    return torch.stack([_dot(vectors, axes[:, None, :, column]) for column in range(3)], dim=-1)


def _camera_position(like: Tensor) -> Tensor:
    return torch.tensor([0.0, 0.0, _DISTANCE], dtype=like.dtype, device=like.device)


def _lighting(points: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Direction of the light and colour of the object, each (B, 3)."""
    light = torch.tensor(_LIGHT, device=points.device).expand(len(points), 3)
    tint = torch.ones_like(light)
    if generator is not None:
        light = light + _LIGHT_SPREAD * torch.randn((len(points), 3), generator=generator, device=generator.device).to(
            points.device
        )
        tint = 0.6 + 0.4 * torch.rand((len(points), 3), generator=generator, device=generator.device).to(points.device)
    return light / light.norm(dim=-1, keepdim=True), tint


def _visible_points(position: Tensor, normal: Tensor, radius: Tensor, size: int) -> Tensor:
    """For each pixel, row by row, the number of the point seen there, or -1: (B, size * size) int64."""
    from_camera = position - _camera_position(position)
    depth = (-from_camera[..., 2]).clamp(min=1e-3)  # a point at the camera must not divide by zero
    to_pixels = _FOCAL * size / 2.0 / depth
    half = (radius * to_pixels * _PERSPECTIVE_SLACK).clamp(max=_MAX_FOOTPRINT * size)
    first_column, columns, middle_column = _pixel_range(
        position[..., 0] * to_pixels + size / 2.0, half * _foreshortening(normal[..., 0]), size
    )
    first_row, rows, middle_row = _pixel_range(
        size / 2.0 - position[..., 1] * to_pixels, half * _foreshortening(normal[..., 1]), size
    )
    pixels = torch.stack([first_column, columns, middle_column, first_row, middle_row])
    pairs = columns * rows
    plane = _dot(normal, from_camera)
    disc = torch.stack([*from_camera.unbind(-1), *normal.unbind(-1), plane, radius])
    winner = []
    for part in _portions(pairs.sum(dim=1).tolist()):
        winner.append(_splat(disc[:, part], pixels[:, part], pairs[part], size))
    return torch.cat(winner)


def _foreshortening(component: Tensor) -> Tensor:
    """Half width, along an axis, of the shadow of a unit disc whose normal has this component on the axis."""
    return (1.0 - component * component).clamp(min=0.0).sqrt()


def _pixel_range(center: Tensor, half: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """First pixel, number of pixels (0 outside the image) and central pixel of the interval center +- half."""
    middle = center.floor()
    first = torch.minimum((center - half - 0.5).ceil(), middle).clamp(min=0.0)
    last = torch.maximum((center + half - 0.5).floor(), middle).clamp(max=size - 1.0)
    return first.long(), (last - first + 1.0).clamp(min=0.0).long(), middle.long()


def _portions(pairs: list[int]) -> list[slice]:
    """Ranges of clouds that together have at most _MAX_PAIRS pairs, or are a single cloud."""
    portions, start, total = [], 0, 0
    for cloud, count in enumerate(pairs):
        if cloud > start and total + count > _MAX_PAIRS:
            portions.append(slice(start, cloud))
            start, total = cloud, 0
        total += count
    portions.append(slice(start, len(pairs)))
    return portions


def _splat(disc: Tensor, pixels: Tensor, pairs: Tensor, size: int) -> Tensor:
    """Winners of a few clouds; what belongs to a point is (rows, clouds, N)."""
    batch, count = pairs.shape
    disc, pixels, pairs = disc.flatten(1), pixels.flatten(1), pairs.flatten()
    point = torch.repeat_interleave(pairs)
    local = torch.arange(len(point), device=point.device) - (pairs.cumsum(0) - pairs).index_select(0, point)
    first_column, columns, middle_column, first_row, middle_row = pixels.index_select(1, point).unbind()
    down = torch.div(local, columns, rounding_mode="floor")
    row = first_row + down
    column = first_column + local - down * columns

    # Where the ray of the pixel, camera + t (dx, dy, -1), meets the plane of the disc.
    px, py, pz, nx, ny, nz, plane, radius = disc.index_select(1, point).unbind()
    dx = (column + 0.5) * (2.0 / (size * _FOCAL)) - 1.0 / _FOCAL
    dy = 1.0 / _FOCAL - (row + 0.5) * (2.0 / (size * _FOCAL))
    t = plane / (nx * dx + ny * dy - nz)
    squared = (t * dx - px).square() + (t * dy - py).square() + (t + pz).square()
    hit = (squared <= radius * radius) & (t > 0)
    # A disc seen edge-on may pass between pixel centres: the pixel that holds its centre always sees it.
    centre = (row == middle_row) & (column == middle_column) & (pz < 0)
    # Among overlapping discs of one surface the one with the nearest centre wins: smooth shading instead of noise.
    behind = torch.where(hit, t + _EDGE_DEPTH * squared / radius.clamp(min=1e-12), _EDGE_DEPTH * radius - pz)
    keep = (hit | centre).nonzero().squeeze(1)
    point = point[keep]
    pixel = point // count * (size * size) + row[keep] * size + column[keep]
    key = (behind[keep].view(torch.int32).long() << 32) | point  # positive floats sort like their bits
    nearest = torch.full((batch * size * size,), _NOTHING, device=key.device)
    nearest.scatter_reduce_(0, pixel, key, "amin")
    number = (nearest & 0xFFFFFFFF) % count
    return torch.where(nearest == _NOTHING, -1, number).view(batch, size * size)
