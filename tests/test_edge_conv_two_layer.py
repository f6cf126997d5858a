"""EdgeConv with two layers: reference, float32 accuracy, gradients, compilation, odd inputs, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import emulated
import pytest
import torch
from clouds import FINITE, cloud, named
from torch import Tensor, nn

import pointkernels
from pointkernels import EdgeLayer, reference
from pointkernels.compat.dgcnn import get_graph_feature
from pointkernels.nn import TwoLayerEdgeConv
from pointkernels.ops import edge_conv_two_layer_chunks as chunks

# On CUDA the operators are made of others, which are emulated by themselves: see test_in_chunks_as_on_cuda.
pytestmark = pytest.mark.too_large_to_emulate

TRAINING = [(True, True), (False, False), (True, False)]  # of the first and the second layer
OPERATOR = torch.ops.pointkernels.edge_conv_two_layer
BACKWARD = torch.ops.pointkernels._edge_conv_two_layer_backward


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


# --- float32 accuracy, threads, halves --------------------------------------------------------------------------------


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_features_are_computed_in_float32(dtype: torch.dtype) -> None:
    layer = TwoLayerEdgeConv(3, 16, 8, k=8).eval()
    features = torch.randn(2, 60, 3).to(dtype)
    assert layer(features).dtype == dtype
    assert torch.equal(layer(features), layer(features.float()).to(dtype))
    assert layer.to(dtype)(features).dtype == dtype


def test_autocast_changes_nothing() -> None:
    layer, features = TwoLayerEdgeConv(3, 16, 8, k=8), torch.randn(2, 60, 3)
    expected = layer(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = layer(features)
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("training", [*TRAINING, (False, True)])
@pytest.mark.parametrize("size", [30, 500, 1 << 18])  # parts of a cloud, a cloud, several clouds at a time
def test_in_chunks_as_on_cuda(size: int, training: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", size)
    inputs = operator_arguments(training, torch.float64)
    for actual, expected in zip(chunks.forward(*inputs)[:-1], OPERATOR(*inputs), strict=False):
        torch.testing.assert_close(actual, expected)
    arguments = backward_arguments(inputs, training)
    for actual, expected in zip(chunks.backward(*arguments), BACKWARD(*arguments), strict=True):
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
        actual = chunks.backward(*arguments)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b)


# --- gradients, dispatch, compilation ---------------------------------------------------------------------------------


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


def test_second_derivative_is_refused() -> None:
    features = torch.randn(1, 8, 3, requires_grad=True)
    output = TwoLayerEdgeConv(3, 4, 5, k=3)(features)
    (grad,) = torch.autograd.grad(output.square().sum(), features, create_graph=True)
    with pytest.raises(RuntimeError, match="edge_conv_two_layer can be differentiated only once"):
        grad.sum().backward()


def test_opcheck() -> None:
    training = (True, False)
    inputs = operator_arguments(training)
    torch.library.opcheck(BACKWARD.default, backward_arguments(inputs, training), test_utils="test_faketensor")
    for n in (0, 3, 4, 5, 9, 11, 12, 13):
        if inputs[n] is not None:
            inputs[n] = inputs[n].requires_grad_()
    torch.library.opcheck(OPERATOR.default, inputs)


def test_compiles_whole() -> None:
    features = torch.randn(2, 30, 3)
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        layer = TwoLayerEdgeConv(3, 8, 5, k=5)
        run = torch.compile(layer, fullgraph=True, backend="aot_eager") if compiled else layer
        leaf = features.clone().requires_grad_()
        output = run(leaf)
        output.square().sum().backward()
        results.append([output, leaf.grad, layer.second.weight.grad, *layer.buffers()])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected)


def test_nothing_of_the_size_of_the_edges_is_saved() -> None:
    batch, points, k, channels = 2, 128, 32, 64
    features = torch.randn(batch, points, channels, requires_grad=True)
    saved: list[int] = []

    def record(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        TwoLayerEdgeConv(channels, channels, channels, k=k)(features)
    assert len(saved) > 3
    assert max(saved) <= 2 * batch * points * channels


# --- the module -------------------------------------------------------------------------------------------------------


def plain(modules: tuple[nn.Module, ...], features: Tensor, k: int) -> Tensor:
    edges = get_graph_feature(features.transpose(1, 2), k)
    for module in modules:
        edges = module(edges)
        edges = nn.functional.leaky_relu(edges, 0.2) if isinstance(module, nn.BatchNorm2d) else edges
    return edges.amax(dim=3).transpose(1, 2)


@pytest.mark.parametrize("momentum", [0.3, None])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_module_trains_like_the_usual_modules(momentum: float | None, shift: float) -> None:
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(n, eps=1e-3, momentum=momentum).double() for n in (7, 6)]
    for norm in norms:
        nn.init.normal_(norm.weight)  # negative ones, too
    convs = nn.Conv2d(10, 7, 1, bias=False).double(), nn.Conv2d(7, 6, 1, bias=False).double()
    modules = (convs[0], norms[0], convs[1], norms[1])
    layer = TwoLayerEdgeConv.from_conv_bn(*modules, k=4)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.05) for m in (layer, nn.ModuleList(modules))]
    for step in range(2):
        features = torch.randn(2, 30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(step)) + shift
        for optimizer, output in zip(optimizers, (layer(features), plain(modules, features, 4)), strict=True):
            optimizer.zero_grad()
            output.square().mean().backward()
            optimizer.step()
    for module in (layer, *modules):
        module.eval()
    torch.testing.assert_close(layer(features), plain(modules, features, 4), rtol=1e-6, atol=1e-6)
    assert layer.first_norm.num_batches_tracked == norms[0].num_batches_tracked == 2
    back = layer.to_conv_bn()
    assert not back[1].training
    assert back[3].eps == 1e-3
    torch.testing.assert_close(plain(back, features, 4), plain(modules, features, 4), rtol=1e-6, atol=1e-6)


def test_module_refuses_what_is_not_a_pair_of_plain_convolutions() -> None:
    norms = nn.BatchNorm2d(8), nn.BatchNorm2d(4)
    good = nn.Conv2d(6, 8, 1, bias=False), nn.Conv2d(8, 4, 1, bias=False)
    with pytest.raises(ValueError, match="conv2 must be a 1x1 convolution without bias and groups, got Conv2d"):
        TwoLayerEdgeConv.from_conv_bn(good[0], norms[0], nn.Conv2d(8, 4, 1), norms[1])
    with pytest.raises(ValueError, match="bn must be affine, track statistics and have 8 channels, got BatchNorm2d"):
        TwoLayerEdgeConv.from_conv_bn(good[0], norms[1], good[1], norms[1])
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(TwoLayerEdgeConv(3, 8, 4))
    with pytest.raises(TypeError, match="the layer must have a BatchNorm of its own process, got SyncBatchNorm"):
        synchronised(torch.zeros(1, 8, 3))
    with pytest.raises(ValueError, match="conv must have 2 C input channels and conv2 those that conv gives"):
        TwoLayerEdgeConv.from_conv_bn(good[0], norms[0], nn.Conv2d(6, 4, 1, bias=False), norms[1])


# --- errors, word for word --------------------------------------------------------------------------------------------


def layer_of(rows: int, columns: int, **changes: Any) -> EdgeLayer:
    parts = {"weight": torch.zeros(rows, columns), "bn_weight": torch.ones(rows), "bn_bias": torch.zeros(rows)}
    return EdgeLayer(**{**parts, **changes})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"features": torch.zeros(5, 3)}, ValueError, "features must have shape (B, N, C), got (5, 3)"),
        ({"first": torch.zeros(4, 6)}, TypeError, "first must be a pointkernels.EdgeLayer, got Tensor"),
        (
            {"first": layer_of(4, 5)},
            ValueError,
            "first.weight must have shape (H, 6) for 3 channels, got (4, 5)",
        ),
        (
            {"second": layer_of(2, 3)},
            ValueError,
            "second.weight must have shape (C', 4) after 4 channels, got (2, 3)",
        ),
        (
            {"second": layer_of(2, 4, bn_bias=torch.zeros(3))},
            ValueError,
            "second.bn_bias must have shape (2,), got (3,)",
        ),
        (
            {"second": layer_of(2, 4, weight=torch.zeros(2, 4, device="meta"))},
            ValueError,
            "second.weight must be on the device of features, cpu, got meta",
        ),
        (
            {"first": layer_of(4, 6, running_mean=torch.zeros(4))},
            ValueError,
            "first.running_mean and first.running_var must both be tensors or both None, got one of each",
        ),
        (
            {"first": layer_of(4, 6, training=False)},
            ValueError,
            "first.running_mean and first.running_var must be given unless training, got None",
        ),
        (
            {"second": layer_of(2, 4, negative_slope=-0.1)},
            ValueError,
            "second.negative_slope must be at least 0, got -0.1",
        ),
        ({"neighbors": torch.full((1, 5, 2), 5)}, ValueError, "neighbors must be -1 or lie in [0, 5), got 5"),
        ({"neighbors": torch.zeros(1, 5, 2)}, TypeError, "neighbors must be int64, got torch.float32"),
        (
            {"features": torch.zeros(1, 1, 3), "neighbors": torch.zeros(1, 1, 1, dtype=torch.int64)},
            ValueError,
            "training must see more than one edge to have a variance, got one",
        ),
    ],
)
def test_errors(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {
        "features": torch.zeros(1, 5, 3),
        "neighbors": torch.zeros(1, 5, 2, dtype=torch.int64),
        "first": layer_of(4, 6),
        "second": layer_of(2, 4),
    }
    with pytest.raises(error) as caught:
        pointkernels.edge_conv_two_layer(**{**arguments, **changes})
    assert str(caught.value) == message


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
