"""EdgeConv with two layers: reference, odd inputs, float32 accuracy, gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from clouds import FINITE, cloud, named
from torch import Tensor

import pointkernels
from pointkernels import EdgeLayer, reference
from pointkernels.nn import TwoLayerEdgeConv

# On CUDA the operators are made of others, which are emulated by themselves: test_edge_conv_two_layer_operators.py.
pytestmark = pytest.mark.too_large_to_emulate

TRAINING = [(True, True), (False, False), (True, False)]  # of the first and the second layer


class Case:
    """Arguments, with weights of BatchNorm that are positive, negative and zero in turn."""

    def __init__(self, features: Tensor, hidden: int, outputs: int, k: int, neighbors: Tensor | None = None) -> None:
        generator = torch.Generator().manual_seed(0)

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(features)

        self.features = features
        self.neighbors = pointkernels.knn(features, k) if neighbors is None else neighbors
        self.parameters = []
        self.statistics = []
        for rows, columns in ((hidden, 2 * features.shape[2]), (outputs, hidden)):
            bn_weight = random(rows)
            bn_weight[3::5] = 0
            self.parameters += [random(rows, columns) / columns**0.5, bn_weight, random(rows)]
            self.statistics += [random(rows), random(rows).square() + 0.5]
        self.upstream = random(*features.shape[:2], outputs)

    def to(self, dtype: torch.dtype) -> Case:
        copy = object.__new__(Case)
        copy.features, copy.upstream, copy.neighbors = self.features.to(dtype), self.upstream.to(dtype), self.neighbors
        copy.parameters = [t.to(dtype) for t in self.parameters]
        copy.statistics = [t.to(dtype) for t in self.statistics]
        return copy

    def call(
        self, function: Callable[..., Tensor], training: tuple[bool, bool], leaves: list[Tensor], running: list[Tensor]
    ) -> Tensor:
        first = EdgeLayer(*leaves[1:4], *running[:2], training[0], negative_slope=0.2)
        second = EdgeLayer(*leaves[4:], *running[2:], training[1], momentum=0.3, eps=1e-3, negative_slope=0.1)
        return function(leaves[0], self.neighbors, first, second)

    def run(self, function: Callable[..., Tensor], training: tuple[bool, bool] = (True, True)) -> dict[str, Tensor]:
        """Output, running statistics and all gradients."""
        leaves = [t.clone().requires_grad_() for t in (self.features, *self.parameters)]
        running = [t.clone() for t in self.statistics]
        output = self.call(function, training, leaves, running)
        output.backward(self.upstream)
        names = [
            "features",
            *(f"{layer}.{part}" for layer in ("first", "second") for part in ("weight", "gamma", "beta")),
        ]
        grads = {f"gradient of {name}": leaf.grad for name, leaf in zip(names, leaves, strict=True)}
        grads["gradient of features"] = self.summed_over_copies(grads["gradient of features"])
        return {"output": output.detach(), **{f"running {n}": t for n, t in enumerate(running)}, **grads}

    def summed_over_copies(self, grad: Tensor) -> Tensor:
        """The gradient of each distinct point: between copies, rounding decides which edge is the largest."""
        if bool(self.features.isnan().any()):
            return grad
        sums = torch.zeros_like(grad)
        for b, points in enumerate(self.features):
            sums[b].index_add_(0, points.unique(dim=0, return_inverse=True)[1], grad[b])
        return sums


def assert_close(case: Case, training: tuple[bool, bool] = (True, True), tolerance: float = 1e-11) -> None:
    functions = (pointkernels.edge_conv_two_layer, reference.edge_conv_two_layer)
    actual, expected = (case.run(function, training) for function in functions)
    for name in expected:
        # Where the true gradient is nought, rounding noise has no relative size; without variance it is eps ** -0.5
        # times larger, for each layer.
        noise = 3e-14 * float(case.upstream.norm()) * 1e4
        error = float((actual[name] - expected[name]).norm())
        assert error <= tolerance * float(expected[name].norm()) + noise, f"{name}: {error}"


# --- agrees with the reference ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", TRAINING)
@pytest.mark.parametrize("name", named([n for n in FINITE if n != "many_blocks" and not n.endswith("far_from_origin")]))
def test_equals_reference(name: str, training: tuple[bool, bool], device: str) -> None:
    case = Case(cloud(name, torch.float64, device), 19, 13, min(20, cloud(name).shape[1]))
    if name in ("one_point", "identical") and any(training):  # edges that are all equal: rounding noise is normalised
        assert all(
            bool(value.isfinite().all()) for value in case.run(pointkernels.edge_conv_two_layer, training).values()
        )
    else:
        assert_close(case, training)


@pytest.mark.parametrize(("hidden", "outputs"), [(1, 3), (64, 64), (16, 128), (70, 130)])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_channel_counts_and_list_lengths(hidden: int, outputs: int, k: int, device: str) -> None:
    features = torch.randn(2, 40, 3, dtype=torch.float64, device=device)
    assert_close(Case(features, hidden, outputs, k))


def test_lists_of_every_point_and_more_rows_than_a_chunk(device: str) -> None:
    features = torch.randn(1, 300, 2, dtype=torch.float64, device=device)
    assert_close(Case(features, 5, 4, 300))


@pytest.mark.parametrize("training", TRAINING)
def test_graphs_with_holes_duplicates_and_hubs(training: tuple[bool, bool], device: str) -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(3, 50, 4, generator=generator, dtype=torch.float64).to(device)
    neighbors = torch.randint(-1, 50, (3, 50, 12), generator=generator)
    neighbors[:, :, 3] = neighbors[:, :, 2]
    neighbors[:, ::2, 5] = 7
    neighbors[0, 4:9] = -1
    neighbors[2] = -1
    assert_close(Case(features, 21, 9, 0, neighbors.to(device)), training)


def test_points_without_neighbours_get_zeros_and_no_gradient(device: str) -> None:
    features = torch.randn(1, 6, 3, device=device, requires_grad=True)
    neighbors = torch.tensor([[[1, 2], [0, 2], [0, 1], [-1, -1], [-1, -1], [-1, -1]]], device=device)
    layer = TwoLayerEdgeConv(3, 8, 5, k=2).to(device)
    output = layer(features, neighbors)
    output.square().sum().backward()
    assert bool((output[0, 3:] == 0).all())
    assert bool((features.grad[0, 3:] == 0).all())
    padded = features.detach().clone()
    padded[0, 3:] = torch.nan  # what stands in padding reaches nothing
    assert torch.equal(layer(padded, neighbors)[0, :3], output[0, :3])


def test_nan_spreads_as_in_the_reference(device: str) -> None:
    case = Case(torch.randn(1, 30, 3, dtype=torch.float64, device=device), 10, 7, 5)
    case.features = case.features.clone()
    case.features[0, 4] = torch.nan
    functions = (pointkernels.edge_conv_two_layer, reference.edge_conv_two_layer)
    actual, expected = (case.run(function, (False, False))["output"] for function in functions)
    assert torch.equal(actual.isnan(), expected.isnan())
    torch.testing.assert_close(actual, expected, equal_nan=True)


def test_strided_inputs(device: str) -> None:
    case = Case(torch.randn(2, 20, 6, device=device), 9, 8, 4)
    expected = case.run(pointkernels.edge_conv_two_layer)
    case.features = case.features.transpose(1, 2).contiguous().transpose(1, 2)
    case.neighbors = torch.stack([case.neighbors, case.neighbors + 1], dim=3)[..., 0]
    case.upstream = case.upstream.transpose(0, 1).contiguous().transpose(0, 1)
    case.parameters = [torch.stack([t, t + 1], dim=-1)[..., 0] for t in case.parameters]
    assert not case.neighbors.is_contiguous()
    for name, value in case.run(pointkernels.edge_conv_two_layer).items():
        torch.testing.assert_close(value, expected[name])


def test_a_batch_without_edges_leaves_the_statistics_alone(device: str) -> None:
    layer = TwoLayerEdgeConv(3, 8, 5).to(device)
    before = {name: buffer.clone() for name, buffer in layer.named_buffers() if name.endswith(("mean", "var"))}
    output = layer(torch.randn(1, 5, 3, device=device), torch.full((1, 5, 4), -1, device=device))
    assert bool((output == 0).all())
    empty = layer(torch.randn(0, 5, 3, device=device, requires_grad=True))
    assert empty.shape == (0, 5, 5)
    (output.sum() + empty.sum()).backward()
    assert all(torch.equal(layer.state_dict()[name], value) for name, value in before.items())
    assert all(bool((parameter.grad == 0).all()) for parameter in layer.parameters())


# --- float32 accuracy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset", "training"), [(0.0, (True, True)), (1000.0, (True, True)), (0.0, (False, False))])
def test_float32_is_no_worse_than_the_reference(offset: float, training: tuple[bool, bool], device: str) -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.rand(2, 256, 3, generator=generator).to(device) + offset
    case = Case(features, 64, 32, 20)
    truth = case.to(torch.float64).run(reference.edge_conv_two_layer, training)
    functions = (pointkernels.edge_conv_two_layer, reference.edge_conv_two_layer)
    ours, theirs = (case.run(function, training) for function in functions)
    for name, value in truth.items():
        errors = [float((found[name].double() - value).norm() / value.norm()) for found in (ours, theirs)]
        # Within a few roundings of the truth, either may be ahead by chance.
        assert errors[0] <= max(2 * errors[1], 2e-6), f"{name}: {errors}"


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [*TRAINING, (False, True)])
def test_gradients(training: tuple[bool, bool]) -> None:
    case = Case(torch.randn(1, 8, 3, dtype=torch.float64), 5, 4, 4)
    for bn_weight in case.parameters[1::3]:
        bn_weight[3::5] = 0.3  # at nought the maximum is not differentiable
    leaves = [t.clone().requires_grad_() for t in (case.features, *case.parameters)]

    def layer(*leaves: Tensor) -> Tensor:
        running = [t.clone() for t in case.statistics]
        return case.call(pointkernels.edge_conv_two_layer, training, list(leaves), running)

    assert torch.autograd.gradcheck(layer, leaves)
    assert torch.autograd.gradgradcheck(layer, leaves, fast_mode=True)
