"""Every way to use the features of neighbours that is compared: in plain PyTorch, and by the libraries installed.

Each builder returns a contender whose result is the output and the gradients by name, or the output alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from harness.contenders import Contender, LeftOut, Settings, ours, require, require_device
from torch import Tensor

import pointkernels

MEMORY_LIMIT = 2 << 30  # bytes; ways that need more are not tried
Result = dict[str, Tensor]


@dataclass(frozen=True)
class Task:
    """What is computed.

    Attributes:
        operator: "gather", "interpolate" or "chamfer".
        points: (B, N, 3).
        queries: (B, M, 3).
        features: (B, N, C) of the points; not for chamfer.
        neighbors: (B, M, K) int64; for gather.
        k: neighbours that interpolation mixes.
        backward: whether gradients in features or in points are computed.
        upstream: the gradient of the output.
    """

    operator: str
    points: Tensor
    queries: Tensor
    features: Tensor
    neighbors: Tensor
    k: int
    backward: bool
    upstream: Tensor


def _contender(name: str, package: str, task: Task, forward: Callable[[Tensor, Tensor], Tensor]) -> Contender:
    """Forward takes (points, features)."""
    differentiated = "points" if task.operator == "chamfer" else "features"
    points, features = task.points.detach().clone(), task.features.detach().clone()
    leaf = points if differentiated == "points" else features

    def call() -> list[Tensor]:
        if not task.backward:
            with torch.no_grad():
                return [forward(points, features)]
        leaf.requires_grad_()
        output = forward(points, features)
        return [output.detach(), torch.autograd.grad(output, leaf, task.upstream)[0]]

    return Contender(
        name, call, package, result=lambda values: dict(zip(("output", differentiated), values, strict=False))
    )


def pointkernels_operator(task: Task, settings: Settings) -> list[Contender]:
    """The operators of this project."""
    forward: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "gather": lambda points, features: pointkernels.gather_neighbors(features, task.neighbors),
        "interpolate": lambda points, features: pointkernels.interpolate(features, points, task.queries, k=task.k),
        "chamfer": lambda points, features: pointkernels.chamfer_distance(points, task.queries),
    }
    made = _contender("pointkernels", "pointkernels", task, forward[task.operator])
    return ours(made.call, settings, made.result)


def indexed(features: Tensor, neighbors: Tensor) -> Tensor:
    """Features of neighbours as PointNet++'s code in PyTorch takes them: advanced indexing."""
    cloud = torch.arange(len(features), device=features.device)[:, None, None]
    return features[cloud, neighbors]


def gathered(features: Tensor, neighbors: Tensor) -> Tensor:
    """Features of neighbours by torch.gather over an expanded tensor."""
    batch, queries, k = neighbors.shape
    index = neighbors.view(batch, -1, 1).expand(-1, -1, features.shape[2])
    return features.gather(1, index).view(batch, queries, k, -1)


def _mixed(task: Task, points: Tensor, features: Tensor) -> Tensor:
    """Feature propagation as PointNet++'s code in PyTorch writes it, by squared distances, without its epsilon."""
    distances = (task.queries[:, :, None] - points[:, None]).square().sum(dim=3)
    distances, neighbors = distances.topk(task.k, largest=False)
    weights = distances.clamp(min=1e-16).reciprocal()
    weights = weights / weights.sum(dim=2, keepdim=True)
    return (indexed(features, neighbors) * weights[..., None]).sum(dim=2)


def nearest_by_matrix(x: Tensor, y: Tensor) -> Tensor:
    """Chamfer distance by all squared differences."""
    distances = (x[:, :, None] - y[:, None]).square().sum(dim=3)
    return distances.amin(dim=2).mean(dim=1) + distances.amin(dim=1).mean(dim=1)


def _require_matrices(task: Task) -> None:
    size = 12 * task.points.shape[0] * task.points.shape[1] * task.queries.shape[1]
    size *= 2 if task.backward else 1
    if task.operator != "gather" and size > MEMORY_LIMIT:
        raise LeftOut(f"its differences of all pairs would take {size / 1e9:.1f} GB")


