"""`pointkernels.compat.torch_geometric.enable`: torch_geometric's own functions and layers."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import oracles
import pytest
import torch
from oracles import CLOUDS
from torch import Tensor

from pointkernels.compat import torch_cluster
from pointkernels.compat import torch_geometric as face

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch_geometric's own, at import
    pyg = pytest.importorskip("torch_geometric", reason="torch_geometric is not installed (pip install '.[test]')")
    from torch_geometric import nn as pyg_nn
    from torch_geometric.nn.unpool import knn_interpolate

BATCH = torch.tensor([0] * 10 + [2] * 11 + [3] * 3)


@pytest.fixture(autouse=True)
def _enabled() -> None:
    assert face.enable() == ["knn", "radius", "fps", "nearest", "grid_cluster"]
    assert face.enable() == face.enable()


@pytest.mark.parametrize("name", CLOUDS)
def test_functions_equal_our_face(name: str) -> None:
    x, y, batch_y = CLOUDS[name][0], CLOUDS[name][1, :11], torch.tensor([0] * 4 + [2] * 5 + [3] * 2)
    r = 2e5 if name == "far" else 1.5
    for bx, by in ((None, None), (BATCH, batch_y)):
        assert torch.equal(pyg_nn.knn(x, y, 3, bx, by), torch_cluster.knn(x, y, 3, bx, by))
        assert torch.equal(pyg_nn.radius(x, y, r, bx, by), torch_cluster.radius(x, y, r, bx, by))
        assert torch.equal(pyg_nn.nearest(x, y, bx, by), torch_cluster.nearest(x, y, bx, by))
        fps = {"ratio": 0.3, "random_start": False}
        assert torch.equal(pyg_nn.fps(x, bx, **fps), torch_cluster.fps(x, bx, **fps))
        for loop in (False, True):
            for flow in ("source_to_target", "target_to_source"):
                got = pyg_nn.knn_graph(x, 3, bx, loop, flow)
                assert torch.equal(got, torch_cluster.knn_graph(x, 3, bx, loop, flow))
                got = pyg_nn.radius_graph(x, r, bx, loop, 4, flow)
                assert torch.equal(got, torch_cluster.radius_graph(x, r, bx, loop, 4, flow))
    cells = pyg_nn.voxel_grid(x, 0.7, BATCH)
    assert torch.equal(cells[:, None] == cells, same_cell(x, 0.7))


def same_cell(x: Tensor, size: float) -> Tensor:
    cells = torch.cat([((x - x.min(0).values) / size).long(), BATCH[:, None]], dim=1)
    return (cells[:, None] == cells).all(dim=2)


def edge_conv_oracle(module: torch.nn.Module, x: Tensor, batch: Tensor, k: int) -> Tensor:
    rows = []
    for c in batch.unique():
        points = x[batch == c]
        _, order = oracles.nearest(points.detach(), points.detach(), k)
        for i, row in enumerate(order):
            centre = points[i].expand(len(row), -1)
            rows.append(module(torch.cat([centre, points[row] - centre], dim=1)).amax(dim=0))
    return torch.stack(rows)


def mlp(inputs: int, outputs: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(inputs, outputs), torch.nn.ReLU()).double()


def test_dynamic_edge_conv() -> None:
    module = mlp(6, 8)
    layer = pyg_nn.DynamicEdgeConv(module, k=4)
    x = CLOUDS["random"][0].clone().requires_grad_()
    expected = edge_conv_oracle(module, x, BATCH, 4)
    got = layer(x, BATCH)
    torch.testing.assert_close(got, expected)
    (wanted,) = torch.autograd.grad(expected.square().sum(), x)
    torch.testing.assert_close(torch.autograd.grad(got.square().sum(), x)[0], wanted)
    assert layer((x[:5], x), (BATCH[:5] * 0, BATCH * 0)).shape == (24, 8)


class PointNet(torch.nn.Module):
    """Set abstraction, interpolation back, and attention, as in torch_geometric's own examples."""

    def __init__(self) -> None:
        super().__init__()
        self.abstraction = pyg_nn.PointNetConv(mlp(6, 8), mlp(8, 8), add_self_loops=False)
        self.attention = pyg_nn.PointTransformerConv(8, 4).double()

    def forward(self, pos: Tensor, batch: Tensor) -> Tensor:
        samples = pyg_nn.fps(pos, batch, ratio=0.5, random_start=False, batch_size=4)
        row, col = pyg_nn.radius(pos, pos[samples], 2.0, batch, batch[samples], 8, batch_size=4)
        x = self.abstraction((pos, pos[samples]), (pos, pos[samples]), torch.stack([col, row]))
        x = knn_interpolate(x, pos[samples], pos, batch[samples], batch, k=3)
        return self.attention(x, pos, pyg_nn.knn_graph(pos, 4, batch, batch_size=4))


