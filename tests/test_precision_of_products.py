"""No result depends on what torch is told about TF32, and CPU and CUDA multiply with the same roundings.

TF32 itself is only on GPUs. What makes a result depend on it is a matrix product of torch, so none may be dispatched on
the way that CUDA takes, which the emulated device takes, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import emulated
import pytest
import torch
from operator_calls import CALLS, random
from torch.utils._python_dispatch import TorchDispatchMode

import pointkernels

# Whatever torch may hand to a library of matrix products.
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "vdot", "matmul", "linear", "einsum", "addr"}
PRODUCTS |= {"convolution", "convolution_backward", "_convolution", "_scaled_mm", "_cdist_forward", "cdist", "addbmm"}


class NoProducts(TorchDispatchMode):
    """Fails where an operation could be rounded to TF32."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert func.namespace != "aten" or name not in PRODUCTS, f"aten::{name} may be rounded to TF32"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def _precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("name", CALLS)
def test_torch_multiplies_no_matrices(name: str, device: str) -> None:
    with NoProducts():
        CALLS[name](device)


def test_a_product_of_torch_would_be_seen() -> None:
    """Also one in the backward pass alone."""
    x, weight = random(4, 3).requires_grad_(), random(3, 3)
    for call in (lambda: x @ weight, lambda: torch.nn.functional.linear(x, weight), lambda: torch.cdist(x, x)):
        with pytest.raises(AssertionError, match="may be rounded to TF32"), NoProducts():
            call()


@pytest.mark.usefixtures("_precision")
@pytest.mark.parametrize("name", CALLS)
def test_the_precision_that_torch_is_given_changes_nothing(name: str, device: str) -> None:
    results = []
    for precision in ("highest", "high", "medium"):
        torch.set_float32_matmul_precision(precision)
        results.append(CALLS[name](device))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.skipif(emulated.missing() is not None, reason=str(emulated.missing()))
@pytest.mark.skipif(pointkernels.build_info()["isas_usable"][-1] == "scalar", reason="needs fused multiply-adds")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("rows", "channels", "outputs"), [(1, 1, 1), (130, 3, 70), (70, 17, 64), (2500, 5, 3), (65, 64, 6), (0, 3, 2)]
)
def test_products_are_those_of_the_cpu(rows: int, channels: int, outputs: int, dtype: torch.dtype) -> None:
    """Bit for bit, so that winners are the same on every device."""
    x, weight = random(rows, channels, dtype=dtype), random(outputs, channels, seed=1, dtype=dtype)
    grad = random(rows, outputs, seed=2, dtype=dtype)
    operators = torch.ops.pointkernels
    expected = operators._linear(x, weight), *operators._linear_backward(grad, x, weight, True, True)
    with emulated.device("random-1"):
        actual = operators._linear(x, weight), *operators._linear_backward(grad, x, weight, True, True)
    for a, b in zip(actual, expected, strict=True):
        assert torch.equal(a, b)
