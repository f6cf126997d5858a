"""Point-cloud functions of torch_cluster: neighbours, radius, farthest point sampling, nearest centre, voxel grid.

Change `from torch_cluster import ...` to `from pointkernels.compat.torch_cluster import ...`: same names, argument
order, defaults, shapes and order of edges. What differs:

- any k (torch_cluster stops at 100 on a GPU), any distance (there, neighbours farther than 1e5 are lost, and `fps` goes
  wrong beyond 224 units), `cosine` on the CPU too, threads within a cloud, torch.compile;
- ties go to the lower index on every device; with duplicates, `knn_graph` still gives each point exactly k others,
  `radius_graph` never more than `max_num_neighbors`, and `fps` takes no point twice; a cloud may be without points;
- `radius` takes the first `max_num_neighbors` points in index order, as torch_cluster does on a GPU (its documentation
  says "randomly", and on a CPU the order is that of its tree); points at exactly the radius are outside, as there;
- a random start of `fps` follows `torch.manual_seed`;
- batch vectors must be sorted; on the CPU that is checked. `num_workers` changes nothing: torch's threads are used.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from pointkernels import _checks
from pointkernels.compat import _packed

__all__ = ["fps", "grid_cluster", "knn", "knn_graph", "nearest", "radius", "radius_graph"]


def knn(
    x: Tensor,
    y: Tensor,
    k: int,
    batch_x: Tensor | None = None,
    batch_y: Tensor | None = None,
    cosine: bool = False,
    num_workers: int = 1,
    batch_size: int | None = None,
) -> Tensor:
    """For each row of y the k nearest rows of x of the same cloud.

    Args:
        x: (N, F) or (N,) points, floating or integer.
        y: (M, F) or (M,) queries.
        k: number of neighbours.
        batch_x: (N,) int64 or int32, sorted: the cloud of each row; None for one cloud.
        batch_y: (M,) int64 or int32, likewise.
        cosine: rank by cosine distance instead of Euclidean.
        num_workers: ignored.
        batch_size: number of clouds; None to look it up (which waits for the GPU).

    Returns:
        (2, E) int64: rows of y above rows of x, by row of y, nearest first; fewer than k where a cloud has fewer rows.

    Raises:
        TypeError: x or y is not a tensor, or of different dtypes; a batch vector is not integer.
        ValueError: wrong shapes or devices, k below 1, a batch vector that is not sorted.

    Example:
        >>> x = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
        >>> pointkernels.compat.torch_cluster.knn(x, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), 2)
        tensor([[0, 0, 1, 1],
                [0, 1, 2, 3]])
    """
    x, y = _pair(x, y)
    k = _checks.at_least_one(k, "k")
    ptr_x, ptr_y = _pointers(x, y, batch_x, batch_y, batch_size)
    return _packed.knn_edges(x, y, ptr_x, ptr_y, k, cosine)


def knn_graph(
    x: Tensor,
    k: int,
    batch: Tensor | None = None,
    loop: bool = False,
    flow: str = "source_to_target",
    cosine: bool = False,
    num_workers: int = 1,
    batch_size: int | None = None,
) -> Tensor:
    """The edges between each row of x and its k nearest others.

    Args:
        x: (N, F) or (N,) points, floating or integer.
        k: number of neighbours.
        batch: (N,) int64 or int32, sorted: the cloud of each row; None for one cloud.
        loop: whether a row is a neighbour of itself.
        flow: "source_to_target": neighbours above rows; "target_to_source": rows above neighbours.
        cosine: rank by cosine distance instead of Euclidean.
        num_workers: ignored.
        batch_size: number of clouds; None to look it up (which waits for the GPU).

    Returns:
        (2, E) int64.

    Raises:
        TypeError: x is not a tensor, batch is not integer.
        ValueError: wrong shapes or devices, k below 1, another flow, a batch vector that is not sorted.

    Example:
        >>> pointkernels.compat.torch_cluster.knn_graph(torch.tensor([0.0, 1.0, 3.0]), k=1)
        tensor([[1, 0, 1],
                [0, 1, 2]])
    """
    _check_flow(flow)
    x, _ = _pair(x, x)
    k = _checks.at_least_one(k, "k")
    ptr, _ = _pointers(x, x, batch, batch, batch_size)
    # A row is its own first neighbour, so one more finds k others, whatever duplicates there are.
    edges = _packed.knn_edges(x, x, ptr, ptr, k if loop else k + 1, cosine)
    if not loop:
        edges = edges[:, edges[0] != edges[1]]
    return edges.flip(0) if flow == "source_to_target" else edges.contiguous()


def radius(
    x: Tensor,
    y: Tensor,
    r: float,
    batch_x: Tensor | None = None,
    batch_y: Tensor | None = None,
    max_num_neighbors: int = 32,
    num_workers: int = 1,
    batch_size: int | None = None,
    ignore_same_index: bool = False,
) -> Tensor:
    """For each row of y the rows of x of the same cloud within a distance.

    Args:
        x: (N, F) or (N,) points, floating or integer.
        y: (M, F) or (M,) queries.
        r: distance; a point at exactly r is outside.
        batch_x: (N,) int64 or int32, sorted: the cloud of each row; None for one cloud.
        batch_y: (M,) int64 or int32, likewise.
        max_num_neighbors: at most so many for each query, the first in index order.
        num_workers: ignored.
        batch_size: number of clouds; None to look it up (which waits for the GPU).
        ignore_same_index: leave out row i of x for row i of y.

    Returns:
        (2, E) int64: rows of y above rows of x, ascending.

    Raises:
        TypeError: x or y is not a tensor, or of different dtypes; a batch vector is not integer.
        ValueError: wrong shapes or devices, a negative r, max_num_neighbors below 1, a batch vector that is not sorted.

    Example:
        >>> x = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
        >>> pointkernels.compat.torch_cluster.radius(x, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), 1.5)
        tensor([[0, 0, 1, 1],
                [0, 1, 2, 3]])
    """
    x, y = _pair(x, y)
    limit = _checks.at_least_one(max_num_neighbors, "max_num_neighbors")
    r = _checks.real_number(r, "r")
    if not r >= 0:
        raise ValueError(f"r must be at least 0, got {r}")
    ptr_x, ptr_y = _pointers(x, y, batch_x, batch_y, batch_size)
    return _packed.radius_edges(x, y, ptr_x, ptr_y, float(r), limit, ignore_same_index)


def radius_graph(
    x: Tensor,
    r: float,
    batch: Tensor | None = None,
    loop: bool = False,
    max_num_neighbors: int = 32,
    flow: str = "source_to_target",
    num_workers: int = 1,
    batch_size: int | None = None,
) -> Tensor:
    """The edges between each row of x and the others within a distance.

    Args:
        x: (N, F) or (N,) points, floating or integer.
        r: distance; a point at exactly r is outside.
        batch: (N,) int64 or int32, sorted: the cloud of each row; None for one cloud.
        loop: whether a row is a neighbour of itself.
        max_num_neighbors: at most so many for each row, the first in index order.
        flow: "source_to_target": neighbours above rows; "target_to_source": rows above neighbours.
        num_workers: ignored.
        batch_size: number of clouds; None to look it up (which waits for the GPU).

    Returns:
        (2, E) int64.

    Raises:
        TypeError: x is not a tensor, batch is not integer.
        ValueError: wrong shapes or devices, a negative r, max_num_neighbors below 1, another flow, a batch vector that
            is not sorted.

    Example:
        >>> pointkernels.compat.torch_cluster.radius_graph(torch.tensor([0.0, 1.0, 3.0]), 2.5)
        tensor([[1, 0, 2, 1],
                [0, 1, 1, 2]])
    """
    _check_flow(flow)
    edges = radius(x, x, r, batch, batch, max_num_neighbors, num_workers, batch_size, not loop)
    return edges.flip(0) if flow == "source_to_target" else edges


def fps(
    src: Tensor,
    batch: Tensor | None = None,
    ratio: float | Tensor | None = None,
    random_start: bool = True,
    batch_size: int | None = None,
    ptr: Tensor | list[int] | None = None,
) -> Tensor:
    """Farthest point sampling of a share of each cloud.

    Args:
        src: (N, F) or (N,) points, floating or integer.
        batch: (N,) int64 or int32, sorted: the cloud of each row; None for one cloud.
        ratio: share of the points, in (0, 1]: one number, or a (B,) tensor; None for 0.5. Counts are rounded up.
        random_start: start at a random point of each cloud (of torch's generator) rather than at the first.
        batch_size: number of clouds; None to look it up (which waits for the GPU).
        ptr: (B + 1,) where each cloud begins, as a tensor or list; takes the place of batch.

    Returns:
        (S,) int64 rows of src, cloud by cloud, in the order of sampling.

    Raises:
        TypeError: src is not a tensor, batch is not integer.
        ValueError: wrong shapes or devices, a ratio outside (0, 1], a batch vector that is not sorted.

    Example:
        >>> src = torch.tensor([0.0, 1.0, 5.0, 7.0])
        >>> pointkernels.compat.torch_cluster.fps(src, ratio=0.5, random_start=False)
        tensor([0, 3])
    """
    src, _ = _pair(src, src)
    if ptr is not None:
        starts = torch.as_tensor(ptr, dtype=torch.int64, device=src.device)
        if starts.dim() != 1 or starts.shape[0] < 1:
            raise ValueError(f"ptr must have shape (B + 1,), got {tuple(starts.shape)}")
    else:
        found, _ = _pointers(src, src, batch, batch, batch_size)
        starts = torch.tensor([0, src.shape[0]], device=src.device) if found is None else found
    share = torch.as_tensor(0.5 if ratio is None else ratio, dtype=torch.float32, device=src.device)
    if share.dim() > 1 or (share.dim() == 1 and share.shape[0] != starts.shape[0] - 1):
        raise ValueError(f"ratio must be a number or have shape ({starts.shape[0] - 1},), got {tuple(share.shape)}")
    smallest = torch.finfo(torch.float32).tiny
    _checks.check_range(share.reshape(-1), "ratio", smallest, 1, "lie in (0, 1]")  # type: ignore[arg-type]
    return _packed.fps_rows(src, starts, share, random_start)


def nearest(x: Tensor, y: Tensor, batch_x: Tensor | None = None, batch_y: Tensor | None = None) -> Tensor:
    """For each row of x the nearest row of y of the same cloud.

    Args:
        x: (N, F) or (N,) points, floating or integer.
        y: (M, F) or (M,) cluster centres.
        batch_x: (N,) int64 or int32, sorted: the cloud of each row; None for one cloud.
        batch_y: (M,) int64 or int32, likewise.

    Returns:
        (N,) int64 rows of y.

    Raises:
        TypeError: x or y is not a tensor, or of different dtypes; a batch vector is not integer.
        ValueError: wrong shapes or devices, a batch vector that is not sorted, a cloud of x without a row of y.

    Example:
        >>> pointkernels.compat.torch_cluster.nearest(torch.tensor([0.0, 1.0, 8.0]), torch.tensor([9.0, 1.0]))
        tensor([1, 1, 0])
    """
    x, y = _pair(x, y)
    ptr_x, ptr_y = _pointers(x, y, batch_x, batch_y, None)
    rows = _packed.nearest_rows(x, y, ptr_x, ptr_y)
    if rows.device.type == "cpu" and not torch.compiler.is_compiling() and bool((rows < 0).any()):
        raise ValueError("every cloud of x must have a row in y, got one without")
    return rows


def grid_cluster(pos: Tensor, size: Tensor, start: Tensor | None = None, end: Tensor | None = None) -> Tensor:
    """The cell of a regular grid that each point is in.

    Args:
        pos: (N, D) points.
        size: (D,) edge lengths of a cell.
        start: (D,) where the grid starts; None for the smallest coordinates.
        end: (D,) where it ends; None for the largest ones.

    Returns:
        (N,) int64 numbers of cells, the first coordinate running fastest.

    Raises:
        TypeError: pos is not a tensor.
        ValueError: size, start or end of another shape.

    Example:
        >>> pos = torch.tensor([[0.0, 0.0], [11.0, 9.0], [2.0, 8.0], [2.0, 2.0], [8.0, 3.0]])
        >>> pointkernels.compat.torch_cluster.grid_cluster(pos, torch.tensor([5.0, 5.0]))
        tensor([0, 5, 3, 0, 1])
    """
    pos, _ = _pair(pos, pos)
    for name, value in {"size": size, "start": start, "end": end}.items():
        if value is not None and (not isinstance(value, Tensor) or value.shape != pos.shape[1:]):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name} must be a tensor of shape ({pos.shape[1]},), got {shape}")
    return _packed.grid_cells(pos, size, start, end)


def _pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both as matrices; a vector is a column."""
    for name, value in (("x", x), ("y", y)):
        _checks.check_dense(value, name, "(N, F)")
        if value.dim() not in (1, 2):
            raise ValueError(f"{name} must have shape (N, F), got {tuple(value.shape)}")
        if value.is_complex() or (value.is_floating_point() and value.dtype not in _checks.FLOATING):
            raise TypeError(f"{name} must be integer, float16, bfloat16, float32 or float64, got {value.dtype}")
    same = x is y
    x = x[:, None] if x.dim() == 1 else x
    y = x if same else y[:, None] if y.dim() == 1 else y
    _checks.check_like(y, "y", x, "x")
    if x.shape[1] != y.shape[1] or x.shape[1] < 1:
        raise ValueError(f"x and y must have as many coordinates, at least one, got {x.shape[1]} and {y.shape[1]}")
    return x, y


def _pointers(
    x: Tensor, y: Tensor, batch_x: Tensor | None, batch_y: Tensor | None, batch_size: int | None
) -> tuple[Tensor | None, Tensor | None]:
    """Where each cloud begins in x and in y; None for a single cloud."""
    if batch_x is None and batch_y is None:
        return None, None
    same = batch_x is batch_y
    sizes = [1 if batch_size is None else _checks.at_least_one(batch_size, "batch_size")]
    for name, batch, rows in (("batch_x", batch_x, x), ("batch_y", batch_y, y)):
        if batch is None:
            continue
        batch = _checks.sizes_as_int64(batch, name, (rows.shape[0],), rows, name.removeprefix("batch_"))
        if batch.shape[0] == 0:
            continue
        if batch_size is None:
            sizes.append(_last(batch) + 1)
        if batch.device.type == "cpu" and not torch.compiler.is_compiling():
            if bool((batch[1:] < batch[:-1]).any()) or int(batch[0]) < 0:
                raise ValueError(f"{name} must be sorted and not negative, got other values")
            if int(batch[-1]) >= max(sizes):
                raise ValueError(f"{name} must be below batch_size, {max(sizes)}, got {int(batch[-1])}")
    clouds = sizes[0]
    for size in sizes[1:]:
        clouds = cast(Any, torch).sym_max(clouds, size)
    batch_x = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device) if batch_x is None else batch_x.long()
    batch_y = torch.zeros(y.shape[0], dtype=torch.int64, device=y.device) if batch_y is None else batch_y.long()
    ptr_x = _packed.ptr_of(batch_x, clouds)
    return ptr_x, ptr_x if same else _packed.ptr_of(batch_y, clouds)


def _last(batch: Tensor) -> int:
    """The number of the last cloud; a symbol while torch.export traces, which knows no values."""
    if not torch.compiler.is_compiling():
        return int(batch[-1])
    last = batch[-1].item()
    cast(Any, torch)._check(last >= 0)
    return last  # type: ignore[return-value]


def _check_flow(flow: str) -> None:
    if flow not in ("source_to_target", "target_to_source"):
        raise ValueError(f'flow must be "source_to_target" or "target_to_source", got {flow!r}')
