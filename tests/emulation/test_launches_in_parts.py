"""What would take one launch too long is cut into several, with the results of one."""

from __future__ import annotations

from typing import Any

import emulated
import pytest
import torch
from torch import Tensor

pytestmark = pytest.mark.emulation
OPERATORS = torch.ops.pointkernels


def points(rows: int, dims: int, dtype: torch.dtype = torch.float32) -> Tensor:
    values = torch.randint(-20, 20, (rows, dims), generator=torch.Generator().manual_seed(rows)).to(dtype) / 4
    if rows > 20:
        values[7] = torch.nan
    return values


EXTENTS = torch.tensor([[0, 60], [64, 1], [65, 0], [70, 50]])
START = torch.tensor([3, 0, 0, 49])

CASES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "knn": ("knn", (points(120, 3), None, points(90, 3), None, 3, 7, True, True)),
    "knn, ragged, k above 128": ("knn", (points(130, 5), EXTENTS, None, None, 4, 140, False, True)),
    "ball_query": ("ball_query", (points(120, 3), None, points(90, 3), None, 3, 9.0, 7, True)),
    "ball_query, ragged": ("ball_query", (points(130, 2), EXTENTS, None, None, 4, 4.0, 70, False)),
    "sampling, clouds in turns": ("farthest_point_sampling", (points(120, 3), EXTENTS, START, 4, 12)),
    "sampling, ranks in memory": ("farthest_point_sampling", (points(120, 2), EXTENTS, START, 4, 60)),
    "sampling, one cloud": ("farthest_point_sampling", (points(70, 4), None, torch.tensor([5]), 1, 70)),
    "sampling, ranks in registers and in memory": (
        "farthest_point_sampling",
        (points(2700, 3, torch.float64), torch.tensor([[0, 40], [50, 2650]]), torch.tensor([1, 2]), 2, 5),
    ),
}


@pytest.mark.parametrize("schedule", ["forward", "random-1"])
@pytest.mark.parametrize("name", CASES)
def test_equals_one_launch(name: str, schedule: str) -> None:
    operator, arguments = CASES[name]
    expected = getattr(OPERATORS, operator)(*arguments)
    for most_steps in (1, 20_000, emulated.AS_ON_GPUS):
        with emulated.device(schedule, most_steps=most_steps):
            actual = getattr(OPERATORS, operator)(*arguments)
        for a, b in zip(*((r,) if isinstance(r, Tensor) else r for r in (actual, expected)), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
