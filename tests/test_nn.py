"""The EdgeConv module against the modules it replaces."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import pointkernels
from pointkernels.compat.dgcnn import get_graph_feature


def usual(conv: nn.Conv2d, bn: nn.BatchNorm2d, features: Tensor, neighbors: Tensor) -> Tensor:
    edges = get_graph_feature(features.transpose(1, 2), idx=neighbors)
    return nn.functional.leaky_relu(bn(conv(edges)), 0.2).max(dim=-1).values.transpose(1, 2)


@pytest.fixture
def pair() -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    torch.manual_seed(0)
    bn = nn.BatchNorm2d(16, eps=1e-3, momentum=0.3).double()
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.bias)
    return nn.Conv2d(10, 16, 1, bias=False).double(), bn


@pytest.mark.parametrize("momentum", [0.3, None])
def test_trains_like_the_usual_modules(pair: tuple[nn.Conv2d, nn.BatchNorm2d], momentum: float | None) -> None:
    conv, bn = pair
    bn.momentum = momentum
    layer = pointkernels.nn.EdgeConv.from_conv_bn(conv, bn, k=7)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (layer, nn.ModuleList([conv, bn]))]
    for step in range(3):
        features = torch.randn(2, 30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        neighbors = pointkernels.knn(features, 7)
        for optimizer, output in zip(optimizers, (layer(features), usual(conv, bn, features, neighbors)), strict=True):
            optimizer.zero_grad()
            output.square().mean().backward()
            optimizer.step()
    layer.eval()
    bn.eval()
    torch.testing.assert_close(layer(features), usual(conv, bn, features, neighbors))
    torch.testing.assert_close(layer.running_var, bn.running_var)
    assert layer.num_batches_tracked == bn.num_batches_tracked == 3


def test_weights_go_both_ways(pair: tuple[nn.Conv2d, nn.BatchNorm2d]) -> None:
    conv, bn = pair
    bn.running_mean.normal_()
    bn.eval()
    conv_back, bn_back = pointkernels.nn.EdgeConv.from_conv_bn(conv, bn).to_conv_bn()
    for module, back in ((conv, conv_back), (bn, bn_back)):
        state, state_back = module.state_dict(), back.state_dict()
        assert state.keys() == state_back.keys()
        assert all(torch.equal(state[name], state_back[name]) for name in state)
        assert all(state[name].data_ptr() != state_back[name].data_ptr() for name in state)
    assert bn_back.eps == bn.eps
    assert bn_back.momentum == bn.momentum
    assert not bn_back.training


def test_starts_from_the_same_distribution() -> None:
    torch.manual_seed(0)
    layer = pointkernels.nn.EdgeConv(8, 4000)
    conv = nn.Conv2d(16, 4000, 1, bias=False)
    assert layer.weight.std().item() == pytest.approx(conv.weight.std().item(), rel=0.02)
    assert layer.weight.abs().max() <= conv.weight.abs().max() * 1.01
    assert torch.equal(layer.bn_weight, torch.ones(4000))


def test_dynamic_graph_is_the_graph_of_the_features() -> None:
    layer, features = pointkernels.nn.EdgeConv(4, 6, k=5).eval(), torch.randn(2, 20, 4)
    assert torch.equal(layer(features), layer(features, pointkernels.knn(features, 5)))


def test_state_dict_copy_and_repr() -> None:
    layer = pointkernels.nn.EdgeConv(3, 8, k=4, device="cpu", dtype=torch.float64)
    layer(torch.randn(2, 10, 3, dtype=torch.float64))
    twin = pointkernels.nn.EdgeConv(3, 8, k=4, dtype=torch.float64)
    twin.load_state_dict(copy.deepcopy(layer.state_dict()))
    features = torch.randn(1, 9, 3, dtype=torch.float64)
    assert torch.equal(layer.eval()(features), twin.eval()(features))
    assert repr(layer).startswith("EdgeConv(\n  3, 8, k=4, negative_slope=0.2\n  (norm): BatchNorm1d(8, ")
    assert list(layer.state_dict()) == ["weight", "bn_weight", "bn_bias", *dict(layer.named_buffers())]
    assert list(dict(layer.named_buffers())) == ["running_mean", "running_var", "num_batches_tracked"]


def test_modules_that_do_not_fit_are_refused() -> None:
    bn = nn.BatchNorm2d(8)
    for conv in (nn.Conv2d(6, 8, 1), nn.Conv2d(6, 8, 3, bias=False), nn.Conv2d(5, 8, 1, bias=False)):
        with pytest.raises(ValueError, match="conv must be a 1x1 convolution of 2 C channels"):
            pointkernels.nn.EdgeConv.from_conv_bn(conv, bn)
    for other in (nn.BatchNorm2d(9), nn.BatchNorm2d(8, affine=False), nn.BatchNorm2d(8, track_running_stats=False)):
        with pytest.raises(ValueError, match="bn must be affine, track statistics and have 8 channels"):
            pointkernels.nn.EdgeConv.from_conv_bn(nn.Conv2d(6, 8, 1, bias=False), other)
