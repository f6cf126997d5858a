"""The operators of EdgeConv with two layers: threads, chunks as on CUDA, schemas, bad arguments."""

from __future__ import annotations

from typing import Any

import emulated
import pytest
import torch
from torch import Tensor

from pointkernels.ops import edge_conv_two_layer_chunks as chunks
from pointkernels.ops import edge_conv_two_layer_chunks_backward as chunks_backward

pytestmark = pytest.mark.too_large_to_emulate

TRAINING = [(True, True), (False, False), (True, False), (False, True)]  # of the first and the second layer
OPERATOR = torch.ops.pointkernels.edge_conv_two_layer
BACKWARD = torch.ops.pointkernels._edge_conv_two_layer_backward


def operator_arguments(training: tuple[bool, bool], dtype: torch.dtype = torch.float32) -> list[Any]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    neighbors = torch.randint(-1, 40, (80, 12), generator=generator)
    neighbors[7] = -1
    given = [
        (None, None) if own else (random(n), random(n).square() + 0.5) for own, n in zip(training, (18, 7), strict=True)
    ]
    first = [random(80, 36), neighbors, 40, random(18), random(18), *given[0], 1e-5, 0.2]
    return [*first, random(7, 18), random(18), random(7), random(7), *given[1], 1e-3, 0.1]


def backward_arguments(inputs: list[Any], training: tuple[bool, bool]) -> tuple[Any, ...]:
    _, mean, var, mean2, var2, count, deviation, slot = OPERATOR(*inputs)
    nodes, neighbors, cloud_size, bn_weight, bn_bias, _, _, eps, slope, *second = inputs
    weight, center, bn_weight2, bn_bias2, _, _, eps2, slope2 = second
    offsets, edges = torch.ops.pointkernels._reverse_graph(neighbors, cloud_size, cloud_size, len(nodes))
    grad = torch.randn(deviation.shape, generator=torch.Generator().manual_seed(3), dtype=nodes.dtype)
    constant = [not own for own in training]
    return (
        grad, nodes, neighbors, cloud_size, offsets, edges, bn_weight, bn_bias, mean, var, eps, slope,
        weight, center, bn_weight2, bn_bias2, mean2, var2, eps2, slope2, count, deviation, slot, *constant,
    )  # fmt: skip


def test_number_of_threads_changes_nothing() -> None:
    training = (True, True)
    threads = torch.get_num_threads()
    inputs = operator_arguments(training)
    inputs[:3] = [inputs[0].repeat(40, 1), inputs[1].repeat(40, 1), 40]  # many units, and more than one chunk of them
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append([*OPERATOR(*inputs), *BACKWARD(*backward_arguments(inputs, training))])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("training", TRAINING)
@pytest.mark.parametrize("size", [30, 500, 1 << 18])  # parts of a cloud, a cloud, several clouds at a time
def test_in_chunks_as_on_cuda(size: int, training: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", size)
    inputs = operator_arguments(training, torch.float64)
    for actual, expected in zip(chunks.forward(*inputs)[:-1], OPERATOR(*inputs), strict=False):
        torch.testing.assert_close(actual, expected)
    arguments = backward_arguments(inputs, training)
    for actual, expected in zip(chunks_backward.backward(*arguments), BACKWARD(*arguments), strict=True):
        torch.testing.assert_close(actual, expected)


def test_in_chunks_on_the_emulated_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the CUDA kernels of the operators that the chunks are made of."""
    if emulated.missing():
        pytest.skip(str(emulated.missing()))
    monkeypatch.setattr(chunks, "CHUNK", 300)
    inputs = operator_arguments((True, True), torch.float64)
    arguments = backward_arguments(inputs, (True, True))
    expected = BACKWARD(*arguments)
    with emulated.device("random-1"):
        actual = chunks_backward.backward(*arguments)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_opcheck() -> None:
    training = (True, False)
    inputs = operator_arguments(training)
    torch.library.opcheck(BACKWARD.default, backward_arguments(inputs, training), test_utils="test_faketensor")
    for n in (0, 3, 4, 5, 9, 11, 12, 13):
        if inputs[n] is not None:
            inputs[n] = inputs[n].requires_grad_()
    torch.library.opcheck(OPERATOR.default, inputs)


def test_a_direct_call_of_the_operators_stays_in_memory() -> None:
    training = (True, True)
    inputs = operator_arguments(training)
    arguments = list(backward_arguments(inputs, training))
    for bad in (40, -2):
        inputs[1] = torch.full_like(inputs[1], bad)
        with pytest.raises(RuntimeError, match="neighbors must be -1 or lie in"):
            OPERATOR(*inputs)
    arguments[22] = torch.full_like(arguments[22], 12)
    with pytest.raises(RuntimeError, match="slot must be what edge_conv_two_layer returned"):
        BACKWARD(*arguments)
