"""Nearest neighbours by the sum of absolute differences, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK = 2**24  # distances held at a time: 64 MiB in float32


def nearest_in_l1(p1: Tensor, p2: Tensor, lengths2: Tensor | None, k: int) -> Tensor:
    """(N, P1, k): the nearest points of p2 by (distance, index), some queries at a time, -1 where there are fewer."""
    if torch.compiler.is_compiling():
        found: Tensor = _operator(p1.detach(), p2.detach(), lengths2, k)
        return found
    with torch.no_grad():
        return _search(p1, p2, lengths2, k)


def _search(p1: Tensor, p2: Tensor, lengths2: Tensor | None, k: int) -> Tensor:
    batch, queries, count = p1.shape[0], p1.shape[1], p2.shape[1]
    kept = min(k, count)
    found = [torch.empty(batch, 0, kept, dtype=torch.int64, device=p1.device)]
    rows = max(_CHUNK // max(batch * count, 1), 1)
    for begin in range(0, queries, rows):
        total = (p1[:, begin : begin + rows, 0, None] - p2[:, None, :, 0]).abs()
        for d in range(1, p1.shape[2]):
            total += (p1[:, begin : begin + rows, d, None] - p2[:, None, :, d]).abs()
        total = torch.where(total.isnan(), torch.inf, total)
        if lengths2 is not None:
            padding = torch.arange(count, device=p1.device) >= lengths2[:, None]
            # After every distance, infinite ones included: the sort is stable and padding is last.
            total = total.masked_fill(padding[:, None], torch.inf)
        found.append(total.argsort(dim=2, stable=True)[:, :, :kept])
    return F.pad(torch.cat(found, dim=1), (0, k - kept), value=-1)


# The number of chunks depends on the sizes, so torch.compile takes the search as one node.
_operator = torch.library.custom_op("pointkernels_compat::nearest_in_l1", _search, mutates_args=())


@_operator.register_fake
def _fake(p1: Tensor, p2: Tensor, lengths2: Tensor | None, k: int) -> Tensor:
    return p1.new_empty(p1.shape[0], p1.shape[1], k, dtype=torch.int64)
