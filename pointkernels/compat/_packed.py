"""Searches on packed clouds (points one after the other, `ptr` where each cloud begins) that return edge lists.

The number of edges depends on the data, except within one cloud. These are operators of their own, so that
torch.compile takes each as one node, of unknown size where it must.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pointkernels import _library  # noqa: F401  (defines the operators)
from pointkernels.ops.ball_query import _ball_query
from pointkernels.ops.knn import _knn, from_first_row

# Entries of a dense table of neighbours held at a time; the edges found are kept only. 128 MiB of int64.
_TABLE = 2**24


def knn_edges(x: Tensor, y: Tensor, ptr_x: Tensor | None, ptr_y: Tensor | None, k: int, cosine: bool) -> Tensor:
    """(2, E): for each row of y its k nearest rows of x in the same cloud, nearest first; row of y above row of x.

    Where y is x, a row comes before its duplicates: it is its own first neighbour, also among more than k equals.
    """
    x, y = _constants(x, y)
    edges: Tensor = torch.ops.pointkernels_compat.knn_edges(x, y, ptr_x, ptr_y, k, cosine)
    return edges


def radius_edges(
    x: Tensor, y: Tensor, ptr_x: Tensor | None, ptr_y: Tensor | None, radius: float, limit: int, ignore_same_index: bool
) -> Tensor:
    """(2, E): for each row of y the first `limit` rows of x in the same cloud strictly within the radius."""
    x, y = _constants(x, y)
    edges: Tensor = torch.ops.pointkernels_compat.radius_edges(x, y, ptr_x, ptr_y, radius, limit, ignore_same_index)
    return edges


def fps_rows(src: Tensor, ptr: Tensor, ratio: Tensor, random_start: bool) -> Tensor:
    """(S,): the sampled rows of each cloud, ceil(size * ratio) of them, in the order of sampling."""
    rows: Tensor = torch.ops.pointkernels_compat.fps_rows(*_constants(src), ptr, ratio, random_start)
    return rows


def nearest_rows(x: Tensor, y: Tensor, ptr_x: Tensor | None, ptr_y: Tensor | None) -> Tensor:
    """(N,): for each row of x the nearest row of y in the same cloud, -1 if there is none."""
    x, y = _constants(x, y)
    rows: Tensor = torch.ops.pointkernels_compat.nearest_rows(x, y, ptr_x, ptr_y)
    return rows


def grid_cells(pos: Tensor, size: Tensor, start: Tensor | None, end: Tensor | None) -> Tensor:
    """(N,): the number of the cell of a regular grid that each point is in, the first coordinate running fastest."""
    pos = _matrix(pos)
    if pos.shape[0] == 0:
        return pos.new_empty(0, dtype=torch.int64)
    start = pos.amin(dim=0) if start is None else start
    end = pos.amax(dim=0) if end is None else end
    cells = torch.div(end - start, size, rounding_mode="trunc").long() + 1
    stride = F.pad(cells.cumprod(dim=0)[:-1], (1, 0), value=1)
    return (torch.div(pos - start, size, rounding_mode="trunc").long() * stride).sum(dim=1)


def _constants(*rows: Tensor) -> list[Tensor]:
    """Rows without their history, of which indices know nothing: torch.func asks more of an operator that sees one."""
    return [r.detach() if r.requires_grad else r for r in rows]


def ptr_of(batch: Tensor, batch_size: int) -> Tensor:
    """(B + 1,): where each cloud of a sorted batch vector begins."""
    return torch.searchsorted(batch, torch.arange(batch_size + 1, device=batch.device))


def _floating(rows: Tensor) -> Tensor:
    """float16 and bfloat16 widened to float32, integers to float64, which holds them up to 2^53."""
    rows = rows.detach()
    if not rows.is_floating_point():
        rows = rows.double()
    elif rows.dtype in (torch.float16, torch.bfloat16):
        rows = rows.float()
    return rows.contiguous()


def _extents(ptr: Tensor | None) -> Tensor | None:
    return None if ptr is None else torch.stack([ptr[:-1], ptr[1:] - ptr[:-1]], dim=1)


def _count(ptr: Tensor | None) -> int:
    return 1 if ptr is None else ptr.shape[0] - 1


def _both(x: Tensor, y: Tensor, ptr_x: Tensor | None, ptr_y: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Two pointers or none; the one cloud of a missing pointer is the first."""
    if ptr_x is None and ptr_y is None:
        return None, None
    clouds = max(0 if ptr is None else ptr.shape[0] for ptr in (ptr_x, ptr_y))

    def complete(ptr: Tensor | None, rows: Tensor) -> Tensor:
        if ptr is None:
            ptr = torch.tensor([0, rows.shape[0]], device=rows.device)
        missing = clouds - ptr.shape[0]  # clouds at the end that the other side alone has
        return torch.cat([ptr, ptr[-1:].expand(missing)]) if missing > 0 else ptr

    return complete(ptr_x, x), complete(ptr_y, y)


