"""No result depends on what torch is told about TF32, and CPU and CUDA multiply with the same roundings.

TF32 itself is only on GPUs. What makes a result depend on it is a matrix product of torch, so none may be dispatched on
the way that CUDA takes, which the emulated device takes, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import emulated
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import pointkernels
from pointkernels.ops import edge_conv_two_layer_chunks as chunks

# Whatever torch may hand to a library of matrix products.
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "vdot", "matmul", "linear", "einsum", "addr"}
PRODUCTS |= {"convolution", "convolution_backward", "_convolution", "_scaled_mm", "_cdist_forward", "cdist", "addbmm"}


class NoProducts(TorchDispatchMode):
    """Fails where an operation could be rounded to TF32."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert func.namespace != "aten" or name not in PRODUCTS, f"aten::{name} may be rounded to TF32"
        return func(*args, **(kwargs or {}))


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def with_gradients(result: Tensor, *inputs: Tensor) -> list[Tensor]:
    return [result.detach(), *torch.autograd.grad(result, inputs, torch.ones_like(result))]


def edge_conv(device: str, training: bool = True) -> list[Tensor]:
    features, weight = random(2, 30, 6).to(device).requires_grad_(), random(9, 12, seed=1).to(device).requires_grad_()
    vectors = [v.to(device).requires_grad_() for v in (random(9, seed=2), random(9, seed=3))]
    running = [random(9, seed=4).to(device), random(9, seed=5).square().to(device)]
    lists = pointkernels.knn(features, 5)
    output = pointkernels.edge_conv(features, lists, weight, *vectors, *running, training=training)
    return [*with_gradients(output, features, weight, *vectors), *running]


def edge_conv_two_layer(device: str) -> list[Tensor]:
    features = random(2, 30, 6).to(device).requires_grad_()
    layers = [
        pointkernels.EdgeLayer(
            random(*shape, seed=6).to(device), random(shape[0], seed=7).to(device), random(shape[0], seed=8).to(device)
        )
        for shape in ((8, 12), (7, 8))
    ]
    return with_gradients(pointkernels.edge_conv_two_layer(features, pointkernels.knn(features, 5), *layers), features)


def chunks_of_two_layers(device: str) -> list[Tensor]:
    """What CUDA runs for it."""
    lists = pointkernels.knn(random(2, 30, 6).to(device), 5).flatten(0, 1)
    given = [random(*shape, seed=9).to(device) for shape in ((60, 16), (8,), (8,), (7, 8), (8,), (7,), (7,))]
    nodes, bn_weight, bn_bias, weight, center, bn_weight2, bn_bias2 = given
    first = (nodes, lists, 30, bn_weight, bn_bias, None, None, 1e-5, 0.2)
    forward = chunks.forward(*first, weight, center, bn_weight2, bn_bias2, None, None, 1e-5, 0.2)
    output, mean, var, mean2, var2, count, deviation, slot = forward
    reverse = torch.ops.pointkernels._reverse_graph(lists, 30, 30, 60)
    backward = chunks.backward(
        torch.ones_like(output), nodes, lists, 30, *reverse, bn_weight, bn_bias, mean, var, 1e-5, 0.2, weight, center,
        bn_weight2, bn_bias2, mean2, var2, 1e-5, 0.2, count, deviation, slot, False, False,
    )  # fmt: skip
    return [*forward, *backward]


def linear(device: str) -> list[Tensor]:
    x, weight = random(40, 6).to(device).requires_grad_(), random(5, 6, seed=1).to(device).requires_grad_()
    return with_gradients(pointkernels.linear(x, weight, random(5, seed=2).to(device)), x, weight)


def searches(device: str) -> list[Tensor]:
    points = random(2, 40, 24).to(device).requires_grad_()
    distances, indices = pointkernels.knn(points, 6, return_distance=True)
    chamfer = pointkernels.chamfer_distance(points, points.detach() * 1.5)
    gathered = pointkernels.gather_neighbors(points, indices)
    weighted = pointkernels.gather_weighted(points, indices, distances)
    loss = distances.sum() + chamfer.sum() + gathered.sum() + weighted.sum()
    sampled = pointkernels.farthest_point_sampling(points.detach(), 8)
    return [indices, sampled, pointkernels.ball_query(points.detach(), 5.0, 5), *with_gradients(loss, points)]


CALLS: dict[str, Callable[[str], list[Tensor]]] = {
    "edge_conv in training": edge_conv,
    "edge_conv in evaluation": lambda device: edge_conv(device, training=False),
    "edge_conv_two_layer": edge_conv_two_layer,
    "its chunks": chunks_of_two_layers,
    "linear": linear,
    "searches": searches,
}


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
