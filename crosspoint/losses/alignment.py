"""InfoNCE between two modalities, in both directions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from crosspoint.losses.precision import full_precision


def alignment_loss(
    first: Tensor, second: Tensor, *, scale: Tensor | float = 1.0, groups: Tensor | None = None
) -> Tensor:
    r"""Contrastive loss that finds the own partner of each row among all rows of the other modality, both ways.

    .. math::
        L = -\frac{1}{B} \sum_{i=1}^{B} \left[
            \log \frac{\exp(s\, a_i \cdot b_i)}{\sum_j \exp(s\, a_i \cdot b_j)}
          + \log \frac{\exp(s\, b_i \cdot a_i)}{\sum_j \exp(s\, b_i \cdot a_j)} \right]

    Both directions are added, not averaged. Cross-MoST (Dharmasiri et al., 2024) uses it between the student's clouds
    and images; its official code has s = 1, where the loss of unit rows can hardly fall, instead of the exponential of
    the trained temperature.

    Over several processes, pass the rows of all of them (``engine.distributed.gather_with_gradient``), as ULIP does;
    Cross-MoST's code contrasts within each process.

    Args:
        first: (B, C) rows of length one; B at least 1.
        second: (B, C) rows of length one, of the same objects in the same order.
        scale: s, a number or a scalar tensor; differentiable.
        groups: (B,) integers; rows of the same group are all partners of each other, with equal shares. It is for
            captions that several objects of a batch share. None makes every object its own group.

    Returns:
        Scalar in float32 at least, also under autocast; differentiable.

    Raises:
        ValueError: If the shapes do not fit each other.

    Example:
        >>> import torch
        >>> rows = torch.eye(2)
        >>> round(alignment_loss(rows, rows).item(), 6)  # 2 log(1 + 1/e)
        0.626523
    """
    if first.dim() != 2 or first.shape != second.shape or len(first) == 0:
        raise ValueError(
            "both modalities must be (B, C) with the same shape and B at least 1, "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if groups is not None and groups.shape != first.shape[:1]:
        raise ValueError(f"groups must be (B,) for {len(first)} objects, got {tuple(groups.shape)}")
    with torch.autocast(first.device.type, enabled=False):
        logits = scale * (full_precision(first) @ full_precision(second).T)
        if groups is None:
            partners = torch.arange(len(first), device=first.device)
        else:
            same = (groups.unsqueeze(1) == groups).to(logits.dtype)
            partners = same / same.sum(dim=1, keepdim=True)
        return functional.cross_entropy(logits, partners) + functional.cross_entropy(logits.T, partners)
