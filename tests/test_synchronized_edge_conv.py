"""Several processes give what one process gives on all their clouds: EdgeConv with SyncBatchNorm."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import CONTEXT
from torch import Tensor, distributed, nn

import pointkernels
from pointkernels.compat import dgcnn
from pointkernels.reference import EdgeLayer

get_graph_feature = dgcnn.get_graph_feature
CLOUDS = 5
SPLITS = {"unequal": [(0, 2), (2, 5)], "one without clouds": [(0, 5), (5, 5)]}


class Network(nn.Module):
    """A layer of one or two convolutions in DGCNN's words; `way` is what else happens to the edges."""

    def __init__(self, layers: int, way: str = "max") -> None:
        super().__init__()
        self.way = way
        self.conv1 = nn.Sequential(nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8, eps=1e-3), nn.LeakyReLU(0.2))
        if layers == 2:
            self.conv2 = nn.Sequential(nn.Conv2d(8, 6, 1, bias=False), nn.BatchNorm2d(6, momentum=None), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        edges = self.conv1(get_graph_feature(x.transpose(1, 2), k=4))
        if hasattr(self, "conv2"):
            edges = self.conv2(edges)
        if self.way == "edges used":  # runs unfused
            edges = 1.0 * edges
        pooled = edges.max(dim=-1)[0] if self.way != "mean" else edges.mean(dim=-1)
        if self.way == "both":
            pooled = pooled + edges.mean(dim=-1)
        return pooled.transpose(1, 2)


class OnPackedClouds(nn.Module):
    """A layer on packed clouds, given a batch of them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        batch = torch.arange(x.shape[0])[:, None].expand(x.shape[:2]).flatten()
        rows = x.flatten(0, 1)
        if isinstance(self.layer, (pointkernels.nn.DynamicEdgeConv, pointkernels.nn.TwoLayerDynamicEdgeConv)):
            return self.layer(rows, batch).unflatten(0, x.shape[:2])
        neighbors = pointkernels.knn(x.detach(), 4) + (torch.arange(x.shape[0]) * x.shape[1])[:, None, None]
        targets = torch.arange(len(rows))[:, None].expand(len(rows), 4)
        return self.layer(rows, torch.stack([neighbors.flatten(), targets.flatten()])).unflatten(0, x.shape[:2])


class Frozen(nn.Module):
    """A network of two convolutions, of which one BatchNorm stays in evaluation."""

    def __init__(self, which: int) -> None:
        super().__init__()
        self.layer = pointkernels.nn.TwoLayerEdgeConv(3, 8, 6, k=4)
        self.which = which

    def forward(self, x: Tensor) -> Tensor:
        (self.layer.first_norm, self.layer.second_norm)[self.which].eval()
        return self.layer(x)


def fused(network: nn.Module) -> nn.Module:
    return dgcnn.fuse_edge_convs(network)


def converted(network: nn.Module) -> nn.Module:
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def compiled(network: nn.Module) -> nn.Module:
    return torch.compile(network, backend="aot_eager", fullgraph=True)  # type: ignore[return-value]


Steps = list[Callable[[nn.Module], nn.Module]]
CASES: dict[str, tuple[Callable[[], nn.Module], Steps]] = {
    f"{layers} convolutions, {order}, {way}": (lambda layers=layers, way=way: Network(layers, way), list(steps))  # type: ignore[misc]
    for layers in (1, 2)
    for order, steps in {
        "fused, then converted": (fused, converted),
        "converted, then fused": (converted, fused),
    }.items()
    for way in ("max", "edges used", "both", "mean")
}
CASES["compiled"] = (lambda: Network(1), [fused, converted, compiled])
CASES["compiled, 2 convolutions"] = (lambda: Network(2), [fused, converted, compiled])
CASES["first frozen"] = (lambda: Frozen(0), [converted])
CASES["second frozen"] = (lambda: Frozen(1), [converted])
CASES["nn.EdgeConv"] = (lambda: pointkernels.nn.EdgeConv(3, 8, k=4), [converted])
CASES["nn.TwoLayerEdgeConv"] = (lambda: pointkernels.nn.TwoLayerEdgeConv(3, 8, 6, k=4), [converted])
for _name, _make in {
    "DynamicEdgeConv": lambda: pointkernels.nn.DynamicEdgeConv(3, 8, 4),
    "GraphEdgeConv": lambda: pointkernels.nn.GraphEdgeConv(3, 8),
    "TwoLayerDynamicEdgeConv": lambda: pointkernels.nn.TwoLayerDynamicEdgeConv(3, 8, 6, 4),
    "TwoLayerGraphEdgeConv": lambda: pointkernels.nn.TwoLayerGraphEdgeConv(3, 8, 6),
}.items():
    CASES["nn." + _name] = (lambda make=_make: OnPackedClouds(make()), [converted])  # type: ignore[misc]


def made(case: str, dtype: torch.dtype) -> nn.Module:
    """The network of a case, before anything is done to it."""
    torch.manual_seed(0)
    network = CASES[case][0]()
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter)
            assert name
    return network.to(dtype)


def clouds(dtype: torch.dtype) -> Tensor:
    # Far from the origin, and each cloud elsewhere: what a process takes off its own features must be put back.
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(CLOUDS, 17, 3, generator=generator, dtype=torch.float64)
    return (points + torch.arange(CLOUDS)[:, None, None] * 3.0).to(dtype)


def trained(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Two steps without an update: outputs, gradients, and what the network holds afterwards."""
    results: dict[str, Tensor] = {}
    for step in range(2):
        x = x.detach().clone().requires_grad_()
        output = network(x)
        (output * (torch.arange(output.shape[1:].numel()).view(output.shape[1:]) % 7 - 2.5)).sum().backward()
        results |= {f"output {step}": output.detach(), f"gradient {step}": x.grad}  # type: ignore[dict-item]
    for name, parameter in network.named_parameters():
        results[f"gradient of {name.removeprefix('_orig_mod.')}"] = parameter.grad  # type: ignore[assignment]
    for name, buffer in network.named_buffers():
        results[name.removeprefix("_orig_mod.")] = buffer
    return results


def work(rank: int, split: list[tuple[int, int]], dtype: torch.dtype, folder: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found: dict[str, Any] = {}
    for case in CASES:
        if "compiled" in case and (split[1] == (5, 5) or dtype != torch.float64):
            continue
        network = made(case, dtype)
        for step in CASES[case][1]:
            network = step(network)
        found[case] = trained(network, clouds(dtype)[slice(*split[rank])])
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module", params=[(s, d) for s in SPLITS for d in (torch.float64, torch.float32)], ids=str)
def of_processes(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.dtype, str, list[Any]]:
    split, dtype = request.param
    folder = str(tmp_path_factory.mktemp("processes"))
    workers = [CONTEXT.Process(target=work, args=(rank, SPLITS[split], dtype, folder)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
        assert worker.exitcode == 0
    return dtype, split, [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_what_one_gives(case: str, of_processes: Any) -> None:
    dtype, _, parts = of_processes
    if case not in parts[0]:
        pytest.skip("torch.compile is asked once")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = made(case, torch.float64)
        expected = trained(network, clouds(dtype).double())  # one process, the usual modules, in float64
    tolerance = 1e-6 if dtype == torch.float64 else 2e-3
    first, second = (part[case] for part in parts)
    for name, value in expected.items():
        a, b = first[name], second[name]
        if name.startswith(("output", "gradient 0", "gradient 1")):
            got = torch.cat([a, b])
        elif name.startswith("gradient of"):
            got = a + b  # each has its share, which DistributedDataParallel would average
        else:
            assert torch.equal(a, b)  # running statistics of all are the same to the bit
            got = a
        scale = value.abs().max().clamp(min=1.0).item() if value.is_floating_point() else 1.0
        torch.testing.assert_close(got, value, rtol=tolerance, atol=tolerance * scale, check_dtype=False)


def test_each_process_has_the_gradient_that_the_usual_modules_give_it(of_processes: Any) -> None:
    """The share of a process, not only the sum, is that of convolutions and a BatchNorm in plain operations."""
    dtype, _, parts = of_processes
    tolerance = 1e-6 if dtype == torch.float64 else 2e-3
    for part in parts:
        for layers in (1, 2):
            a = part[f"{layers} convolutions, fused, then converted, max"]
            b = part[f"{layers} convolutions, fused, then converted, edges used"]
            for name, value in a.items():
                torch.testing.assert_close(b[name], value, rtol=tolerance, atol=tolerance)


def test_without_other_processes_nothing_changes() -> None:
    x = torch.randn(2, 17, 3)
    for make in (
        lambda: pointkernels.nn.EdgeConv(3, 8, k=4),
        lambda: pointkernels.nn.TwoLayerEdgeConv(3, 8, 6, k=4),
        lambda: OnPackedClouds(pointkernels.nn.DynamicEdgeConv(3, 8, 4)),
    ):
        layer = make()
        twin = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(layer))
        assert any(isinstance(module, nn.SyncBatchNorm) for module in twin.modules())
        assert list(twin.state_dict()) == list(layer.state_dict())
        assert torch.equal(layer(x), twin(x))
        assert torch.equal(layer.eval()(x), twin.eval()(x))
        for name, value in layer.state_dict().items():
            assert torch.equal(twin.state_dict()[name], value)


def test_twins_of_converted_modules_are_converted() -> None:
    conv, norm = nn.Conv2d(6, 8, 1, bias=False), nn.SyncBatchNorm(8)
    layer = pointkernels.nn.EdgeConv.from_conv_bn(conv, norm)  # type: ignore[arg-type]
    assert isinstance(layer.norm, nn.SyncBatchNorm)
    assert isinstance(layer.to_conv_bn()[1], nn.SyncBatchNorm)
    two = pointkernels.nn.TwoLayerEdgeConv.from_conv_bn(conv, norm, nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4))  # type: ignore[arg-type]
    assert isinstance(two.first_norm, nn.SyncBatchNorm)
    assert isinstance(two.second_norm, nn.BatchNorm1d)
    assert [isinstance(part, nn.SyncBatchNorm) for part in two.to_conv_bn()] == [False, True, False, False]
    mlp = nn.Sequential(nn.Linear(6, 8), nn.SyncBatchNorm(8), nn.ReLU())
    assert isinstance(pointkernels.nn.GraphEdgeConv.from_mlp(mlp).norm, nn.SyncBatchNorm)
    deep = nn.Sequential(*mlp, nn.Linear(8, 4), nn.BatchNorm1d(4))
    assert isinstance(pointkernels.nn.TwoLayerGraphEdgeConv.from_mlp(deep).first_norm, nn.SyncBatchNorm)


def test_a_norm_of_another_kind_is_an_error_and_a_frozen_one_is_frozen() -> None:
    layer, x = pointkernels.nn.EdgeConv(3, 8, k=4), torch.randn(2, 17, 3)
    layer.norm.eval()
    expected = copy.deepcopy(layer).eval()(x)
    assert torch.equal(layer(x), expected)
    assert layer.num_batches_tracked == 0
    layer.norm = nn.GroupNorm(2, 8)  # type: ignore[assignment]
    with pytest.raises(TypeError, match="norm of EdgeConv must be a BatchNorm1d or SyncBatchNorm, got GroupNorm"):
        layer(x)


def test_edge_layer_has_room_for_processes() -> None:
    assert EdgeLayer(torch.zeros(1), torch.zeros(1), torch.zeros(1)).process_group is None