def test_point_networks_train() -> None:
    model = PointNet()
    output = model(CLOUDS["random"][0], BATCH)
    assert output.shape == (24, 4)
    output.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.abstraction.parameters())
    assert pyg_nn.XConv(3, 8, 3, 3, hidden_channels=2).double()(*(CLOUDS["random"][0],) * 2, BATCH).shape == (24, 8)
    assert pyg_nn.GravNetConv(3, 8, 3, 4, 5).double()(CLOUDS["random"][0], BATCH).shape == (24, 8)


def test_compiles_as_a_whole() -> None:
    x = CLOUDS["random"][0]
    layer = pyg_nn.DynamicEdgeConv(mlp(6, 8), k=4)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, BATCH), layer(x, BATCH))
    torch.testing.assert_close(compiled(x), layer(x))

    def graphs(x: Tensor, batch: Tensor) -> tuple[Tensor, ...]:
        samples = pyg_nn.fps(x, batch, 0.5, False, batch_size=4)
        return x[samples], pyg_nn.knn_graph(x, 3, batch), pyg_nn.radius_graph(x, 1.0, batch), pyg_nn.nearest(x, x)

    for got, expected in zip(
        torch.compile(graphs, fullgraph=True, backend="aot_eager")(x, BATCH), graphs(x, BATCH), strict=True
    ):
        assert torch.equal(got, expected)


class Graphs(torch.nn.Module):
    """Annotated for torch.jit.script, which reads torch_geometric's source and ours."""

    def forward(self, x: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        return pyg_nn.radius_graph(x, r=1.5, batch=batch), pyg_nn.knn_graph(x, 3, batch=batch)


def test_torchscript() -> None:
    x, layer = CLOUDS["random"][0], pyg_nn.XConv(3, 8, 3, 3, hidden_channels=2).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, that it is deprecated
        graphs, scripted = torch.jit.script(Graphs()), torch.jit.script(layer)
    for got, expected in zip(graphs(x, BATCH), Graphs()(x, BATCH), strict=True):
        assert torch.equal(got, expected)
    layer.eval()
    torch.testing.assert_close(scripted.eval()(x, x, BATCH), layer(x, x, BATCH))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_pointers_are_those_of_torch_geometric(dtype: torch.dtype) -> None:
    index = torch.tensor([0, 0, 2, 3, 3, 3], dtype=dtype)
    for size in (None, 6):
        rows = 4 if size is None else size
        expected = torch._convert_indices_from_coo_to_csr(index, rows, out_int32=dtype == torch.int32)
        got = pyg.index.index2ptr(index, size)
        assert got.dtype == expected.dtype
        assert torch.equal(got, expected)
    assert pyg.index.index2ptr(index[:0]).tolist() == [0]


def test_autocast() -> None:
    x, layer = CLOUDS["random"][0].float(), pyg_nn.DynamicEdgeConv(mlp(6, 8).float(), k=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x, BATCH).dtype == torch.bfloat16
        assert torch.equal(pyg_nn.knn_graph(x, 3, BATCH), torch_cluster.knn_graph(x, 3, BATCH))


def test_an_installed_pyg_lib_is_not_overridden_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for an operator that pyg-lib has defined."""
    library = torch.library.Library("pyg", "FRAGMENT")
    library.define("stand_in(Tensor x) -> Tensor")
    library.impl("stand_in", lambda x: x + 1, "CPU")
    monkeypatch.setattr(face, "_OPERATORS", {"stand_in": ("(Tensor x) -> Tensor", "WITH_STAND_IN", lambda x: x + 2)})
    monkeypatch.setattr(face, "_ENABLED", [])
    monkeypatch.setattr(pyg.typing, "WITH_STAND_IN", False, raising=False)
    assert face.enable() == []
    assert not pyg.typing.WITH_STAND_IN
    assert float(torch.ops.pyg.stand_in(torch.zeros(()))) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, which says that a kernel is overridden
        assert face.enable(override=True) == ["stand_in"]
    assert pyg.typing.WITH_STAND_IN
    assert float(torch.ops.pyg.stand_in(torch.zeros(()))) == 2


def test_without_torch_geometric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_geometric.typing", None)
    with pytest.raises(ImportError, match=r"torch_geometric must be installed to be enabled \(`pip install torch_g"):
        face.enable()


def test_errors() -> None:
    x: Any = torch.zeros(4, 3)
    with pytest.raises(RuntimeError, match="k and the number of coordinates must be at least 1"):
        pyg_nn.knn(x, x, 0)
