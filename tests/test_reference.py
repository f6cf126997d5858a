"""The reference must itself be right: its fused multiply-add is checked against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from pointkernels import reference


def _rounded(value: Fraction, dtype: type[np.floating]) -> float:
    """The floating number nearest to a rational one, ties to even."""
    guess = dtype(float(value))
    candidates = [np.nextafter(guess, dtype(-np.inf)), guess, np.nextafter(guess, dtype(np.inf))]

    def rank(x: np.floating) -> tuple[Fraction, int]:
        mantissa = x.view(np.int32 if dtype is np.float32 else np.int64)
        return abs(Fraction(float(x)) - value), int(mantissa) % 2

    return float(min(candidates, key=rank))


@pytest.mark.parametrize(("dtype", "numpy_dtype"), [(torch.float32, np.float32), (torch.float64, np.float64)])
@pytest.mark.parametrize("kind", ["plain", "cancelling", "halfway", "wide"])
def test_fused_multiply_add_rounds_once(dtype: torch.dtype, numpy_dtype: type[np.floating], kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(400, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3))
    if kind == "cancelling":
        c = -(a * b) + c * torch.finfo(dtype).eps
    elif kind == "halfway":  # products whose last bits lie just around the middle between two numbers
        a = 1 + torch.randint(1, 1 << 10, (400,), generator=generator).to(dtype) * torch.finfo(dtype).eps
        b, c = a.flip(0), torch.full_like(a, 2.0)
    elif kind == "wide":
        c = c * 1e12
    result = reference.fused_multiply_add(a, b, c)
    exact = [
        Fraction(x) * Fraction(y) + Fraction(z) for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    ]
    assert result.tolist() == [_rounded(value, numpy_dtype) for value in exact]


def test_squared_distances_are_right() -> None:
    points, query = torch.randn(2, 30, 5, dtype=torch.float64), torch.randn(2, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(reference.squared_distances(points, query), torch.cdist(query, points).square())


def test_knn_is_the_sorted_distance_matrix() -> None:
    points = torch.randn(2, 40, 3, dtype=torch.float64)
    distances, indices = reference.knn(points, 40)
    expected, order = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square().sort(dim=-1)
    torch.testing.assert_close(distances, expected)
    assert torch.equal(indices, order)


def test_edge_conv_is_the_usual_stack_of_modules() -> None:
    features = torch.randn(2, 25, 3, dtype=torch.float64)
    conv = torch.nn.Conv2d(6, 8, 1, bias=False).double()
    bn = torch.nn.BatchNorm2d(8).double()
    _, neighbors = reference.knn(features, 5)
    mean, var = bn.running_mean.clone(), bn.running_var.clone()
    actual = reference.edge_conv(
        features, neighbors, conv.weight.flatten(1), bn.weight, bn.bias, mean, var,
        training=True, momentum=0.1, eps=bn.eps, negative_slope=0.2,
    )  # fmt: skip
    x_j = torch.stack([features[b][neighbors[b]] for b in range(2)])
    edges = torch.cat([x_j - features[:, :, None], features[:, :, None].expand_as(x_j)], dim=-1).permute(0, 3, 1, 2)
    expected = torch.nn.functional.leaky_relu(bn(conv(edges)), 0.2).max(dim=-1).values.transpose(1, 2)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(mean, bn.running_mean)
    torch.testing.assert_close(var, bn.running_var)
