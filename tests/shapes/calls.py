"""Every public function and layer as a call whose sizes can change: inputs of (batch, points), and what is called."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import pointkernels
from pointkernels.compat import dgcnn, pointnet2, pytorch3d, torch_cluster

K = 4


@dataclass(frozen=True)
class Call:
    """A call of a public name, such as "pointkernels.knn".

    Attributes:
        covers: that name.
        inputs: tensors for a batch and a number of points; no other size of theirs may equal one of these.
        module: what is called.
        dynamic: which dimensions of each input change with the sizes.
    """

    covers: str
    inputs: Callable[[int, int], tuple[Tensor, ...]]
    module: nn.Module
    dynamic: tuple[tuple[int, ...], ...]


class _Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


def _points(batch: int, points: int, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(batch, points, channels, generator=torch.Generator().manual_seed(seed))


def _lists(batch: int, points: int, k: int = K) -> Tensor:
    return pointkernels.knn(_points(batch, points, seed=1), k)


def _first(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.transpose(1, 2).contiguous() for t in tensors)


def _packed(batch: int, points: int) -> tuple[Tensor, Tensor]:
    return _points(batch, points).flatten(0, 1), torch.arange(batch).repeat_interleave(points)


def _graph(batch: int, points: int) -> tuple[Tensor, Tensor]:
    rows, clouds = _packed(batch, points)
    return rows, torch_cluster.knn_graph(rows, K, clouds)


def calls() -> Iterator[tuple[str, Call]]:
    """By name; several may cover one function."""
    both, rows = (0, 1), (0,)
    weight, one, zero = torch.linspace(-1, 1, 48).view(8, 6), torch.ones(8), torch.zeros(8)
    second, six = torch.linspace(-1, 1, 40).view(5, 8), (torch.ones(8), torch.zeros(8))
    five = torch.ones(5), torch.zeros(5)

    def cloud(b: int, n: int) -> tuple[Tensor]:
        return (_points(b, n),)

    def two(b: int, n: int) -> tuple[Tensor, Tensor]:
        return _points(b, n), _points(b, 2 * n, seed=2)

    def listed(b: int, n: int) -> tuple[Tensor, Tensor]:
        return _points(b, n), _lists(b, n)

    def function(covers: str, inputs: Any, dynamic: Any, call: Callable[..., Any], variant: str = "") -> Any:
        return covers + variant, Call(covers, inputs, _Function(call), dynamic)

    own = "pointkernels."
    yield function(own + "knn", cloud, (both,), lambda x: pointkernels.knn(x, K, return_distance=True))
    yield function(
        own + "knn", lambda b, n: (*two(b, n), torch.full((b,), n - 1)), (both, both, rows),
        lambda x, q, lengths: pointkernels.knn(x, K, query=q, lengths=lengths), " of lengths",
    )  # fmt: skip
    yield function(own + "ball_query", cloud, (both,), lambda x: pointkernels.ball_query(x, 0.3, K))
    yield function(
        own + "ball_query", two, (both, both),
        lambda x, q: pointkernels.ball_query(x, 0.3, K, query=q, nearest=True, return_distance=True), " nearest",
    )  # fmt: skip
    yield function(
        own + "farthest_point_sampling", cloud, (both,), lambda x: pointkernels.farthest_point_sampling(x, 5)
    )
    yield function(
        own + "farthest_point_sampling", cloud, (both,),
        lambda x: pointkernels.farthest_point_sampling(x, x.shape[1] // 2), " of half",
    )  # fmt: skip
    yield function(own + "gather_neighbors", listed, (both, both), pointkernels.gather_neighbors)
    yield function(
        own + "gather_weighted", lambda b, n: (*listed(b, n), torch.rand(b, n, K)), (both, both, both),
        pointkernels.gather_weighted,
    )  # fmt: skip
    yield function(
        own + "interpolate", lambda b, n: (_points(b, n, 7), *two(b, n)), (both, both, both),
        lambda f, p, q: pointkernels.interpolate(f, p, q, k=3),
    )  # fmt: skip
    yield function(own + "chamfer_distance", two, (both, both), pointkernels.chamfer_distance)
    yield function(own + "linear", cloud, (both,), lambda x: pointkernels.linear(x, weight[:, :3]))
    yield function(
        own + "edge_conv", listed, (both, both),
        lambda x, lists: pointkernels.edge_conv(x, lists, weight, one, zero, None, None, training=True),
    )  # fmt: skip
    layer = pointkernels.EdgeLayer
    yield function(
        own + "edge_conv_two_layer", listed, (both, both),
        lambda x, lists: pointkernels.edge_conv_two_layer(
            x, lists, layer(weight, *six, None, None, True), layer(second, *five, None, None, True)
        ),
    )  # fmt: skip

    layers = pointkernels.nn
    graph = (rows, (1,))
    for name, inputs, dynamic, module in (
        ("EdgeConv", cloud, (both,), layers.EdgeConv(3, 8, k=K)),
        ("TwoLayerEdgeConv", cloud, (both,), layers.TwoLayerEdgeConv(3, 6, 8, k=K)),
        ("GraphEdgeConv", _graph, graph, layers.GraphEdgeConv(3, 8)),
        ("DynamicEdgeConv", _packed, (rows, rows), layers.DynamicEdgeConv(3, 8, k=K)),
        ("TwoLayerGraphEdgeConv", _graph, graph, layers.TwoLayerGraphEdgeConv(3, 5, 8)),
        ("TwoLayerDynamicEdgeConv", _packed, (rows, rows), layers.TwoLayerDynamicEdgeConv(3, 5, 8, k=K)),
    ):
        covers = f"pointkernels.nn.{name}"
        for training in (False, True):
            yield (
                f"{covers} {'training' if training else 'evaluation'}",
                Call(covers, inputs, module if training else copy.deepcopy(module).eval(), dynamic),
            )

    last = ((0, 2),)
    yield function("dgcnn.knn", lambda b, n: _first(_points(b, n)), last, lambda x: dgcnn.knn(x, K))
    yield function(
        "dgcnn.get_graph_feature", lambda b, n: _first(_points(b, n)), last, lambda x: dgcnn.get_graph_feature(x, K)
    )
    yield function("pointnet2.furthest_point_sample", cloud, (both,), lambda x: pointnet2.furthest_point_sample(x, 5))
    yield function(
        "pointnet2.gather_operation", lambda b, n: (*_first(_points(b, n)), _lists(b, n)[:, :, 0].int()),
        (*last, both), pointnet2.gather_operation,
    )  # fmt: skip
    yield function(
        "pointnet2.grouping_operation", lambda b, n: (*_first(_points(b, n)), _lists(b, n).int()), (*last, both),
        pointnet2.grouping_operation,
    )  # fmt: skip
    yield function("pointnet2.three_nn", two, (both, both), pointnet2.three_nn)
    yield function(
        "pointnet2.three_interpolate",
        lambda b, n: (*_first(_points(b, n, 7)), _lists(b, n, 3).int(), torch.rand(b, n, 3)), (*last, both, both),
        pointnet2.three_interpolate,
    )  # fmt: skip
    yield function("pointnet2.ball_query", two, (both, both), lambda x, q: pointnet2.ball_query(0.3, K, x, q))
    yield function("pytorch3d.knn_points", two, (both, both), lambda x, y: tuple(pytorch3d.knn_points(x, y, K=3))[:2])
    yield function("pytorch3d.knn_gather", listed, (both, both), pytorch3d.knn_gather)
    yield function(
        "pytorch3d.ball_query", two, (both, both), lambda x, y: tuple(pytorch3d.ball_query(x, y, K=3, radius=0.3))[:2]
    )
    yield function(
        "pytorch3d.sample_farthest_points", cloud, (both,), lambda x: pytorch3d.sample_farthest_points(x, K=5)
    )
    yield function("pytorch3d.chamfer_distance", two, (both, both), lambda x, y: pytorch3d.chamfer_distance(x, y)[0])
    cluster = (rows, rows)
    yield function("torch_cluster.knn", _packed, cluster, lambda x, b: torch_cluster.knn(x, x, K, b, b))
    yield function("torch_cluster.knn_graph", _packed, cluster, lambda x, b: torch_cluster.knn_graph(x, K, b))
    yield function("torch_cluster.radius", _packed, cluster, lambda x, b: torch_cluster.radius(x, x, 0.3, b, b))
    yield function("torch_cluster.radius_graph", _packed, cluster, lambda x, b: torch_cluster.radius_graph(x, 0.3, b))
    yield function("torch_cluster.fps", _packed, cluster, lambda x, b: torch_cluster.fps(x, b, 0.5, random_start=False))
    yield function("torch_cluster.nearest", _packed, cluster, lambda x, b: torch_cluster.nearest(x, x, b, b))
    yield function(
        "torch_cluster.grid_cluster", lambda b, n: _packed(b, n)[:1], (rows,),
        lambda x: torch_cluster.grid_cluster(x, torch.full((3,), 0.3)),
    )  # fmt: skip


def networks() -> dict[str, nn.Module]:
    """The encoders of crosspoint and what is built on them, by class; for clouds (B, N, 3)."""
    from crosspoint.models.classifier import Classifier
    from crosspoint.models.dgcnn import DGCNN
    from crosspoint.models.dgcnn_seg import DGCNNSeg
    from crosspoint.models.pointnet import PointNet
    from crosspoint.models.segmentation import SemanticSegmenter

    made = (
        DGCNN(k=5, widths=(8, 8), embedding=16),
        DGCNNSeg(k=5, embedding=16),
        PointNet(embedding=16, t_net=True),
        Classifier(DGCNN(k=5, widths=(8, 8), embedding=16), 4, hidden=(8, 8)),
        SemanticSegmenter(4, in_channels=3, k=5, embedding=16),
    )
    return {type(network).__name__: network.eval() for network in made}
