"""EdgeConv with two layers as a module: halves, compilation, what it saves, its likeness to usual modules, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from saved_tensors import saved_sizes
from torch import Tensor, nn

import pointkernels
from pointkernels import EdgeLayer
from pointkernels.compat.dgcnn import get_graph_feature
from pointkernels.nn import TwoLayerEdgeConv

pytestmark = pytest.mark.too_large_to_emulate


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_features_are_computed_in_float32(dtype: torch.dtype) -> None:
    layer = TwoLayerEdgeConv(3, 16, 8, k=8).eval()
    features = torch.randn(2, 60, 3).to(dtype)
    assert layer(features).dtype == dtype
    assert torch.equal(layer(features), layer(features.float()).to(dtype))
    assert layer.to(dtype)(features).dtype == dtype


@pytest.mark.parametrize("autocast", [False, True])
def test_training_in_halves_and_under_autocast(autocast: bool) -> None:
    layer = TwoLayerEdgeConv(3, 16, 8, k=8)
    features = torch.randn(2, 60, 3).to(torch.bfloat16)
    upstream = torch.randn(2, 60, 8).to(torch.bfloat16)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        leaf = features.to(dtype).requires_grad_()
        layer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast and dtype == torch.bfloat16):
            output = layer(leaf)
        assert output.dtype == dtype
        output.backward(upstream.to(dtype))
        results.append([output, leaf.grad, *(parameter.grad for parameter in layer.parameters())])
    for exact, found in zip(*results, strict=True):
        assert torch.equal(exact.to(found.dtype), found)


def test_autocast_leaves_float32_alone() -> None:
    layer, features = TwoLayerEdgeConv(3, 16, 8, k=8), torch.randn(2, 60, 3)
    expected = layer(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(features), expected)


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
    saved = saved_sizes(lambda: TwoLayerEdgeConv(channels, channels, channels, k=k)(features))
    assert len(saved) > 3
    assert max(saved) <= 2 * batch * points * channels


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
    for layer in (TwoLayerEdgeConv(3, 8, 4), pointkernels.nn.TwoLayerGraphEdgeConv(3, 8, 4)):
        nn.utils.weight_norm(layer.first)
        features = torch.zeros(1, 8, 3) if isinstance(layer, TwoLayerEdgeConv) else torch.zeros(8, 3)
        with pytest.raises(TypeError, match="must be a Linear without forward pre-hooks"):
            layer(features, torch.zeros(2, 1, dtype=torch.int64))
    hooked = TwoLayerEdgeConv(3, 8, 4)
    nn.utils.parametrizations.weight_norm(hooked.second)
    assert hooked(torch.randn(1, 8, 3), torch.zeros(1, 8, 2, dtype=torch.int64)).shape == (1, 8, 4)
    hooked.first = nn.Sequential(hooked.first)  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"must be a Linear without forward pre-hooks .*, got Sequential"):
        hooked(torch.zeros(1, 8, 3), torch.zeros(1, 8, 2, dtype=torch.int64))
    exchanged = TwoLayerEdgeConv(3, 8, 4)
    exchanged.second_norm = nn.GroupNorm(2, 4)  # type: ignore[assignment]
    with pytest.raises(TypeError, match="must be a BatchNorm or SyncBatchNorm with weight and bias, got GroupNorm"):
        exchanged(torch.zeros(1, 8, 3), torch.zeros(1, 8, 2, dtype=torch.int64))
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
