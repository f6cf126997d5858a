"""Sizes that change: one graph of torch.compile serves all of them, and exported programs take any."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from shapes.calls import Call, calls, networks
from torch import Tensor, nn
from torch.export import Dim

import pointkernels
from pointkernels.compat import dgcnn, pointnet2, pytorch3d, torch_cluster

CALLS = dict(calls())
NETWORKS = networks()
SIZES = ((2, 18), (3, 22), (5, 30), (1, 14))
# Of faces: not functions on tensors of points.
LEFT_OUT = {"dgcnn.fuse_edge_convs", "dgcnn.fused_edge_convs", "dgcnn.unfuse_edge_convs", "pointkernels.build_info"}

# How many neighbours a given graph has is in its values, which decide the dtype of a result: torch.compile breaks the
# graph there, and torch.export cannot take the layer.
OF_VALUES = ("pointkernels.nn.GraphEdgeConv",)
OF_SHAPES = {name: call for name, call in CALLS.items() if call.covers not in OF_VALUES}

every_call = pytest.mark.parametrize("name", OF_SHAPES)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_no_function_or_layer_is_left_out() -> None:
    """A new one needs a line in calls.py."""
    names = {
        f"{module.__name__.rsplit('.')[-1]}.{name}"
        for module in (pointkernels, dgcnn, pointnet2, pytorch3d, torch_cluster)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and not name.startswith("_") and value.__module__.startswith("pointkernels")
    }
    here = {f"pointkernels.nn.{name}" for name, value in vars(pointkernels.nn).items() if inspect.isclass(value)}
    ours = {name for name in names if is_its_own(name)}
    assert ours | here == {call.covers for call in CALLS.values()} | (LEFT_OUT & ours)


def is_its_own(name: str) -> bool:
    """Whether a function is of the module, not one that it uses."""
    module, function = name.split(".")
    if module == "pointkernels":
        return True
    return bool(getattr(getattr(pointkernels.compat, module), function).__module__.endswith(f"compat.{module}"))


def leaves(value: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def same(found: Any, expected: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(leaves(found), leaves(expected), strict=True))


def compiled(module: nn.Module, graphs: list[int], dynamic: bool | None) -> Any:
    def backend(traced: Any, _: Any) -> Any:
        graphs.append(1)
        return traced

    torch._dynamo.reset()
    return torch.compile(module, backend=backend, dynamic=dynamic, fullgraph=True)


@every_call
def test_one_graph_for_all_sizes(name: str) -> None:
    call, graphs = CALLS[name], []
    function = compiled(call.module, graphs, dynamic=True)
    for size in SIZES:
        if 1 in size and call.module.training and "nn." in name:
            continue
        inputs = call.inputs(*size)
        assert same(function(*inputs), call.module(*inputs)), size
    # A batch of one is a case of its own for torch.
    assert len(graphs) <= 2
    graphs.clear()
    for size in SIZES[:3]:
        function(*call.inputs(*size))
    assert graphs == []


@pytest.mark.parametrize(
    "name", ["pointkernels.knn", "pointkernels.farthest_point_sampling", "pointkernels.nn.EdgeConv evaluation"]
)
def test_sizes_are_found_to_change(name: str) -> None:
    """Without `dynamic`: a graph for the first size, and one for all others."""
    call, graphs = CALLS[name], []
    function = compiled(call.module, graphs, dynamic=None)
    for size in ((2, 18), (3, 22), (5, 30), (4, 46), (6, 17)):
        function(*call.inputs(*size))
    assert len(graphs) == 2


@pytest.mark.parametrize("name", [name for name in CALLS if name not in OF_SHAPES])
def test_layers_over_a_given_graph_break_it(name: str) -> None:
    call = CALLS[name]
    torch._dynamo.reset()
    function = torch.compile(call.module, backend="eager", dynamic=True)
    for size in SIZES[:3]:
        inputs = call.inputs(*size)
        assert same(function(*inputs), call.module(*inputs)), size


def test_samples_and_neighbors_may_change() -> None:
    graphs: list[int] = []

    def call(points: Tensor, k: int, samples: int) -> tuple[Tensor, Tensor]:
        return pointkernels.knn(points, k), pointkernels.farthest_point_sampling(points, samples)

    function = compiled(call, graphs, dynamic=True)  # type: ignore[arg-type]
    points = torch.rand(2, 40, 3)
    for k, samples in ((3, 5), (4, 7), (6, 8), (7, 11)):
        assert same(function(points, k, samples), call(points, k, samples))
    assert len(graphs) == 1


def exported(call: Call) -> Any:
    inputs = call.inputs(*SIZES[0])
    dynamic = tuple(dict.fromkeys(dimensions, Dim.DYNAMIC) for dimensions in call.dynamic)
    is_function = not hasattr(call.module, "function")
    return torch.export.export(call.module, inputs, dynamic_shapes=dynamic if is_function else (dynamic,))


def network_call(name: str) -> Call:
    def cloud(batch: int, points: int) -> tuple[Tensor]:
        return (torch.rand(batch, points, 3, generator=torch.Generator().manual_seed(points)),)

    return Call(name, cloud, NETWORKS[name], ((0, 1),))


CHECK = """
import json, sys, torch, pointkernels
for name in json.loads(sys.argv[1]):
    program = torch.export.load(f"{name}.pt2").module()
    for inputs, expected in torch.load(f"{name}.pt"):
        found = [leaf for leaf in torch.utils._pytree.tree_leaves(program(*inputs)) if isinstance(leaf, torch.Tensor)]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), name
