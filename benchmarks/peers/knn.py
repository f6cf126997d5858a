"""Every way to a kNN graph that is compared: in plain PyTorch, and by the libraries that are installed.

Each builder returns a contender whose result is (B, N, k) indices, the point itself included. Inputs are laid out as
the library likes them beforehand; building its index and asking it about every cloud of the batch is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from harness.contenders import Contender, LeftOut, Settings, ours, require, require_device
from torch import Tensor

import pointkernels

MEMORY_LIMIT = 2 << 30  # bytes; ways that need more are not tried
MOST_IN_CHUNKS = 200_000  # points of a cloud whose pairs are still all compared
PAIRS_LIMIT = 1 << 32  # pairs of points; brute force on more takes half a minute and more


def pointkernels_knn(points: Tensor, k: int, settings: Settings) -> list[Contender]:
    """The operator of this project."""
    return ours(lambda: pointkernels.knn(points, k), settings)


def require_matrices(points: Tensor, matrices: int) -> None:
    """Raise LeftOut where so many matrices of all pairs at a time would take too much memory."""
    batch, count, _ = points.shape
    size = 4 * batch * count * count * matrices
    if size > MEMORY_LIMIT:
        raise LeftOut(f"its matrices of all pairs would take {size / 1e9:.1f} GB")


def require_few_pairs(points: Tensor) -> None:
    """Raise LeftOut where brute force would look at too many pairs."""
    batch, count, _ = points.shape
    if batch * count * count > PAIRS_LIMIT:
        raise LeftOut(f"brute force on {batch * count * count:.1e} pairs of points takes minutes")


def torch_cdist(points: Tensor, k: int, settings: Settings) -> Contender:
    """The shortest way in PyTorch. cdist multiplies matrices from 26 points on, hence cancellation."""
    require_matrices(points, 1)
    return Contender(
        "torch cdist+topk", lambda: torch.cdist(points, points).topk(k, largest=False).indices, "torch", exact=False
    )


def matmul_topk(x: Tensor, k: int) -> Tensor:
    """The kNN of DGCNN's code: channels first, negative squared distances by expansion."""
    product = torch.matmul(x.transpose(2, 1), x)
    squares = (x**2).sum(dim=1, keepdim=True)
    return (2 * product - squares - squares.transpose(2, 1)).topk(k=k, dim=-1)[1]


def torch_in_chunks(points: Tensor, k: int, settings: Settings) -> Contender:
    """Cdist and topk over parts of the queries, where all of them at once do not fit: what users then write."""
    require_device(settings, "cuda")  # on a CPU it takes minutes
    batch, count, _ = points.shape
    rows = MEMORY_LIMIT // (batch * count * points.element_size() * 2)
    if rows >= count:
        raise LeftOut("all queries at once fit")
    if count > MOST_IN_CHUNKS:
        raise LeftOut(f"more than {MOST_IN_CHUNKS} points take seconds")

    def call() -> Tensor:
        parts = [torch.cdist(part, points).topk(k, largest=False).indices for part in points.split(rows, dim=1)]
        return torch.cat(parts, dim=1)

    return Contender("torch cdist+topk in chunks", call, "torch", exact=False)


def torch_matmul(points: Tensor, k: int, settings: Settings) -> Contender:
    """What DGCNN and its descendants do."""
    require_matrices(points, 3)
    x = points.transpose(1, 2).contiguous()
    return Contender("torch matmul+topk (DGCNN)", lambda: matmul_topk(x, k), "torch", exact=False)


def torch_compiled(points: Tensor, k: int, settings: Settings) -> Contender:
    """The same, compiled."""
    if not settings.compiled:
        raise LeftOut("asked for with --compile")
    require_matrices(points, 2)
    x = points.transpose(1, 2).contiguous()
    torch.compiler.reset()
    compiled = torch.compile(matmul_topk, dynamic=False)
    return Contender("torch.compile matmul+topk", lambda: compiled(x, k), "torch", exact=False, compiles=True)


def _by_cloud(name: str, package: str, points: Tensor, settings: Settings, query: Callable[[Any], Any]) -> Contender:
    """A contender of a library that takes one numpy cloud at a time."""
    require_device(settings, "cpu")
    clouds = [np.ascontiguousarray(cloud) for cloud in points.numpy()]
    return Contender(name, lambda: [query(cloud) for cloud in clouds], package, result=_stacked)


def _stacked(indices: list[Any]) -> Tensor:
    return torch.from_numpy(np.stack(indices).astype(np.int64))


def scipy_tree(points: Tensor, k: int, settings: Settings) -> Contender:
    """A k-d tree of scipy, balanced, as its default is."""
    spatial = require("scipy.spatial")
    return _by_cloud(
        "scipy cKDTree", "scipy", points, settings,
        lambda cloud: spatial.cKDTree(cloud).query(cloud, k, workers=settings.threads)[1].reshape(len(cloud), k),
    )  # fmt: skip


def scipy_unbalanced(points: Tensor, k: int, settings: Settings) -> Contender:
    """A k-d tree of scipy split at midpoints, which builds faster."""
    spatial = require("scipy.spatial")
    return _by_cloud(
        "scipy cKDTree balanced_tree=False", "scipy", points, settings,
        lambda cloud: spatial.cKDTree(cloud, balanced_tree=False, compact_nodes=False).query(
            cloud, k, workers=settings.threads)[1].reshape(len(cloud), k),
    )  # fmt: skip