def by_definition(task: Task) -> Contender:
    """Plain PyTorch that needs memory for some queries at a time only; for checks in float64."""

    def nearest(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        parts = [
            (part[:, None] - points[0]).square().sum(dim=2).topk(k, largest=False) for part in queries[0].split(512)
        ]
        distances, neighbors = (torch.cat(values)[None] for values in zip(*parts, strict=True))
        return distances, neighbors

    def forward(points: Tensor, features: Tensor) -> Tensor:
        if task.operator == "gather":
            return indexed(features, task.neighbors)
        if task.operator == "chamfer":
            there, back = nearest(task.queries, points, 1)[0], nearest(points, task.queries, 1)[0]
            return there.mean(dim=(1, 2)) + back.mean(dim=(1, 2))
        distances, neighbors = nearest(points, task.queries, task.k)
        weights = distances.clamp(min=1e-16).reciprocal()
        return (indexed(features, neighbors) * (weights / weights.sum(dim=2, keepdim=True))[..., None]).sum(dim=2)

    return _contender("reference", "torch", task, forward)


def torch_composition(task: Task, settings: Settings) -> Contender:
    """What projects without compiled kernels do."""
    _require_matrices(task)
    name, forward = {
        "gather": ("torch indexing", lambda points, features: indexed(features, task.neighbors)),
        "interpolate": ("torch differences+topk", lambda points, features: _mixed(task, points, features)),
        "chamfer": ("torch differences+amin", lambda points, features: nearest_by_matrix(points, task.queries)),
    }[task.operator]
    return _contender(name, "torch", task, forward)


def torch_gather(task: Task, settings: Settings) -> Contender:
    """The other way to gather in PyTorch."""
    return _contender("torch gather", "torch", task, lambda points, features: gathered(features, task.neighbors))


def torch_geometric(task: Task, settings: Settings) -> Contender:
    """knn_interpolate of torch_geometric; without pyg-lib its search is ours, the rest is its own."""
    require("torch_geometric")
    from torch_geometric import typing
    from torch_geometric.nn.unpool import knn_interpolate

    from pointkernels.compat.torch_geometric import enable

    searches_itself = typing.WITH_KNN and "knn" not in enable()
    enable()
    batch, count, channels = task.features.shape
    queries = task.queries.flatten(0, 1)
    clouds = torch.arange(batch, device=queries.device)
    of_points, of_queries = clouds.repeat_interleave(count), clouds.repeat_interleave(task.queries.shape[1])

    def forward(points: Tensor, features: Tensor) -> Tensor:
        output: Tensor = knn_interpolate(
            features.flatten(0, 1), points.flatten(0, 1), queries, of_points, of_queries, k=task.k
        )
        return output.view(batch, -1, channels)

    name = "torch_geometric knn_interpolate" + ("" if searches_itself else " with our knn")
    return _contender(name, "torch_geometric", task, forward)


def pytorch3d(task: Task, settings: Settings) -> Contender:
    """knn_gather and chamfer_distance of PyTorch3D."""
    operators, loss = require("pytorch3d.ops"), require("pytorch3d.loss")
    if task.operator == "gather":
        return _contender(
            "pytorch3d knn_gather", "pytorch3d", task,
            lambda points, features: operators.knn_gather(features, task.neighbors),
        )  # fmt: skip
    return _contender(
        "pytorch3d chamfer_distance", "pytorch3d", task,
        lambda points, features: loss.chamfer_distance(points, task.queries, batch_reduction=None)[0],
    )  # fmt: skip


def scipy_tree(task: Task, settings: Settings) -> Contender:
    """Chamfer distance by two k-d trees of scipy; it has no gradient."""
    spatial = require("scipy.spatial")
    require_device(settings, "cpu")
    if task.backward:
        raise LeftOut("has no gradient")
    pairs = [(x.numpy(), y.numpy()) for x, y in zip(task.points, task.queries, strict=True)]

    def one_way(x: object, y: object) -> float:
        found = spatial.cKDTree(y).query(x, workers=settings.threads)[0]
        return float((found**2).mean())

    return Contender(
        "scipy cKDTree", lambda: [one_way(x, y) + one_way(y, x) for x, y in pairs], "scipy",
        result=lambda values: {"output": torch.tensor(values)},
    )  # fmt: skip


Builder = Callable[[Task, Settings], Contender | list[Contender]]
BUILDERS: dict[str, dict[str, Builder]] = {
    "gather": {
        "pointkernels": pointkernels_operator,
        "torch indexing": torch_composition,
        "torch gather": torch_gather,
        "pytorch3d": pytorch3d,
    },
    "interpolate": {
        "pointkernels": pointkernels_operator,
        "torch differences+topk": torch_composition,
        "torch_geometric": torch_geometric,
    },
    "chamfer": {
        "pointkernels": pointkernels_operator,
        "torch differences+amin": torch_composition,
        "scipy cKDTree": scipy_tree,
        "pytorch3d": pytorch3d,
    },
}
