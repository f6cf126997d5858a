"""EdgeConv on packed clouds against an MLP on every edge, and against torch_geometric's modules."""

from __future__ import annotations

import copy

import pytest
import torch
from packed_graphs import BATCH, check_trains_like, features, torch_geometric_layers
from torch import nn

import pointkernels
from pointkernels.compat.torch_geometric import enable


def mlp(kind: str) -> nn.Module:
    torch.manual_seed(1)
    norm = nn.BatchNorm1d(8, eps=1e-3, momentum=0.3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    parts: dict[str, list[nn.Module]] = {
        "norm, relu": [nn.Linear(6, 8), norm, nn.ReLU()],
        "no bias": [nn.Linear(6, 8, bias=False), norm, nn.LeakyReLU(0.2)],
        "relu": [nn.Linear(6, 8), nn.ReLU()],
        "linear": [nn.Linear(6, 8, bias=False)],
        "norm": [nn.Linear(6, 8), norm, nn.Identity()],
        "average": [nn.Linear(6, 8), nn.BatchNorm1d(8, momentum=None), nn.ReLU()],
    }
    return nn.Sequential(*parts[kind]).double()


KINDS = ["norm, relu", "no bias", "relu", "linear", "norm", "average"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("graph", [False, True])
def test_trains_like_the_mlp_on_every_edge(kind: str, graph: bool) -> None:
    fused = pointkernels.nn.GraphEdgeConv if graph else pointkernels.nn.DynamicEdgeConv
    check_trains_like(mlp(kind), fused, over_knn=not graph)


def test_one_cloud_and_defaults() -> None:
    layer = pointkernels.nn.DynamicEdgeConv(3, 8, 4)
    x = features().float()
    torch.testing.assert_close(layer(x), layer(x, torch.zeros(24, dtype=torch.int64)))
    dense = pointkernels.nn.EdgeConv(3, 8, k=4, negative_slope=0.0)
    own, difference = layer.weight.detach().chunk(2, dim=1)
    dense.weight.data = torch.cat([difference, own], dim=1)
    torch.testing.assert_close(layer(x), dense(x[None])[0])
    assert repr(layer).startswith("DynamicEdgeConv(\n  3, 8, negative_slope=0.0, k=4\n  (norm): BatchNorm1d(8, ")
    assert repr(pointkernels.nn.GraphEdgeConv(3, 8, batch_norm=False)) == (
        "GraphEdgeConv(3, 8, batch_norm=False, negative_slope=0.0)"
    )
    empty = torch.zeros(2, 0, dtype=torch.int64)
    assert bool((pointkernels.nn.GraphEdgeConv(3, 8).eval()(x, empty) == 0).all())


def test_copies_and_state() -> None:
    layer = pointkernels.nn.DynamicEdgeConv.from_mlp(mlp("norm, relu"), 4)
    layer(features(), BATCH)
    twin = pointkernels.nn.DynamicEdgeConv(3, 8, 4, eps=1e-3, dtype=torch.float64)
    twin.load_state_dict(copy.deepcopy(layer.state_dict()))
    assert torch.equal(twin.eval()(features(), BATCH), layer.eval()(features(), BATCH))


@pytest.mark.parametrize("kind", ["norm, relu", "relu"])
def test_compiles_and_autocasts(kind: str) -> None:
    layer = pointkernels.nn.DynamicEdgeConv.from_mlp(mlp(kind).float(), 4)
    x = features().float()
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, BATCH), copy.deepcopy(layer)(x, BATCH))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x.bfloat16(), BATCH).dtype == torch.bfloat16


def test_in_the_place_of_torch_geometrics_modules() -> None:
    pyg = torch_geometric_layers()
    enable()
    for options in ({"plain_last": False}, {}, {"plain_last": False, "norm": None, "act": "leaky_relu"}):
        module = pyg.MLP([6, 8], **options).double()
        usual = pyg.DynamicEdgeConv(module, 4)
        layer = pointkernels.nn.DynamicEdgeConv.from_mlp(copy.deepcopy(module), 4)
        torch.testing.assert_close(layer(features(), BATCH), usual(features(), BATCH))
    edge_index = pyg.knn_graph(features(), 3, BATCH)
    graph = pyg.Sequential("x, edge_index, batch", [
        (pointkernels.nn.GraphEdgeConv.from_mlp(module), "x, edge_index -> x"),
        (pointkernels.nn.DynamicEdgeConv(8, 16, 4, dtype=torch.float64), "x, batch -> x"),
        (pyg.global_max_pool, "x, batch -> x"),
    ])  # fmt: skip
    assert graph(features(), edge_index, BATCH).shape == (6, 16)
    usual = pyg.EdgeConv(module)  # initialises the module anew
    layer = pointkernels.nn.GraphEdgeConv.from_mlp(module)
    torch.testing.assert_close(layer(features(), edge_index), usual(features(), edge_index))
    for options in ({"plain_last": False, "dropout": 0.5}, {"plain_last": False, "act_first": True}):
        with pytest.raises(ValueError, match="mlp must be Linear of 2 C inputs"):
            pointkernels.nn.GraphEdgeConv.from_mlp(pyg.MLP([6, 8], **options))


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8)),
        nn.Sequential(nn.Linear(5, 8), nn.ReLU()),
        nn.Sequential(nn.Linear(6, 8), nn.GELU()),
        nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(-1.0)),
        nn.Sequential(nn.ReLU()),
        nn.Sequential(),
    ],
)
def test_mlps_that_do_not_fit_are_refused(module: nn.Module) -> None:
    with pytest.raises(ValueError, match="mlp must be Linear of 2 C inputs, then BatchNorm1d and ReLU"):
        pointkernels.nn.GraphEdgeConv.from_mlp(module)


def test_errors() -> None:
    layer, graph = pointkernels.nn.DynamicEdgeConv(3, 8, 4), pointkernels.nn.GraphEdgeConv(3, 8)
    x = features().float()
    with pytest.raises(ValueError, match="batch must be sorted, got other values"):
        layer(x, BATCH.flip(0))
    with pytest.raises(TypeError, match=r"batch must be int64, got torch\.float32"):
        layer(x, BATCH.float())
    with pytest.raises(ValueError, match=r"edge_index must have shape \(2, E\), got \(3, 4\)"):
        graph(x, torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"edge_index must lie in \[0, 24\), got 24"):
        graph(x, torch.full((2, 4), 24))
    with pytest.raises(TypeError, match="edge_index must be an int64 tensor, got list"):
        graph(x, [[0], [1]])
    with pytest.raises(ValueError, match="the BatchNorm of mlp must be affine and track statistics"):
        pointkernels.nn.GraphEdgeConv.from_mlp(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, affine=False)))
