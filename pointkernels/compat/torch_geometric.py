"""Makes torch_geometric's own point-cloud functions and layers work without pyg-lib: `enable()`, once.

torch_geometric 2.8 takes `knn`, `knn_graph`, `fps`, `radius`, `radius_graph`, `nearest`, `voxel_grid`, and with them
`DynamicEdgeConv`, `XConv`, `GravNetConv` and `knn_interpolate`, from operators of the namespace `pyg` that pyg-lib
defines, and looks at flags in `torch_geometric.typing`. `enable()` defines the operators that are missing and sets
their flags. What differs from pyg-lib is what differs in `pointkernels.compat.torch_cluster`; also, torch.compile can
trace through the operators.

    import pointkernels.compat.torch_geometric
    pointkernels.compat.torch_geometric.enable()
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor

from pointkernels.compat import _packed

__all__ = ["enable", "index2ptr"]

_KEPT: list[torch.library.Library] = []  # what a Library registers lasts as long as the object
_ENABLED: list[str] = []


def _knn(
    x: Tensor, y: Tensor, ptr_x: Tensor | None = None, ptr_y: Tensor | None = None, k: int = 1, cosine: bool = False,
    num_workers: int = 1,
) -> Tensor:  # fmt: skip
    return _packed.knn_edges(x, y, ptr_x, ptr_y, k, cosine)


def _radius(
    x: Tensor, y: Tensor, ptr_x: Tensor | None = None, ptr_y: Tensor | None = None, r: float = 1.0,
    max_num_neighbors: int = 32, num_workers: int = 1, ignore_same_index: bool = False,
) -> Tensor:  # fmt: skip
    return _packed.radius_edges(x, y, ptr_x, ptr_y, r, max_num_neighbors, ignore_same_index)


def _fps(src: Tensor, ptr: Tensor, ratio: float = 0.5, random_start: bool = True) -> Tensor:
    return _packed.fps_rows(src, ptr, torch.tensor(ratio, dtype=torch.float32, device=src.device), random_start)


def _nearest(x: Tensor, y: Tensor, ptr_x: Tensor | None = None, ptr_y: Tensor | None = None) -> Tensor:
    return _packed.nearest_rows(x, y, ptr_x, ptr_y)


def _grid_cluster(pos: Tensor, size: Tensor, start: Tensor | None = None, end: Tensor | None = None) -> Tensor:
    return _packed.grid_cells(pos, size, start, end)


_SEARCH = "(Tensor x, Tensor y, Tensor? ptr_x=None, Tensor? ptr_y=None"
# Name of the operator, its schema, the flag in torch_geometric.typing, and what it does.
_OPERATORS: dict[str, tuple[str, str, Callable[..., Tensor]]] = {
    "knn": (f"{_SEARCH}, int k=1, bool cosine=False, int num_workers=1) -> Tensor", "WITH_KNN", _knn),
    "radius": (
        f"{_SEARCH}, float r=1.0, int max_num_neighbors=32, int num_workers=1, bool ignore_same_index=False) -> Tensor",
        "WITH_RADIUS",
        _radius,
    ),
    "fps": ("(Tensor src, Tensor ptr, float ratio=0.5, bool random_start=True) -> Tensor", "WITH_FPS", _fps),
    "nearest": (f"{_SEARCH}) -> Tensor", "WITH_NEAREST", _nearest),
    "grid_cluster": (
        "(Tensor pos, Tensor size, Tensor? start=None, Tensor? end=None) -> Tensor",
        "WITH_GRID_CLUSTER",
        _grid_cluster,
    ),
}


def enable(*, override: bool = False) -> list[str]:
    """Give torch_geometric the operators that it misses.

    Calling it again changes nothing. The order of this call and `import torch_geometric` does not matter.

    Tried with torch_geometric 2.8.1 and torch.compile(fullgraph=True) of torch 2.13. A torch that does not capture
    sizes which depend on the data (a batch vector, `fps`, `radius`) says so, and names the settings that make it.

    Args:
        override: also take the place of operators that an installed pyg-lib has defined.

    Returns:
        The operators that are ours now, those of earlier calls included.

    Raises:
        ImportError: torch_geometric is not installed.

    Example:
        >>> pointkernels.compat.torch_geometric.enable()  # doctest: +SKIP
        ['knn', 'radius', 'fps', 'nearest', 'grid_cluster']
    """
    try:
        import torch_geometric.typing as flags  # imports pyg-lib, if it is there
    except ImportError as error:
        raise ImportError(
            f"torch_geometric must be installed to be enabled (`pip install torch_geometric`), got: {error}"
        ) from error
    for name, (schema, flag, function) in _OPERATORS.items():
        if name in _ENABLED:
            continue
        exists = hasattr(torch.ops.pyg, name)
        if exists and not override:
            continue
        if exists:
            _replace(name, function)
        else:
            _define(name, schema, function)
        _ENABLED.append(name)
        setattr(flags, flag, True)
    if _ENABLED:
        _make_pointers_traceable()
    return list(_ENABLED)


def index2ptr(index: Tensor, size: Optional[int] = None) -> Tensor:  # noqa: UP045  (torch.jit.script reads it)
    """Where each value begins in a sorted vector."""
    if size is None:
        size = int(index.max()) + 1 if index.numel() > 0 else 0
    values = torch.arange(size + 1, dtype=index.dtype, device=index.device)
    return torch.searchsorted(index, values, out_int32=index.dtype != torch.int64)


def _make_pointers_traceable() -> None:
    """Let torch.compile trace torch_geometric's `index2ptr`, with a size or without.

    It calls an ATen operator whose size must be a plain number, so a graph with a batch vector could not be traced as a
    whole. What takes its place can be, and torch.jit.script compiles it, too.
    """
    import torch_geometric.index

    original = torch_geometric.index.index2ptr
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "torch_geometric" and vars(module).get("index2ptr") is original:
            module.index2ptr = index2ptr  # type: ignore[attr-defined]


def _define(name: str, schema: str, function: Callable[..., Tensor]) -> None:
    library = torch.library.Library("pyg", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define(f"{name}{schema}")  # type: ignore[no-untyped-call]
    # Composite: tracing goes on into the operators that it calls, which have fake kernels.
    library.impl(name, function, "CompositeImplicitAutograd")  # type: ignore[no-untyped-call]
    _KEPT.append(library)


def _replace(name: str, function: Callable[..., Any]) -> None:
    library = torch.library.Library("pyg", "IMPL")  # type: ignore[no-untyped-call]
    for key in ("CPU", "CUDA", "Meta"):
        library.impl(name, function, key, allow_override=True)  # type: ignore[no-untyped-call]
    _KEPT.append(library)
