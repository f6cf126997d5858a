"""EdgeConv with two layers on packed clouds against an MLP on every edge, and against torch_geometric's modules."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from packed_graphs import BATCH, check_trains_like, features, torch_geometric_layers
from torch import nn

from pointkernels.compat.torch_geometric import enable
from pointkernels.nn import TwoLayerDynamicEdgeConv, TwoLayerGraphEdgeConv


def norm(channels: int, **options: Any) -> nn.BatchNorm1d:
    made = nn.BatchNorm1d(channels, **options)
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    return made


def mlp(kind: str) -> nn.Module:
    torch.manual_seed(1)
    parts: dict[str, list[nn.Module]] = {
        "norms": [nn.Linear(6, 8), norm(8, eps=1e-3), nn.ReLU(), nn.Linear(8, 5), norm(5, momentum=0.3), nn.ReLU()],
        "no bias": [
            nn.Linear(6, 8, bias=False), norm(8), nn.LeakyReLU(0.2), nn.Linear(8, 5, bias=False), norm(5, momentum=None)
        ],
        "plain last": [nn.Linear(6, 8), norm(8), nn.ReLU(), nn.Linear(8, 5)],
        "plain first": [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), norm(5), nn.ReLU()],
        "no norms": [nn.Linear(6, 8), nn.ReLU(), nn.Identity(), nn.Linear(8, 5, bias=False)],
    }  # fmt: skip
    return nn.Sequential(*parts[kind]).double()


@pytest.mark.parametrize("kind", ["norms", "no bias", "plain last", "plain first", "no norms"])
@pytest.mark.parametrize("graph", [False, True])
def test_trains_like_the_mlp_on_every_edge(kind: str, graph: bool) -> None:
    fused = TwoLayerGraphEdgeConv if graph else TwoLayerDynamicEdgeConv
    check_trains_like(mlp(kind), fused, over_knn=not graph)


def test_copies_state_and_compilation() -> None:
    layer = TwoLayerDynamicEdgeConv.from_mlp(mlp("plain last").float(), 4)
    twin = TwoLayerDynamicEdgeConv(3, 8, 5, 4, batch_norm=(True, False), negative_slope=(0.0, 1.0))
    twin.load_state_dict(copy.deepcopy(layer.state_dict()))
    x = features().float()
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, BATCH), layer(x, BATCH))
    assert "negative_slope=(0.0, 1.0), k=4" in repr(twin)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x.bfloat16(), BATCH).dtype == torch.bfloat16


def test_in_the_place_of_torch_geometrics_modules() -> None:
    pyg = torch_geometric_layers()
    enable()
    for options in ({}, {"plain_last": False}, {"plain_last": False, "norm": None, "act": "leaky_relu"}):
        module = pyg.MLP([6, 8, 5], **options).double()
        usual = pyg.DynamicEdgeConv(module, 4)
        layer = TwoLayerDynamicEdgeConv.from_mlp(copy.deepcopy(module), 4)
        torch.testing.assert_close(layer(features(), BATCH), usual(features(), BATCH))
    edge_index = pyg.knn_graph(features(), 3, BATCH)
    usual = pyg.EdgeConv(module)  # initialises the module anew
    graph = pyg.Sequential("x, edge_index", [(TwoLayerGraphEdgeConv.from_mlp(module), "x, edge_index -> x")])
    torch.testing.assert_close(graph(features(), edge_index), usual(features(), edge_index))
    with pytest.raises(ValueError, match="mlp must be Linear of 2 C inputs"):
        TwoLayerGraphEdgeConv.from_mlp(pyg.MLP([6, 8, 5], dropout=0.5))


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(6, 8), nn.ReLU()),
        nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8)),
        nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 8)),
        nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(-1.0), nn.Linear(8, 8)),
        nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)),
        nn.Sequential(),
    ],
)
def test_mlps_that_do_not_fit_are_refused(module: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"mlp must be Linear of 2 C inputs, .* and the same again, got"):
        TwoLayerGraphEdgeConv.from_mlp(module)