def _edges(neighbors: Tensor, first_row: int) -> Tensor:
    """Lists (M, k) with -1 for none, of queries from first_row on, as edges (2, E)."""
    used = neighbors >= 0
    rows = torch.arange(first_row, first_row + neighbors.shape[0], device=neighbors.device)
    return torch.stack([rows[:, None].expand_as(neighbors)[used], neighbors[used]])


def _is_self_query(x: Tensor, y: Tensor, ptr_x: Tensor | None, ptr_y: Tensor | None) -> bool:
    if x.data_ptr() != y.data_ptr() or x.shape != y.shape or x.stride() != y.stride():
        return False
    return _equal(ptr_x, ptr_y)


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b if a is None or b is None else torch.equal(a, b)


def _matrix(rows: Tensor) -> Tensor:
    return rows[:, None] if rows.dim() == 1 else rows.flatten(1)


@torch.library.custom_op("pointkernels_compat::knn_edges", mutates_args=())
def _knn_edges(x: Tensor, y: Tensor, ptr_x: Tensor | None, ptr_y: Tensor | None, k: int, cosine: bool) -> Tensor:
    ptr_x, ptr_y = _both(x, y, ptr_x, ptr_y)
    itself = _is_self_query(x, y, ptr_x, ptr_y)
    x, y = _floating(x), _floating(y)
    if cosine:  # on the unit sphere, squared distance is 2 - 2 cosine
        x, y = F.normalize(x), F.normalize(y)
    count, extents, query_extents = _count(ptr_x), _extents(ptr_x), _extents(ptr_y)
    rows = torch.arange(y.shape[0], device=y.device)[:, None]
    if not itself:
        _, neighbors = _knn(x, extents, y, query_extents, count, k, True, False)
    elif k == 1:
        return torch.cat([rows, rows], dim=1).t().contiguous()
    else:
        _, neighbors = _knn(x, extents, None, None, count, k - 1, False, False)
        query_extents = extents
    neighbors = from_first_row(neighbors, extents, query_extents, count, x.shape[0])
    return _edges(torch.cat([rows, neighbors], dim=1) if itself else neighbors, 0)


@_knn_edges.register_fake
def _fake_knn(x: Tensor, y: Tensor, ptr_x: Tensor | None, ptr_y: Tensor | None, k: int, cosine: bool) -> Tensor:
    one_cloud = ptr_x is None and ptr_y is None
    edges = y.shape[0] * min(k, x.shape[0]) if one_cloud else torch.library.get_ctx().new_dynamic_size()
    return x.new_empty(2, edges, dtype=torch.int64)


