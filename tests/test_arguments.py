"""What every operator, layer and face takes as a number, and what it says to tensors that it cannot take."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import pointkernels
from pointkernels import compat, nn

pytestmark = pytest.mark.filterwarnings("ignore:.*(nested tensors|Sparse CSR|TypedStorage)")

POINTS = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0))
BATCH = torch.arange(2).repeat_interleave(25)

# Operators, layers and faces by what they do with a number.
WITH_COUNT: dict[str, Callable[[Any], Any]] = {
    "knn": lambda k: pointkernels.knn(POINTS, k),
    "ball_query": lambda k: pointkernels.ball_query(POINTS, 0.3, k),
    "interpolate": lambda k: pointkernels.interpolate(POINTS, POINTS, POINTS, k=k),
    "farthest_point_sampling": lambda k: pointkernels.farthest_point_sampling(POINTS, k),
    "start of farthest_point_sampling": lambda k: pointkernels.farthest_point_sampling(POINTS, 5, start=k),
    "EdgeConv": lambda k: nn.EdgeConv(3, 4, k=k).eval()(POINTS).shape,
    "TwoLayerEdgeConv": lambda k: nn.TwoLayerEdgeConv(3, 4, 4, k=k).eval()(POINTS).shape,
    "DynamicEdgeConv": lambda k: nn.DynamicEdgeConv(3, 4, k=k).eval()(POINTS[0], BATCH).shape,
    "dgcnn.knn": lambda k: compat.dgcnn.knn(POINTS.mT, k),
    "dgcnn.get_graph_feature": lambda k: compat.dgcnn.get_graph_feature(POINTS.mT, k),
    "pointnet2.furthest_point_sample": lambda k: compat.pointnet2.furthest_point_sample(POINTS, k),
    "pointnet2.ball_query": lambda k: compat.pointnet2.ball_query(0.3, k, POINTS, POINTS),
    "pytorch3d.knn_points": lambda k: compat.pytorch3d.knn_points(POINTS, POINTS, K=k).idx,
    "pytorch3d.knn_points of norm 1": lambda k: compat.pytorch3d.knn_points(POINTS, POINTS, norm=1, K=k).idx,
    "pytorch3d.ball_query": lambda k: compat.pytorch3d.ball_query(POINTS, POINTS, K=k).idx,
    "pytorch3d.sample_farthest_points": lambda k: compat.pytorch3d.sample_farthest_points(POINTS, K=k)[1],
    "torch_cluster.knn": lambda k: compat.torch_cluster.knn(POINTS[0], POINTS[0], k),
    "torch_cluster.knn_graph": lambda k: compat.torch_cluster.knn_graph(POINTS[0], k),
    "torch_cluster.radius": lambda k: compat.torch_cluster.radius(POINTS[0], POINTS[0], 0.3, max_num_neighbors=k),
    "torch_cluster.radius_graph": lambda k: compat.torch_cluster.radius_graph(POINTS[0], 0.3, max_num_neighbors=k),
    "batch_size": lambda k: compat.torch_cluster.knn(POINTS[0], POINTS[0], 2, BATCH, BATCH, batch_size=k),
}
WITH_RADIUS: dict[str, Callable[[Any], Any]] = {
    "ball_query": lambda r: pointkernels.ball_query(POINTS, r, 6),
    "nearest in ball_query": lambda r: pointkernels.ball_query(POINTS, r, 6, nearest=True),
    "pointnet2.ball_query": lambda r: compat.pointnet2.ball_query(r, 6, POINTS, POINTS),
    "pytorch3d.ball_query": lambda r: compat.pytorch3d.ball_query(POINTS, POINTS, K=6, radius=r).idx,
    "torch_cluster.radius": lambda r: compat.torch_cluster.radius(POINTS[0], POINTS[0], r),
    "torch_cluster.radius_graph": lambda r: compat.torch_cluster.radius_graph(POINTS[0], r),
}


def _equal(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)


@pytest.mark.parametrize("name", WITH_COUNT)
def test_integers_of_numpy_and_torch_are_counts(name: str) -> None:
    call = WITH_COUNT[name]
    expected = call(4)
    for four in (np.int64(4), np.int32(4), np.uint8(4), np.array(4), torch.tensor(4), torch.tensor(4).int()):
        assert _equal(call(four), expected)
    wrongs: list[Any] = [4.0, np.float32(4), True, np.bool_(True), torch.tensor(4.0), torch.tensor(True)]
    # Some take a text, None or several numbers, too.
    wrongs += [] if name in ("start of farthest_point_sampling", "batch_size") else ["4", None]
    wrongs += (
        []
        if name.endswith(("farthest_point_sampling", "farthest_points"))
        else [POINTS, torch.tensor([4]), np.array([4, 5])]
    )
    for wrong in wrongs:
        with pytest.raises(TypeError, match=r"^\S.* must be an int.*, got "):
            call(wrong)


@pytest.mark.parametrize("name", WITH_RADIUS)
def test_numbers_of_numpy_and_torch_are_radii(name: str) -> None:
    call = WITH_RADIUS[name]
    expected = call(0.25)  # exact in float32
    quarters = [np.float64(0.25), np.float32(0.25), np.array(0.25), torch.tensor(0.25), torch.tensor(0.25).double()]
    for quarter in quarters:
        assert _equal(call(quarter), expected)
    assert _equal(call(np.int64(1)), call(1))
    for wrong in (True, np.bool_(True), torch.tensor(True), "0.25", None, 1j, np.array([0.25]), torch.tensor([0.25])):
        with pytest.raises(TypeError, match=r"^r(adius)? must be a number, got "):
            call(wrong)
    for wrong in (-1.0, np.float32(-1), torch.tensor(-1.0), float("nan")):
        with pytest.raises(ValueError, match=r"^r(adius)? must be at least 0, got "):
            call(wrong)


SIZES = torch.tensor([40, 7])
WITH_SIZES: dict[str, Callable[[Tensor], Any]] = {
    "knn": lambda n: pointkernels.knn(POINTS, 4, lengths=n),
    "queries of knn": lambda n: pointkernels.knn(POINTS, 4, query=POINTS, query_lengths=n),
    "ball_query": lambda n: pointkernels.ball_query(POINTS, 0.3, 4, lengths=n),
    "farthest_point_sampling": lambda n: pointkernels.farthest_point_sampling(POINTS, 9, lengths=n),
    "interpolate": lambda n: pointkernels.interpolate(POINTS, POINTS, POINTS, lengths=n, query_lengths=n),
    "chamfer_distance": lambda n: pointkernels.chamfer_distance(POINTS, POINTS + 0.1, x_lengths=n, y_lengths=n),
    "pytorch3d.knn_points": lambda n: compat.pytorch3d.knn_points(POINTS, POINTS, n, n, K=9).idx,
    "pytorch3d.knn_points of norm 1": lambda n: compat.pytorch3d.knn_points(POINTS, POINTS, n, n, norm=1, K=9).idx,
    "pytorch3d.knn_gather": lambda n: compat.pytorch3d.knn_gather(POINTS, pointkernels.knn(POINTS, 9), n),
    "pytorch3d.ball_query": lambda n: compat.pytorch3d.ball_query(POINTS, POINTS, n, n, K=9).idx,
    "pytorch3d.sample_farthest_points": lambda n: compat.pytorch3d.sample_farthest_points(POINTS, n, K=9)[1],
    "pytorch3d.chamfer_distance": lambda n: compat.pytorch3d.chamfer_distance(POINTS, POINTS + 0.1, n, n)[0],
}
WITH_BATCH: dict[str, Callable[[Tensor], Any]] = {
    "knn": lambda b: compat.torch_cluster.knn(POINTS[0], POINTS[1], 3, b, b),
    "knn of other batches": lambda b: compat.torch_cluster.knn(POINTS[0], POINTS[1], 3, b, b.clone()),
    "knn_graph": lambda b: compat.torch_cluster.knn_graph(POINTS[0], 3, b),
    "radius": lambda b: compat.torch_cluster.radius(POINTS[0], POINTS[1], 0.3, b, b),
    "radius_graph": lambda b: compat.torch_cluster.radius_graph(POINTS[0], 0.3, b),
    "nearest": lambda b: compat.torch_cluster.nearest(POINTS[0], POINTS[1], b, b),
    "fps": lambda b: compat.torch_cluster.fps(POINTS[0], b, random_start=False),
    "DynamicEdgeConv": lambda b: _seeded(lambda: nn.DynamicEdgeConv(3, 4, k=3)(POINTS[0], b)),
    "TwoLayerDynamicEdgeConv": lambda b: _seeded(lambda: nn.TwoLayerDynamicEdgeConv(3, 4, 4, k=3)(POINTS[0], b)),
}


def _seeded(call: Callable[[], Tensor]) -> Tensor:
    torch.manual_seed(0)
    return call()


@pytest.mark.parametrize("name", [*WITH_SIZES, *(f"batch of {name}" for name in WITH_BATCH)])
def test_sizes_and_batch_vectors_may_be_int32(name: str) -> None:
    of_batch = name.startswith("batch of ")
    call, sizes = (WITH_BATCH[name.removeprefix("batch of ")], BATCH) if of_batch else (WITH_SIZES[name], SIZES)
    assert _equal(call(sizes.int()), call(sizes))


# Tensors that are no plain ones in memory, and how each is named.
STRANGE: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sparse": (lambda x: x.to_sparse(), "torch.sparse_coo"),
    "csr": (lambda x: x.to_sparse_csr(), "torch.sparse_csr"),
    "nested": (lambda x: torch.nested.nested_tensor([*x]), "nested"),
    "jagged": (lambda x: torch.nested.nested_tensor([*x], layout=torch.jagged), "jagged"),
    "mkldnn": (lambda x: x.to_mkldnn(), "torch._mkldnn"),
    "float8": (lambda x: x.to(torch.float8_e4m3fn), "torch.float8_e4m3fn"),
    "complex": (lambda x: x.to(torch.complex64), "torch.complex64"),
}
NEIGHBORS = pointkernels.knn(POINTS, 4)
WITH_TENSOR: dict[str, tuple[Callable[[Any], Any], Tensor]] = {
    "knn": (lambda x: pointkernels.knn(x, 4), POINTS),
    "query of knn": (lambda x: pointkernels.knn(POINTS, 4, query=x), POINTS),
    "ball_query": (lambda x: pointkernels.ball_query(x, 0.3, 4), POINTS),
    "farthest_point_sampling": (lambda x: pointkernels.farthest_point_sampling(x, 4), POINTS),
    "chamfer_distance": (lambda x: pointkernels.chamfer_distance(x, x), POINTS),
    "gather_neighbors": (lambda x: pointkernels.gather_neighbors(x, NEIGHBORS), POINTS),
    "gather_weighted": (lambda x: pointkernels.gather_weighted(x, NEIGHBORS, torch.rand(2, 50, 4)), POINTS),
    "weights of gather_weighted": (lambda x: pointkernels.gather_weighted(POINTS, NEIGHBORS, x), torch.rand(2, 50, 4)),
    "interpolate": (lambda x: pointkernels.interpolate(x, POINTS, POINTS), POINTS),
    "linear": (lambda x: pointkernels.linear(x, torch.rand(5, 3)), POINTS),
    "EdgeConv": (lambda x: nn.EdgeConv(3, 4, k=4)(x), POINTS),
    "EdgeConv of a graph": (lambda x: nn.EdgeConv(3, 4)(x, NEIGHBORS), POINTS),
    "TwoLayerEdgeConv": (lambda x: nn.TwoLayerEdgeConv(3, 4, 4)(x, NEIGHBORS), POINTS),
    "DynamicEdgeConv": (lambda x: nn.DynamicEdgeConv(3, 4, k=4)(x), POINTS[0]),
    "GraphEdgeConv": (lambda x: nn.GraphEdgeConv(3, 4)(x, torch.tensor([[0], [1]])), POINTS[0]),
    "dgcnn.knn": (lambda x: compat.dgcnn.knn(x, 3), POINTS.mT),
    "dgcnn.get_graph_feature": (lambda x: compat.dgcnn.get_graph_feature(x, 3), POINTS.mT),
    "pointnet2.furthest_point_sample": (lambda x: compat.pointnet2.furthest_point_sample(x, 3), POINTS),
    "pointnet2.three_nn": (lambda x: compat.pointnet2.three_nn(x, x), POINTS),
    "pytorch3d.knn_points": (lambda x: compat.pytorch3d.knn_points(x, x), POINTS),
    "pytorch3d.sample_farthest_points": (lambda x: compat.pytorch3d.sample_farthest_points(x, K=3), POINTS),
    "torch_cluster.knn": (lambda x: compat.torch_cluster.knn(x, POINTS[0], 3), POINTS[0]),
    "torch_cluster.fps": (lambda x: compat.torch_cluster.fps(x), POINTS[0]),
}


def _refused() -> list[tuple[str, str]]:
    """All there are: only matrices are CSR, and a list of rows, as one nested tensor, has no columns."""
    ranks = {"csr": (2,), "nested": (3,), "jagged": (3,)}
    usual = {name: tensor.dim() for name, (_, tensor) in WITH_TENSOR.items()}
    return [(name, kind) for name in usual for kind in STRANGE if usual[name] in ranks.get(kind, (2, 3))]


@pytest.mark.parametrize(("name", "kind"), _refused())
def test_other_kinds_of_tensors_are_refused_in_a_sentence(name: str, kind: str) -> None:
    call, usual = WITH_TENSOR[name]
    make, named = STRANGE[kind]
    with pytest.raises(TypeError, match=rf"^(?=.*{re.escape(named)})\w+ must [^\n]*, got [^\n]*$"):
        call(make(usual.contiguous()))


@pytest.mark.parametrize("name", WITH_TENSOR)
def test_what_is_no_tensor_is_refused_in_a_sentence(name: str) -> None:
    call, usual = WITH_TENSOR[name]
    for wrong in (usual.tolist(), usual.numpy(), None):
        if wrong is None and name == "query of knn":
            continue
        with pytest.raises(TypeError, match=r"^\w+ must be a tensor of shape \(.*\), got \w+$"):
            call(wrong)


def test_meta_tensors_have_shapes() -> None:
    points = POINTS.to("meta")
    layer = nn.EdgeConv(3, 4, k=4, device="meta")
    assert pointkernels.knn(points, 4).shape == (2, 50, 4)
    assert pointkernels.ball_query(points, 0.3, 4, nearest=True).shape == (2, 50, 4)
    assert pointkernels.farthest_point_sampling(points, 4).shape == (2, 4)
    assert pointkernels.interpolate(points, points, points).shape == (2, 50, 3)
    assert layer(points).shape == (2, 50, 4)
    with pytest.raises(ValueError, match=r"^neighbors must be on the device of features, meta, got cpu$"):
        pointkernels.gather_neighbors(points, NEIGHBORS)
    with pytest.raises(TypeError, match=r"^k must be an int, got a tensor \(\) of torch.int64 on meta$"):
        pointkernels.knn(POINTS, torch.tensor(4, device="meta"))


NO_MEMORY: dict[str, Callable[[], Any]] = {
    "knn": lambda: pointkernels.knn(POINTS, 2**50),
    "distances of knn": lambda: pointkernels.knn(POINTS.clone().requires_grad_(), 2**50, return_distance=True),
    "ball_query": lambda: pointkernels.ball_query(POINTS, 0.3, 2**50),
    "gather_neighbors": lambda: pointkernels.gather_neighbors(
        torch.zeros(1, 1, 1).expand(1, 1, 2**20), torch.zeros(1, 1, 1, dtype=torch.int64).expand(1, 2**21, 16)
    ),
    "linear": lambda: pointkernels.linear(torch.rand(2**22, 1), torch.rand(2**24, 1)),
    "torch_cluster.knn": lambda: compat.torch_cluster.knn(POINTS[0], POINTS[0] + 1, 2**50),
}


@pytest.mark.parametrize("name", NO_MEMORY)
def test_too_little_memory_is_said_in_a_sentence(name: str) -> None:
    with pytest.raises(torch.OutOfMemoryError, match=r"^\w+ must have memory for its results and work, got less"):
        NO_MEMORY[name]()


def test_layers_name_the_input_that_does_not_fit() -> None:
    layers = (nn.EdgeConv(3, 4, k=2), nn.TwoLayerEdgeConv(3, 4, 4, k=2))
    for layer in layers:
        with pytest.raises(ValueError, match=r"^features must have 3 channels in the last dimension, got \(2, 9, 5\)$"):
            layer(torch.rand(2, 9, 5))
    packed = (nn.DynamicEdgeConv(3, 4, k=2), nn.TwoLayerDynamicEdgeConv(3, 4, 4, k=2))
    given = (nn.GraphEdgeConv(3, 4), nn.TwoLayerGraphEdgeConv(3, 4, 4))
    for call in (*packed, *(lambda x, layer=layer: layer(x, torch.tensor([[0], [1]])) for layer in given)):
        with pytest.raises(ValueError, match=r"^x must have 3 channels in the last dimension, got \(9, 5\)$"):
            call(torch.rand(9, 5))


def test_points_that_came_channels_first_are_warned_about() -> None:
    channels_first = torch.rand(2, 3, 100)
    with pytest.warns(UserWarning, match=r"must have shape \(B, N, D\), got \(2, 3, 100\) and k=20") as caught:
        pointkernels.knn(channels_first, 20)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="transpose"):
        pointkernels.knn(channels_first, 20, query=channels_first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pointkernels.knn(channels_first.mT, 20)
        pointkernels.knn(torch.rand(2, 5, 3), 20)  # small clouds, filled up
        pointkernels.knn(torch.rand(2, 2, 3), 3, query=torch.rand(2, 9, 3))
        pointkernels.knn(torch.rand(2, 0, 3), 1)
        pointkernels.knn(torch.rand(2, 1, 3), 2)
        pointkernels.knn(torch.rand(2, 30, 64), 20)
        compiled = torch.compile(lambda x: pointkernels.knn(x, 20), fullgraph=True, backend="eager")
        assert compiled(channels_first).shape == (2, 3, 20)


def _modules() -> list[str]:
    found = [module.name for module in pkgutil.walk_packages(pointkernels.__path__, "pointkernels.")]
    return ["pointkernels", *(name for name in found if not any(part.startswith("_") for part in name.split(".")))]


def _public_names(module: Any) -> set[str]:
    """Functions, classes and constants of a module that are not private; in a package, what it takes from others."""
    names: set[str] = set()
    for node in ast.parse(Path(module.__file__).read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom) and hasattr(module, "__path__"):
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if not name.startswith("_") or name == "__version__"}


@pytest.mark.parametrize("name", _modules())
def test_every_public_module_says_what_is_public(name: str) -> None:
    module = importlib.import_module(name)
    assert len(module.__all__) == len(set(module.__all__))
    for public in module.__all__:
        assert hasattr(module, public)
    if name == "pointkernels.ops":
        assert set(module.__all__) == {sub.name for sub in pkgutil.iter_modules(module.__path__)}
    else:
        assert set(module.__all__) == _public_names(module)
