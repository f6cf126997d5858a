"""Pictures of objects: read from files, or rendered where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from crosspoint.data.rendering.render import RenderMode, random_views, render
from crosspoint.data.sample import UpAxis

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
"""Endings of the files that count as pictures."""


def read_image(file: Path, size: int, *, crop: bool = False) -> Tensor:
    """Read a picture, put it on white and resize it.

    Args:
        file: a picture in any mode that Pillow reads.
        size: side of the square result, pixels.
        crop: whether only the middle square of a picture of another shape is taken, which keeps its proportions.

    Returns:
        (3, size, size) uint8 RGB.

    Raises:
        ValueError: the file is not a complete picture.
    """
    try:
        with Image.open(file) as picture:
            rgba = picture.convert("RGBA")
    except (OSError, SyntaxError, ValueError) as error:  # Pillow reports a damaged PNG chunk as SyntaxError
        raise ValueError(f"a picture must be a complete image file, got {file} ({error})") from error
    flat = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if crop and flat.width != flat.height:
        side = min(flat.size)
        left, top = (flat.width - side) // 2, (flat.height - side) // 2
        flat = flat.crop((left, top, left + side, top + side))
    if flat.size != (size, size):
        flat = flat.resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(flat)).permute(2, 0, 1).contiguous()


def pictures_in(folder: Path, *, first_only: bool = False) -> list[Path]:
    """Sorted picture files of a folder, or just any one of them; none where the folder does not exist."""
    found: list[Path] = []
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.lower().endswith(PICTURE_SUFFIXES):
                    found.append(Path(entry.path))
                    if first_only:
                        break
    return sorted(found)


def render_image(
    points: Tensor, rng: np.random.Generator, *, size: int, mode: RenderMode = "shaded", up_axis: UpAxis = "y"
) -> Tensor:
    """A view of a cloud from a random direction, as a picture of it would be.

    Args:
        points: (N, 3) float32 inside the unit sphere.
        rng: the item's random stream.
        size: side of the square result, pixels.
        mode: what the view shows.
        up_axis: vertical axis of the cloud.

    Returns:
        (3, size, size) uint8 RGB.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    azimuth, elevation = random_views(1, generator)
    picture = render(
        points.unsqueeze(0),
        azimuth=azimuth,
        elevation=elevation,
        size=size,
        mode=mode,
        up_axis=up_axis,
        generator=generator,
    )
    return (255.0 * picture[0]).round().to(torch.uint8)
