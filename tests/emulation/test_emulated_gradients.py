"""EdgeConv, its gradient and that of kNN, emulated: close to the CPU's results, and the same in every schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from emulated import CHECK, SCHEDULES
from graphs import GRAPHS, graph
from machines import Machine
from torch import Tensor

pytestmark = pytest.mark.emulation
OPERATORS = torch.ops.pointkernels
DTYPES = [torch.float32, torch.float64]
EPS, SLOPE = 1e-5, 0.2


def naming(what: str) -> Callable[[str], str]:
    """For assert_close: begins its message with what is not close."""
    return lambda text: f"{what}: {text}"


def assert_near(actual: Tensor, expected: Tensor, what: str, scale: float = 1.0) -> None:
    """Within a few roundings of the largest number of both; sums are taken in different orders."""
    tolerance = (1e-5 if expected.dtype == torch.float32 else 1e-13) * scale
    largest = float(expected.abs().nan_to_num(0).max()) if expected.numel() > 0 else 0.0
    torch.testing.assert_close(
        actual, expected, rtol=0, atol=tolerance * max(largest, 1.0), equal_nan=True, msg=naming(what)
    )


def random(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("dims", [1, 3, 32, 33, 70])
def test_knn_backward(name: str, dims: int, machine: Machine) -> None:
    for dtype, (clouds, query_size, cloud_size, k) in zip(DTYPES, ((2, 9, 13, 4), (1, 40, 40, 7)), strict=True):
        lists = graph(name, clouds, query_size, cloud_size, k)
        points = random(clouds * cloud_size, dims, dtype=dtype, seed=1)
        query = random(clouds * query_size, dims, dtype=dtype, seed=2)
        upstream = random(*lists.shape, dtype=dtype, seed=3)
        offsets, edges = OPERATORS._reverse_graph(lists, query_size, cloud_size, points.shape[0])
        arguments = (upstream, points, query, lists, query_size, cloud_size, offsets, edges)
        results = zip(machine.run("_knn_backward", *arguments), OPERATORS._knn_backward(*arguments), strict=True)
        for actual, expected in results:
            assert_near(actual, expected, "gradient")


RESULTS = ["output", "mean", "var", "count", "extremum", "slot", "gathered"]
EXACT = ["count", "extremum", "slot"]
GRADIENTS = ["gradient of nodes", "gradient of bn_weight", "gradient of bn_bias"]


def edge_conv_arguments(
    lists: Tensor, cloud_size: int, channels: int, dtype: torch.dtype, training: bool, offset: float, with_ties: bool
) -> tuple[Any, ...]:
    """Of edge_conv; bn_weight is negative, zero and positive in turn."""
    nodes = random(lists.shape[0], 2 * channels, dtype=dtype, seed=channels)
    nodes = (nodes.round() if with_ties else nodes) + offset
    bn_weight, bn_bias, mean, var = (random(channels, dtype=dtype, seed=seed) for seed in range(4))
    bn_weight[::3] = -bn_weight[::3].abs()
    bn_weight[1::3] = 0
    given = (None, None) if training else (mean, var.square() + 0.5)
    return nodes, lists, cloud_size, bn_weight, bn_bias, *given, EPS, SLOPE


def backward_arguments(arguments: tuple[Any, ...], results: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """Of _edge_conv_backward, after edge_conv gave `results`."""
    nodes, lists, cloud_size, bn_weight, bn_bias, given_mean = arguments[:6]
    output, mean, var, count, extremum, slot, gathered = results
    offsets, edges = OPERATORS._reverse_graph(lists, cloud_size, cloud_size, nodes.shape[0])
    upstream = random(*output.shape, dtype=output.dtype, seed=9)
    return (
        upstream, nodes, lists, cloud_size, offsets, edges, bn_weight, bn_bias, mean, var, count, extremum, slot,
        gathered if given_mean is None else None, EPS, SLOPE,
    )  # fmt: skip


def check_edge_conv(machine: Machine, arguments: tuple[Any, ...], scale: float) -> None:
    actual, expected = machine.run("edge_conv", *arguments), OPERATORS.edge_conv(*arguments)
    training, has_edges = arguments[5] is None, float(actual[3]) > 0
    for what, ours, theirs in zip(RESULTS, actual, expected, strict=True):
        if what in EXACT:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True, msg=naming(what))
        elif what in ("mean", "var") and training and not has_edges:
            assert not ours.any(), what  # csrc/cuda/edge_conv.h; elsewhere it is not said what they are
        elif what == "gathered" and not training:
            assert ours.numel() == theirs.numel() == 0
        else:
            assert_near(ours, theirs, what, scale)
    of_backward = backward_arguments(arguments, expected if has_edges else actual)
    gradients = zip(
        GRADIENTS,
        machine.run("_edge_conv_backward", *of_backward),
        OPERATORS._edge_conv_backward(*of_backward),
        strict=True,
    )
    for what, ours, theirs in gradients:
        assert_near(ours, theirs, what, scale)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", GRAPHS)
def test_edge_conv(name: str, training: bool, machine: Machine) -> None:
    for dtype in DTYPES:
        for clouds, size, k, channels in (
            (1, 1, 1, 1), (2, 11, 4, 3), (1, 30, 5, 64), (2, 23, 6, 65), (1, 9, 3, 130), (1, 90, 3, 5), (2, 5, 0, 3),
        ):  # fmt: skip
            lists = graph(name, clouds, size, size, k)
            arguments = edge_conv_arguments(lists, size, channels, dtype, training, 0.0, with_ties=k == 4)
            check_edge_conv(machine, arguments, scale=10 if name != "everything_at_one" else 1000)


@pytest.mark.parametrize("k", [1, 255, 256])
def test_edge_conv_of_both_slot_formats(k: int, machine: Machine) -> None:
    for dtype in DTYPES:
        lists = graph("holes", 1, 13, 13, k)
        check_edge_conv(machine, edge_conv_arguments(lists, 13, 3, dtype, True, 0.0, with_ties=True), scale=10)


@pytest.mark.parametrize("offset", [100.0, 1000.0])
def test_edge_conv_far_from_the_origin(offset: float, machine: Machine) -> None:
    """Float32 keeps what its inputs hold: their rounding, 3e-8 of the offset, and no cancellation on top of it."""
    arguments = edge_conv_arguments(graph("random", 1, 60, 60, 20), 60, 8, torch.float32, True, offset, with_ties=False)
    widened = tuple(a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments)
    actual, truth = machine.run("edge_conv", *arguments), OPERATORS.edge_conv(*widened)
    for what, ours, exact in zip(RESULTS, actual, truth, strict=True):
        if what in ("output", "mean", "extremum"):
            assert float((ours - exact).abs().max()) < 4e-7 * offset, what
        elif what != "slot":
            torch.testing.assert_close(ours.double(), exact, rtol=4e-7, atol=0, msg=naming(what))
    of_backward = backward_arguments(arguments, actual)
    widened = tuple(a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in of_backward)
    for what, ours, exact in zip(
        GRADIENTS,
        machine.run("_edge_conv_backward", *of_backward),
        OPERATORS._edge_conv_backward(*widened),
        strict=True,
    ):
        error = float((ours - exact).abs().max()) / float(exact.abs().max())
        assert error < 1e-8 * offset, what


def test_edge_conv_with_nan(machine: Machine) -> None:
    lists = graph("random", 2, 20, 20, 4)
    for dtype in DTYPES:
        arguments = edge_conv_arguments(lists, 20, 6, dtype, False, 0.0, with_ties=False)
        nodes = arguments[0]
        nodes[3, 0] = nodes[5, 0] = nodes[3, 1] = nodes[27, 8] = torch.nan
        check_edge_conv(machine, arguments, scale=10)


def test_edge_conv_stops_at_a_neighbour_outside_its_cloud(machine: Machine) -> None:
    lists = graph("random", 1, 20, 20, 4)
    lists[2, 1] = 20
    with pytest.raises(RuntimeError, match=r"neighbor < task\.cloud_size\) at csrc/cuda/edge_conv\.cu:\d+, block 0"):
        machine.run("edge_conv", *edge_conv_arguments(lists, 20, 3, torch.float32, True, 0.0, with_ties=False))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_schedule_gives_the_same_bits(dtype: torch.dtype) -> None:
    lists = graph("hub", 2, 150, 150, 9)
    arguments = edge_conv_arguments(lists, 150, 16, dtype, True, 0.0, with_ties=False)
    runs = []
    for schedule in SCHEDULES:
        machine = Machine(90, CHECK, schedule)
        results = machine.run("edge_conv", *arguments)
        runs.append([*results, *machine.run("_edge_conv_backward", *backward_arguments(arguments, results))])
    for run in runs[1:]:
        assert all(torch.equal(ours, first) for ours, first in zip(run, runs[0], strict=True))
