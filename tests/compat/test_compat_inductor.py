"""Every face under torch.compile as users call it: inductor, in one graph, forward and backward.

The other tests compile with "aot_eager", which traces alike and starts no compiler; these take half a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from oracles import CLOUDS
from torch import Tensor, nn

from pointkernels.compat import dgcnn, pointnet2, pytorch3d, torch_cluster
from pointkernels.compat import torch_geometric as face
from pointkernels.compat.dgcnn import get_graph_feature

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
BATCH = torch.tensor([0] * 10 + [1] * 14)


def by_dgcnn(x: Tensor) -> tuple[Tensor, ...]:
    return (dgcnn.get_graph_feature(x.transpose(1, 2), 4),)


def by_pytorch3d(x: Tensor) -> tuple[Tensor, ...]:
    y = x + 0.1
    found = pytorch3d.knn_points(x, y, K=3)
    ball = pytorch3d.ball_query(x, y, K=3, radius=1.0)
    samples, _ = pytorch3d.sample_farthest_points(x, K=4)
    chamfer, _ = pytorch3d.chamfer_distance(x, y.flip(1))
    return found.dists, pytorch3d.knn_gather(y, found.idx), ball.dists, samples, chamfer


def by_pointnet2(x: Tensor) -> tuple[Tensor, ...]:
    rows = x.transpose(1, 2).contiguous()
    centers = pointnet2.gather_operation(rows, pointnet2.furthest_point_sample(x, 5))
    sampled = centers.transpose(1, 2).contiguous()
    groups = pointnet2.grouping_operation(rows, pointnet2.ball_query(1.0, 4, x, sampled))
    distances, nearest = pointnet2.three_nn(x, sampled)
    weights = (distances + 1).reciprocal()
    return groups, pointnet2.three_interpolate(centers, nearest, weights)


def by_torch_cluster(x: Tensor) -> tuple[Tensor, ...]:
    rows = x[0]
    near, far = torch_cluster.knn_graph(rows, 3, BATCH)
    ball, center = torch_cluster.radius_graph(rows, 1.0, BATCH)
    samples = torch_cluster.fps(rows, BATCH, random_start=False)
    nearest = torch_cluster.nearest(rows, rows[samples])
    return rows[near] - rows[far], rows[ball] - rows[center], rows[samples], nearest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()


def assert_equal_results_and_gradients(call: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
    x = CLOUDS["random"].float().requires_grad_()
    found, expected = torch.compile(call, fullgraph=True)(x), call(x)
    gradients = []
    for results in (found, expected):
        total = sum(result.square().sum() for result in results if result.requires_grad)
        gradients.append(torch.autograd.grad(total, x)[0])
    for got, wanted in zip((*found, gradients[0]), (*expected, gradients[1]), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("call", [by_dgcnn, by_pytorch3d, by_pointnet2, by_torch_cluster])
def test_faces(call: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
    assert_equal_results_and_gradients(call)


def test_torch_geometric() -> None:
    pyg = pytest.importorskip("torch_geometric.nn", reason="torch_geometric is not installed")
    face.enable()
    layer = pyg.DynamicEdgeConv(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), k=4)

    def by_torch_geometric(x: Tensor) -> tuple[Tensor, ...]:
        samples = pyg.fps(x[0], BATCH, random_start=False, batch_size=2)
        return layer(x[0], BATCH), x[0][pyg.knn_graph(x[0], 3, BATCH)[0]], x[0][samples]

    assert_equal_results_and_gradients(by_torch_geometric)


class Layer(nn.Module):
    """An EdgeConv block of DGCNN."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.2))

    def forward(self, x: Tensor) -> Tensor:
        edges = self.conv(get_graph_feature(x, k=4))
        return edges.max(dim=-1)[0]


def test_a_fused_model() -> None:
    model = dgcnn.fuse_edge_convs(Layer()).eval()
    assert dgcnn.fused_edge_convs(model) == ["conv"]
    assert_equal_results_and_gradients(lambda x: (model(x.transpose(1, 2)),))
