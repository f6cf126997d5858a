"""Cross entropy with pseudo-labels, over the confident objects."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from crosspoint.losses.precision import full_precision


def self_training_loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    r"""Mean cross entropy over the objects whose pseudo-label is confident.

    .. math:: L = -\frac{1}{|M|} \sum_{i \in M} \log \mathrm{softmax}(z_i)_{\hat y_i}

    With no confident object the loss is 0, and so is its gradient; the official code stops there, at a NaN.

    Source: MUST (Li et al., ICLR 2023); Cross-MoST (Dharmasiri et al., 2024), for both branches with the
    same labels and mask.

    Over several processes, pass the rows of all of them (``engine.distributed.gather_with_gradient``), so that each
    confident object counts as much as any other.

    Args:
        logits: (B, K) the student's.
        labels: (B,) int64, pseudo-labels.
        mask: (B,) bool, which of them are confident.

    Returns:
        Scalar in float32 at least; differentiable in the logits.

    Raises:
        ValueError: If the shapes do not fit each other.

    Example:
        >>> import torch
        >>> logits, labels = torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([1, 1])
        >>> round(self_training_loss(logits, labels, torch.tensor([True, False])).item(), 6)
        0.693147
    """
    if logits.dim() != 2 or labels.shape != logits.shape[:1] or mask.shape != labels.shape:
        raise ValueError(
            "logits must be (B, K), labels (B,) and mask (B,), "
            f"got {tuple(logits.shape)}, {tuple(labels.shape)} and {tuple(mask.shape)}"
        )
    entropies = functional.cross_entropy(full_precision(logits), labels, reduction="none")
    # Weighting instead of indexing: no shape depends on values, so the device is not waited for.
    return torch.where(mask, entropies, 0).sum() / mask.sum().clamp(min=1)
