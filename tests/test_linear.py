"""The linear map of all points: float64 truth, shapes around the tiles, gradients, threads, dispatch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import pointkernels


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.double() - expected).norm() / expected.norm().clamp(min=1e-300))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("rows", "channels", "outputs"),
    [(1, 1, 1), (5, 3, 128), (95, 64, 7), (97, 130, 64), (200, 33, 200), (2000, 20, 17), (0, 4, 5), (12, 48, 31)],
)
def test_equals_float64(rows: int, channels: int, outputs: int, dtype: torch.dtype, device: str) -> None:
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, channels, generator=generator).to(device, dtype).requires_grad_()
    weight = torch.randn(outputs, channels, generator=generator).to(device, dtype).requires_grad_()
    grad = torch.randn(rows, outputs, generator=generator).to(device, dtype)
    output = pointkernels.linear(x, weight)
    grads = torch.autograd.grad(output, (x, weight), grad)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    assert relative_error(output.detach(), x.detach().double() @ weight.detach().double().t()) <= tolerance
    assert relative_error(grads[0], grad.double() @ weight.detach().double()) <= tolerance
    assert relative_error(grads[1], grad.double().t() @ x.detach().double()) <= tolerance


def test_number_of_threads_changes_nothing() -> None:
    x, weight = torch.randn(5000, 70, requires_grad=True), torch.randn(90, 70, requires_grad=True)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            output = pointkernels.linear(x, weight)
            results.append([output.detach(), *torch.autograd.grad(output.sum(), (x, weight))])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_is_that_of_torch_with_bias_and_any_shape(device: str) -> None:
    for shape in ((3,), (7, 3), (2, 4, 5, 3)):
        x, weight, bias = torch.randn(shape).to(device), torch.randn(4, 3).to(device), torch.randn(4).to(device)
        torch.testing.assert_close(pointkernels.linear(x, weight, bias), functional.linear(x, weight, bias))
        half = pointkernels.linear(x.bfloat16(), weight.bfloat16(), bias.bfloat16())
        assert torch.equal(half, functional.linear(x.bfloat16(), weight.bfloat16(), bias.bfloat16()))
    spread = torch.randn(6, 8).to(device)[:, ::2]
    torch.testing.assert_close(
        pointkernels.linear(spread, weight.new_ones(5, 4)), spread.sum(1, keepdim=True).expand(6, 5)
    )


def test_gradients_and_dispatch() -> None:
    x, weight = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((7, 3), (5, 3)))
    assert torch.autograd.gradcheck(pointkernels.linear, (x, weight))
    torch.library.opcheck(torch.ops.pointkernels._linear.default, (x, weight))
    torch.library.opcheck(torch.ops.pointkernels._center_rows.default, (x, torch.arange(7) < 4))
    compiled = torch.compile(pointkernels.linear, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weight), pointkernels.linear(x, weight))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert pointkernels.linear(x.float(), weight.float()).dtype == torch.bfloat16


def test_second_derivatives(device: str) -> None:
    x, weight = (torch.randn(s, dtype=torch.float64, device=device, requires_grad=True) for s in ((4, 3), (2, 3)))
    assert torch.autograd.gradgradcheck(pointkernels.linear, (x, weight))


def test_centered_rows_see_nothing_of_padding() -> None:
    x = torch.randn(600, 5) + 100
    used = torch.rand(600) < 0.7
    x[~used] = torch.nan
    centered, mean = torch.ops.pointkernels._center_rows(x, used)
    torch.testing.assert_close(mean, x[used].mean(dim=0))
    assert torch.equal(centered[used], x[used] - mean)
    assert bool((centered[~used] == 0).all())
