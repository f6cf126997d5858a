"""Named hard inputs: every operator is tested on all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from _pytest.mark import ParameterSet
from torch import Tensor


def _random(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _lattice() -> Tensor:
    axis = torch.arange(6.0, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis, axis).expand(2, -1, -1)


def _with_nan() -> Tensor:
    points = _random((2, 60, 3))
    points[0, 7] = torch.nan
    points[0, 31, 1] = torch.nan
    points[1, 0, 2] = torch.nan
    return points


def _with_infinity() -> Tensor:
    points = _random((2, 50, 3))
    points[0, 3, 0] = torch.inf
    points[0, 9, 0] = torch.inf
    points[1, 20] = -torch.inf
    return points


def _contrast() -> Tensor:
    """A dense cluster in a sparse cloud: density differs by a factor of a million."""
    return torch.cat([_random((1, 90, 3)), _random((1, 90, 3), seed=1) * 1e-2 + 0.3], dim=1)


def _collinear() -> Tensor:
    return torch.arange(130.0, dtype=torch.float64)[None, :, None] * torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)


CLOUDS: dict[str, Callable[[], Tensor]] = {
    "random": lambda: _random((3, 117, 3)),
    "two_coordinates": lambda: _random((2, 64, 2)),
    "one_coordinate": lambda: _random((2, 33, 1)),
    "features": lambda: _random((2, 70, 64)),
    "odd_features": lambda: _random((1, 40, 17)),
    "duplicates": lambda: _random((2, 30, 3)).repeat_interleave(4, dim=1),
    "identical": lambda: torch.full((2, 50, 3), 0.7, dtype=torch.float64),
    "collinear": _collinear,
    "lattice": _lattice,
    "one_point": lambda: _random((3, 1, 3)),
    "two_points": lambda: _random((2, 2, 3)),
    "far_from_origin": lambda: _random((2, 90, 3)) + 1e4,
    "very_far_from_origin": lambda: _random((1, 90, 3)) + 1e6,
    "huge": lambda: _random((1, 60, 3)) * 1e25,
    "tiny": lambda: _random((1, 60, 3)) * 1e-25,
    "denormal_distances": lambda: _random((1, 60, 3)) * 1e-20,
    "offset_by_one_element": lambda: _random((2, 45, 3)),
    "offset_features": lambda: _random((1, 40, 32)),
    "density_contrast": _contrast,
    "nan": _with_nan,
    "all_nan": lambda: torch.full((1, 20, 3), torch.nan, dtype=torch.float64),
    "infinity": _with_infinity,
    "many_blocks": lambda: _random((1, 1500, 3)),
}

NOT_FINITE = ("nan", "all_nan", "infinity")
FINITE = [name for name in CLOUDS if name not in (*NOT_FINITE, "huge", "tiny", "denormal_distances")]


def offset_by_one_element(tensor: Tensor) -> Tensor:
    """A contiguous copy that is aligned to one element and no more, as `points[1:]` is."""
    room = tensor.new_empty(tensor.numel() + 1)[1:]
    return room.copy_(tensor.flatten()).view(tensor.shape)


def cloud(name: str, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    """A hard input (B, N, D). Rounding to the dtype makes further ties; that is wanted."""
    points = CLOUDS[name]().to(dtype).to(device)
    return offset_by_one_element(points) if name.startswith("offset") else points


def named(names: Iterable[str]) -> list[ParameterSet]:
    """Parameters of a test; the largest input is not for emulated devices."""
    marks = {"many_blocks": pytest.mark.too_large_to_emulate}
    return [pytest.param(name, marks=marks.get(name, ())) for name in names]