def sklearn_tree(points: Tensor, k: int, settings: Settings) -> Contender:
    """KDTree of scikit-learn, which has no threads of its own."""
    neighbors = require("sklearn.neighbors")
    return _by_cloud(
        "scikit-learn KDTree", "scikit-learn", points, settings,
        lambda cloud: neighbors.KDTree(cloud).query(cloud, k, return_distance=False),
    )  # fmt: skip


def sklearn_brute(points: Tensor, k: int, settings: Settings) -> Contender:
    """Brute force of scikit-learn: blocks of a matrix product in float64 with a heap per query."""
    neighbors = require("sklearn.neighbors")
    require_few_pairs(points)

    def query(cloud: Any) -> Any:
        search = neighbors.NearestNeighbors(n_neighbors=k, algorithm="brute", n_jobs=settings.threads).fit(cloud)
        return search.kneighbors(cloud, return_distance=False)

    return _by_cloud("scikit-learn brute", "scikit-learn", points, settings, query)


def pykdtree(points: Tensor, k: int, settings: Settings) -> Contender:
    """pykdtree; its threads follow OpenMP's."""
    kdtree = require("pykdtree.kdtree")
    if points.shape[2] > 127:
        raise LeftOut("takes at most 127 coordinates")
    return _by_cloud(
        "pykdtree", "pykdtree", points, settings,
        lambda cloud: kdtree.KDTree(cloud).query(cloud, k=k, sqr_dists=True)[1].reshape(len(cloud), k),
    )  # fmt: skip


def nanoflann(points: Tensor, k: int, settings: Settings) -> Contender:
    """Nanoflann through pynanoflann."""
    module = require("pynanoflann")

    def query(cloud: Any) -> Any:
        tree = module.KDTree(n_neighbors=k, metric="L2", leaf_size=10)
        tree.fit(cloud)
        return tree.kneighbors(cloud, n_jobs=settings.threads)[1]

    return _by_cloud("pynanoflann", "pynanoflann", points, settings, query)


def faiss_flat(points: Tensor, k: int, settings: Settings) -> Contender:
    """Brute force of faiss: a matrix product and a selection, on the CPU or, in its GPU build, there."""
    faiss = require("faiss")
    require_few_pairs(points)
    if settings.device == "cuda":
        if not hasattr(faiss, "StandardGpuResources"):
            raise LeftOut("installed without its GPU part")
        require("faiss.contrib.torch_utils")
        resources = faiss.StandardGpuResources()
        return Contender(
            "faiss GPU", lambda: torch.stack([faiss.knn_gpu(resources, c, c, k)[1] for c in points]), "faiss-gpu",
            exact=False,
        )  # fmt: skip

    def query(cloud: Any) -> Any:
        index = faiss.IndexFlatL2(cloud.shape[1])
        index.add(cloud)
        return index.search(cloud, k)[1]

    contender = _by_cloud("faiss IndexFlatL2", "faiss-cpu", points, settings, query)
    return replace(contender, before=partial(faiss.omp_set_num_threads, settings.threads), exact=False)


def keops(points: Tensor, k: int, settings: Settings) -> Contender:
    """KeOps, which compiles a kernel for the formula on first use."""
    lazy = require("pykeops.torch").LazyTensor
    require_few_pairs(points)

    def call() -> Any:
        query, candidates = lazy(points[:, :, None, :]), lazy(points[:, None, :, :])
        return ((query - candidates) ** 2).sum(-1).argKmin(k, dim=2)

    return Contender("pykeops argKmin", call, "pykeops", compiles=True)


def torch_cluster(points: Tensor, k: int, settings: Settings) -> Contender:
    """torch_cluster, which takes a batch vector."""
    module = require("torch_cluster")
    batch, count, channels = points.shape
    flat = points.reshape(-1, channels)
    cloud = torch.arange(batch, device=points.device).repeat_interleave(count)
    first = (torch.arange(batch, device=points.device) * count)[:, None, None]
    return Contender(
        "torch_cluster knn", lambda: module.knn(flat, flat, k, cloud, cloud), "torch-cluster",
        result=lambda edges: edges[1].view(batch, count, k) - first,
    )  # fmt: skip


def pytorch3d(points: Tensor, k: int, settings: Settings) -> Contender:
    """knn_points of PyTorch3D."""
    operators = require("pytorch3d.ops")
    return Contender("pytorch3d knn_points", lambda: operators.knn_points(points, points, K=k).idx, "pytorch3d")


BUILDERS: dict[str, Callable[[Tensor, int, Settings], Contender | list[Contender]]] = {
    "pointkernels": pointkernels_knn,
    "torch cdist+topk": torch_cdist,
    "torch cdist+topk in chunks": torch_in_chunks,
    "torch matmul+topk (DGCNN)": torch_matmul,
    "torch.compile matmul+topk": torch_compiled,
    "scipy cKDTree": scipy_tree,
    "scipy cKDTree balanced_tree=False": scipy_unbalanced,
    "scikit-learn KDTree": sklearn_tree,
    "scikit-learn brute": sklearn_brute,
    "pykdtree": pykdtree,
    "pynanoflann": nanoflann,
    "faiss": faiss_flat,
    "pykeops": keops,
    "torch_cluster": torch_cluster,
    "pytorch3d": pytorch3d,
}
