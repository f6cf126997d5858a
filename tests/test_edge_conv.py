"""EdgeConv: reference, float32 accuracy, gradients, compilation, odd inputs, errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from clouds import FINITE, cloud, named
from saved_tensors import saved_sizes
from torch import Tensor

import pointkernels
from pointkernels import reference

OPTIONS = {"momentum": 0.1, "eps": 1e-5, "negative_slope": 0.2}


class Case:
    """Arguments of one layer, with a weight of BatchNorm that is positive, negative and zero in turn."""

    def __init__(
        self, features: Tensor, out_channels: int, k: int, neighbors: Tensor | None = None, seed: int = 0
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        channels = features.shape[2]

        def random(*shape: int) -> Tensor:
            drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
            return drawn.to(features.dtype).to(features.device)

        self.features = features
        self.neighbors = pointkernels.knn(features, k) if neighbors is None else neighbors
        self.weight = random(out_channels, 2 * channels) / channels**0.5
        self.bn_weight = random(out_channels)
        self.bn_weight[::5] = 0
        self.bn_bias = random(out_channels)
        self.running_mean = random(out_channels)
        self.running_var = random(out_channels).square() + 0.5
        self.upstream = random(*features.shape[:2], out_channels)

    def to(self, dtype: torch.dtype) -> Case:
        copy = object.__new__(Case)
        copy.__dict__ = {n: t.to(dtype) if t.is_floating_point() else t for n, t in self.__dict__.items()}
        return copy

    def run(self, function: Callable[..., Tensor], training: bool = True) -> dict[str, Tensor]:
        """Output, running statistics and all gradients."""
        names = ("features", "weight", "bn_weight", "bn_bias")
        leaves = {name: getattr(self, name).clone().requires_grad_() for name in names}
        mean, var = self.running_mean.clone(), self.running_var.clone()
        output = function(
            leaves["features"], self.neighbors, leaves["weight"], leaves["bn_weight"], leaves["bn_bias"], mean, var,
            training=training, **OPTIONS,
        )  # fmt: skip
        output.backward(self.upstream)
        grads = {f"gradient of {name}": leaf.grad for name, leaf in leaves.items()}
        return {"output": output.detach(), "running_mean": mean, "running_var": var, **grads}


def relative_error(actual: Tensor, expected: Tensor) -> float:
    expected = expected.double()
    return float((actual.double() - expected).norm() / expected.norm().clamp(min=1e-300))


def assert_close(case: Case, training: bool, tolerance: float = 1e-12) -> None:
    actual, expected = (case.run(f, training) for f in (pointkernels.edge_conv, reference.edge_conv))
    for name in expected:
        # Where the true gradient is nought, rounding noise has no relative size; without variance it is eps ** -0.5
        # times larger.
        noise = 3e-14 * float(case.upstream.norm()) / OPTIONS["eps"] ** 0.5
        error = float((actual[name] - expected[name]).norm())
        assert error <= tolerance * float(expected[name].norm()) + noise, f"{name}: {error}"


# --- agrees with the reference ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", named([name for name in FINITE if not name.endswith("far_from_origin")]))
def test_equals_reference(name: str, training: bool, device: str) -> None:
    if name == "one_point" and training:
        pytest.skip("three edges of one point each have no variance worth comparing")
    features = cloud(name, torch.float64, device)
    assert_close(Case(features, 19, min(20, features.shape[1])), training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("channels", "out_channels"), [(1, 1), (3, 64), (64, 64), (6, 130), (33, 7)])
def test_channel_counts(channels: int, out_channels: int, training: bool, device: str) -> None:
    features = torch.randn(2, 40, channels, dtype=torch.float64, device=device)
    assert_close(Case(features, out_channels, 9), training)


@pytest.mark.too_large_to_emulate
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("k", [1, 2, 255, 256, 300])
def test_list_lengths_across_the_slot_formats(k: int, training: bool, device: str) -> None:
    features = torch.randn(1, 310, 3, dtype=torch.float64, device=device)
    assert_close(Case(features, 9, k), training)


@pytest.mark.parametrize("training", [True, False])
def test_graphs_with_holes_duplicates_and_hubs(training: bool, device: str) -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(3, 50, 4, generator=generator, dtype=torch.float64).to(device)
    neighbors = torch.randint(-1, 50, (3, 50, 12), generator=generator)
    neighbors[:, :, 3] = neighbors[:, :, 2]
    neighbors[:, ::2, 5] = 7
    neighbors[0, 4:9] = -1
    neighbors[2] = -1
    assert_close(Case(features, 21, 0, neighbors.to(device)), training)


def test_points_without_neighbours_get_zeros_and_no_gradient(device: str) -> None:
    features = torch.randn(1, 6, 3, device=device, requires_grad=True)
    neighbors = torch.tensor([[[1, 2], [0, 2], [0, 1], [-1, -1], [-1, -1], [-1, -1]]], device=device)
    layer = pointkernels.nn.EdgeConv(3, 8, k=2).to(device)
    output = layer(features, neighbors)
    output.square().sum().backward()
    assert bool((output[0, 3:] == 0).all())
    assert bool((features.grad[0, 3:] == 0).all())
    padded = features.detach().clone()
    padded[0, 3:] = torch.nan  # what stands in padding reaches nothing
    assert torch.equal(layer(padded, neighbors)[0, :3], output[0, :3])


def test_nan_spreads_as_in_the_reference(device: str) -> None:
    features = torch.randn(1, 30, 3, dtype=torch.float64, device=device)
    case = Case(features, 10, 5)
    case.features = features.clone()
    case.features[0, 4] = torch.nan
    actual, expected = (case.run(f, training=False)["output"] for f in (pointkernels.edge_conv, reference.edge_conv))
    assert torch.equal(actual.isnan(), expected.isnan())
    torch.testing.assert_close(actual, expected, equal_nan=True)


def test_a_batch_without_edges_leaves_the_statistics_alone(device: str) -> None:
    layer = pointkernels.nn.EdgeConv(3, 8).to(device)
    before = layer.running_mean.clone(), layer.running_var.clone()
    assert bool((layer(torch.randn(1, 5, 3, device=device), torch.full((1, 5, 4), -1, device=device)) == 0).all())
    assert layer(torch.randn(0, 5, 3, device=device)).shape == (0, 5, 8)
    assert torch.equal(layer.running_mean, before[0])
    assert torch.equal(layer.running_var, before[1])


def test_shapes_past_two_to_the_31st() -> None:
    layer = pointkernels.nn.EdgeConv(64, 128, k=20).to("meta")
    features = torch.empty(2**10, 2**15, 64, device="meta")
    neighbors = torch.empty(2**10, 2**15, 20, dtype=torch.int64, device="meta")
    assert layer(features, neighbors).shape == (2**10, 2**15, 128)


# --- float32 accuracy, threads, halves --------------------------------------------------------------------------------


@pytest.mark.too_large_to_emulate
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
@pytest.mark.parametrize("channels", [3, 64])
def test_float32_is_no_worse_than_the_reference(channels: int, offset: float, training: bool, device: str) -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.rand(2, 512, channels, generator=generator).to(device) + offset
    case = Case(features, 64, 20)
    truth = case.to(torch.float64).run(reference.edge_conv, training)
    ours, theirs = (case.run(f, training) for f in (pointkernels.edge_conv, reference.edge_conv))
    for name in truth:
        # Within a few roundings of the truth, either may be ahead by chance.
        floor = 3e-7
        assert relative_error(ours[name], truth[name]) <= max(relative_error(theirs[name], truth[name]), floor), name


@pytest.mark.parametrize(("batch", "points"), [(1, 333), (3, 333), (2, 1100), (7, 600), (16, 1030)])
def test_number_of_threads_changes_nothing(batch: int, points: int) -> None:
    """One window, which all threads share, and several, of which they share the last."""
    case = Case(torch.randn(batch, points, 8), 40, 10)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 5, 2):
            torch.set_num_threads(count)
            results.append(case.run(pointkernels.edge_conv))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in other)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("batch", "points", "out_channels"), [(2, 1500, 70), (1200, 3, 10)])
def test_windows_and_pieces_of_channels(batch: int, points: int, out_channels: int, training: bool) -> None:
    """Clouds too large for all channels at once, and many small clouds in a window, against node products in one go."""
    features = torch.randn(batch, points, 5, dtype=torch.float64)
    neighbors = torch.randint(-1, points, (batch, points, 4), generator=torch.Generator().manual_seed(0))
    case = Case(features, out_channels, 4, neighbors)
    assert_close(case, training)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_features_are_computed_in_float32(dtype: torch.dtype, device: str) -> None:
    layer = pointkernels.nn.EdgeConv(3, 16, k=8).to(device).eval()
    features = torch.randn(2, 60, 3, device=device).to(dtype)
    assert layer(features).dtype == dtype
    assert torch.equal(layer(features), layer(features.float()).to(dtype))
    assert layer.to(dtype)(features).dtype == dtype


@pytest.mark.parametrize("autocast", [False, True])
def test_training_in_halves_and_under_autocast(autocast: bool, device: str) -> None:
    layer = pointkernels.nn.EdgeConv(3, 16, k=8).to(device)
    features = torch.randn(2, 60, 3, device=device).to(torch.bfloat16)
    upstream = torch.randn(2, 60, 16, device=device).to(torch.bfloat16)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        leaf = features.to(dtype).requires_grad_()
        layer.zero_grad()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast and dtype == torch.bfloat16):
            output = layer(leaf)
        assert output.dtype == dtype
        output.backward(upstream.to(dtype))
        results.append([output, leaf.grad, *(parameter.grad for parameter in layer.parameters())])
    for exact, found in zip(*results, strict=True):
        assert torch.equal(exact.to(found.dtype), found)


def test_autocast_leaves_float32_alone(device: str) -> None:
    layer, features = pointkernels.nn.EdgeConv(3, 16, k=8).to(device), torch.randn(2, 60, 3, device=device)
    expected = layer(features)
    with torch.autocast(device, dtype=torch.bfloat16):
        assert torch.equal(layer(features), expected)


# --- gradients, dispatch, compilation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_gradients(training: bool, device: str) -> None:
    case = Case(torch.randn(2, 9, 3, dtype=torch.float64, device=device), 6, 4)
    case.bn_weight[::5] = 0.3  # at nought the maximum is not differentiable
    leaves = [t.clone().requires_grad_() for t in (case.features, case.weight, case.bn_weight, case.bn_bias)]

    def layer(features: Tensor, *parameters: Tensor) -> Tensor:
        return pointkernels.edge_conv(
            features, case.neighbors, *parameters, case.running_mean.clone(), case.running_var.clone(),
            training=training, **OPTIONS,
        )  # fmt: skip

    assert torch.autograd.gradcheck(layer, leaves)
    assert torch.autograd.gradgradcheck(layer, leaves, fast_mode=True)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.one_instruction_set
def test_opcheck(training: bool, device: str) -> None:
    neighbors = torch.randint(-1, 6, (12, 5), generator=torch.Generator().manual_seed(0)).to(device)
    nodes = torch.randn(12, 14, device=device, requires_grad=True)
    bn_weight, bn_bias, mean = (torch.randn(7, device=device, requires_grad=True) for _ in range(3))
    var = torch.rand(7, device=device) + 0.5
    given = (None, None) if training else (mean, var)
    arguments = (nodes, neighbors, 6, bn_weight, bn_bias, *given, 1e-5, 0.2)
    torch.library.opcheck(torch.ops.pointkernels.edge_conv.default, arguments)
    clouds, weight = (torch.randn(shape, device=device, requires_grad=True) for shape in ((2, 6, 3), (7, 6)))
    if device == "cpu":
        of_clouds = (clouds, weight, neighbors.view(2, 6, 5), *arguments[3:])
        torch.library.opcheck(torch.ops.pointkernels._edge_conv_of_clouds.default, of_clouds)
        statistics = [torch.randn(7) for _ in range(5)]
        update = (*statistics, torch.tensor(9.0, dtype=torch.float64), 0.3)
        torch.library.opcheck(torch.ops.pointkernels._update_running_statistics.default, update)
    torch.library.opcheck(torch.ops.pointkernels._used_rows.default, (neighbors, 6))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.one_instruction_set
def test_compiles_whole(training: bool, device: str) -> None:
    features = torch.randn(2, 30, 3, device=device)
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        layer = torch.nn.Sequential(
            pointkernels.nn.EdgeConv(3, 8, k=5), pointkernels.nn.EdgeConv(8, 16, k=5)
        ).to(device).train(training)  # fmt: skip
        run = torch.compile(layer, fullgraph=True, backend="aot_eager") if compiled else layer
        leaf = features.clone().requires_grad_()
        output = run(leaf)
        output.square().sum().backward()
        results.append([output, leaf.grad, layer[0].weight.grad, *layer[1].buffers()])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected)


def test_nothing_of_the_size_of_the_edges_is_saved() -> None:
    batch, points, k, channels = 2, 256, 32, 64
    features = torch.randn(batch, points, channels, requires_grad=True)
    saved = saved_sizes(lambda: pointkernels.nn.EdgeConv(channels, channels, k=k)(features))
    assert len(saved) > 3
    assert max(saved) <= 2 * batch * points * channels


# --- errors, word for word --------------------------------------------------------------------------------------------


def arguments(**changes: object) -> dict[str, object]:
    defaults: dict[str, object] = {
        "features": torch.zeros(1, 5, 3),
        "neighbors": torch.zeros(1, 5, 2, dtype=torch.int64),
        "weight": torch.zeros(4, 6),
        "bn_weight": torch.ones(4),
        "bn_bias": torch.zeros(4),
        "running_mean": torch.zeros(4),
        "running_var": torch.ones(4),
        "training": True,
    }
    return defaults | changes


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"features": torch.zeros(5, 3)}, ValueError, "features must have shape (B, N, C), got (5, 3)"),
        (
            {"features": torch.zeros(1, 5, 3).int()},
            TypeError,
            "features must be float16, bfloat16, float32 or float64, got torch.int32",
        ),
        ({"weight": torch.zeros(4, 5)}, ValueError, "weight must have shape (C', 6) for 3 channels, got (4, 5)"),
        ({"weight": torch.zeros(4)}, ValueError, "weight must have shape (C', 2 C), got (4,)"),
        ({"bn_bias": torch.zeros(3)}, ValueError, "bn_bias must have shape (4,), got (3,)"),
        (
            {"bn_weight": torch.zeros(4, device="meta")},
            ValueError,
            "bn_weight must be on the device of features, cpu, got meta",
        ),
        (
            {"running_var": None},
            ValueError,
            "running_mean and running_var must both be tensors or both None, got one of each",
        ),
        (
            {"running_mean": None, "running_var": None, "training": False},
            ValueError,
            "running_mean and running_var must be given unless training, got None",
        ),
        (
            {"neighbors": torch.zeros(5, 2, dtype=torch.int64)},
            ValueError,
            "neighbors must have shape (B, N, K), got (5, 2)",
        ),
        (
            {"neighbors": torch.zeros(1, 4, 2, dtype=torch.int64)},
            ValueError,
            "neighbors must have shape (1, 5, 2), got (1, 4, 2)",
        ),
        ({"neighbors": torch.zeros(1, 5, 2)}, TypeError, "neighbors must be int64, got torch.float32"),
        ({"neighbors": torch.full((1, 5, 2), 5)}, ValueError, "neighbors must be -1 or lie in [0, 5), got 5"),
        ({"neighbors": torch.full((1, 5, 2), -2)}, ValueError, "neighbors must be -1 or lie in [0, 5), got -2"),
        (
            {"neighbors": torch.zeros(1, 5, 0, dtype=torch.int64)},
            ValueError,
            "the number of neighbours must be at least 1, got 0",
        ),
        (
            {"features": torch.zeros(1, 1, 3), "neighbors": torch.zeros(1, 1, 1, dtype=torch.int64)},
            ValueError,
            "training must see more than one edge to have a variance, got one",
        ),
        ({"negative_slope": -0.1}, ValueError, "negative_slope must be at least 0, got -0.1"),
    ],
)
def test_errors(changes: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        pointkernels.edge_conv(**arguments(**changes))  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_direct_call_of_the_operator_stays_in_memory() -> None:
    nodes, vector = torch.randn(6, 8), torch.ones(4)
    for bad in (6, -2):
        neighbors = torch.full((6, 2), bad)
        rest = (vector, vector, None, None, 1e-5, 0.2)
        with pytest.raises(RuntimeError, match="neighbors must be -1 or lie in"):
            torch.ops.pointkernels.edge_conv(nodes, neighbors, 6, *rest)
        with pytest.raises(RuntimeError, match="neighbors must be -1 or lie in"):
            torch.ops.pointkernels._edge_conv_of_clouds(torch.randn(1, 6, 3), torch.randn(4, 6), neighbors[None], *rest)