@torch.library.custom_op("pointkernels_compat::radius_edges", mutates_args=())
def _radius_edges(
    x: Tensor, y: Tensor, ptr_x: Tensor | None, ptr_y: Tensor | None, radius: float, limit: int, ignore_same_index: bool
) -> Tensor:
    ptr_x, ptr_y = _both(x, y, ptr_x, ptr_y)
    x, y = _floating(x), _floating(y)
    limit, count = min(limit, max(x.shape[0], 1)), _count(ptr_x)
    extents = _extents(ptr_x)
    ends = torch.tensor([0, y.shape[0]]) if ptr_y is None else ptr_y
    found = []
    step = max(_TABLE // limit, 1)
    for begin in range(0, y.shape[0], step):
        end = min(begin + step, y.shape[0])
        # Some queries at a time, so that a large limit costs memory only where there are that many neighbours. The
        # operator leaves out row i of a cloud for its query i, which is the same row only if nothing shifts the two.
        bounds = ends.clamp(begin, end) - begin
        query_extents = torch.stack([bounds[:-1], bounds[1:] - bounds[:-1]], dim=1).to(y.device)
        aligned = end - begin == y.shape[0] and _equal(ptr_x, ptr_y)
        spare = ignore_same_index and not aligned
        _, neighbors = _ball_query(
            x, extents, y[begin:end], query_extents, count, radius * radius, limit + spare,
            spare or not ignore_same_index,
        )  # fmt: skip
        neighbors = from_first_row(neighbors, extents, query_extents, count, x.shape[0])
        if spare:
            neighbors = _without_same_index(neighbors, begin, limit)
        found.append(_edges(neighbors, begin))
    return torch.cat(found, dim=1) if found else torch.empty(2, 0, dtype=torch.int64, device=x.device)


def _without_same_index(neighbors: Tensor, begin: int, limit: int) -> Tensor:
    """Lists without the row of the query itself, at most `limit` entries each."""
    rows = torch.arange(begin, begin + neighbors.shape[0], device=neighbors.device)[:, None]
    kept = (neighbors >= 0) & (neighbors != rows)
    return torch.where(kept & (kept.cumsum(dim=1) <= limit), neighbors, -1)


@_radius_edges.register_fake
def _fake_radius(
    x: Tensor, y: Tensor, ptr_x: Tensor | None, ptr_y: Tensor | None, radius: float, limit: int, ignore_same_index: bool
) -> Tensor:
    return x.new_empty(2, torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


@torch.library.custom_op("pointkernels_compat::fps_rows", mutates_args=())
def _fps_rows(src: Tensor, ptr: Tensor, ratio: Tensor, random_start: bool) -> Tensor:
    src = _floating(_matrix(src))
    sizes = ptr[1:] - ptr[:-1]
    counts = (sizes.float() * ratio).ceil().long().minimum(sizes)
    most = int(counts.max()) if counts.numel() > 0 else 0
    if most == 0:
        return torch.empty(0, dtype=torch.int64, device=src.device)
    start = torch.zeros_like(sizes)
    if random_start:  # float64 holds every index exactly
        drawn = torch.rand(sizes.shape, dtype=torch.float64, device=src.device) * sizes
        start = drawn.long().minimum(sizes - 1).clamp(min=0)
    samples = torch.ops.pointkernels.farthest_point_sampling(src, _extents(ptr), start, sizes.shape[0], most)
    wanted = torch.arange(most, device=src.device) < counts[:, None]
    rows: Tensor = (samples + ptr[:-1, None])[wanted]
    return rows


@_fps_rows.register_fake
def _fake_fps(src: Tensor, ptr: Tensor, ratio: Tensor, random_start: bool) -> Tensor:
    return ptr.new_empty(torch.library.get_ctx().new_dynamic_size())


@torch.library.custom_op("pointkernels_compat::nearest_rows", mutates_args=())
def _nearest_rows(x: Tensor, y: Tensor, ptr_x: Tensor | None, ptr_y: Tensor | None) -> Tensor:
    x, y = _matrix(x), _matrix(y)
    ptr_x, ptr_y = _both(x, y, ptr_x, ptr_y)
    extents, query_extents, count = _extents(ptr_y), _extents(ptr_x), _count(ptr_y)
    _, found = _knn(_floating(y), extents, _floating(x), query_extents, count, 1, True, False)
    rows: Tensor = from_first_row(found, extents, query_extents, count, y.shape[0])
    return rows.squeeze(1)


@_nearest_rows.register_fake
def _fake_nearest(x: Tensor, y: Tensor, ptr_x: Tensor | None, ptr_y: Tensor | None) -> Tensor:
    return x.new_empty(x.shape[0], dtype=torch.int64)