print("all equal")
"""


def test_exported_programs_take_any_size_in_a_fresh_process(tmp_path: Path) -> None:
    """Every function, layer and network: exported at one size, saved, loaded elsewhere, and called at others."""
    files = []
    for number, (name, call) in enumerate({**OF_SHAPES, **{name: network_call(name) for name in NETWORKS}}.items()):
        if name.endswith(" training"):
            continue  # the running statistics of a program are its own; below
        torch.export.save(exported(call), tmp_path / f"{number}.pt2")
        cases = [(inputs, leaves(call.module(*inputs))) for inputs in (call.inputs(*size) for size in SIZES[1:3])]
        torch.save(
            [(inputs, [leaf.detach() for leaf in results]) for inputs, results in cases], tmp_path / f"{number}.pt"
        )
        files.append(str(number))
    command = [sys.executable, "-W", "ignore", "-c", CHECK, json.dumps(files)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "all equal\n", done.stderr


@pytest.mark.parametrize("name", [name for name in OF_SHAPES if name.endswith(" training")])
def test_layers_are_exported_in_training(name: str) -> None:
    call = CALLS[name]
    program = exported(call).module()
    for size in SIZES[1:3]:
        inputs = call.inputs(*size)
        assert same(program(*inputs), call.module(*inputs)), size


@pytest.mark.parametrize("name", NETWORKS)
def test_one_graph_of_networks(name: str) -> None:
    graphs: list[int] = []
    function = compiled(NETWORKS[name], graphs, dynamic=True)
    for batch, points in SIZES[:3]:
        cloud = torch.rand(batch, points, 3)
        assert same(function(cloud), NETWORKS[name](cloud))
    assert len(graphs) == 1


AHEAD = """
import sys, torch, pointkernels
program = torch._inductor.aoti_load_package(sys.argv[1])
for inputs, expected in torch.load(sys.argv[2]):
    found = program(*inputs)
    leaves = torch.utils._pytree.tree_leaves(found)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(leaves, expected, strict=True))
print("all close")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DGCNN", "pointkernels.farthest_point_sampling", "pointkernels.interpolate"])
def test_compiled_ahead_of_time(name: str, tmp_path: Path) -> None:
    """Loaded in a fresh process. Integers are equal; torch's own sums may be in another order."""
    call = CALLS.get(name) or network_call(name)
    package = torch._inductor.aoti_compile_and_package(exported(call), package_path=str(tmp_path / "it.pt2"))
    cases = [(inputs, leaves(call.module(*inputs))) for inputs in (call.inputs(*size) for size in SIZES[1:3])]
    torch.save([(inputs, [leaf.detach() for leaf in results]) for inputs, results in cases], tmp_path / "it.pt")
    command = [sys.executable, "-W", "ignore", "-c", AHEAD, str(package), str(tmp_path / "it.pt")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.endswith("all close\n"), done.stderr
