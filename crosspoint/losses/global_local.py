"""Global-local alignment: what is filled in at a masked place should tell of the same object as the class token."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from crosspoint.losses.masked_modelling import masked_mean
from crosspoint.losses.precision import full_precision


def global_local_loss(summary: Tensor, tokens: Tensor, mask: Tensor, *, count: Tensor | None = None) -> Tensor:
    r"""Squared distance between masked tokens and the class token, all scaled to length one.

    .. math:: L = \frac{1}{|M|} \sum_{j \in M}
              \left\lVert \frac{x_j}{\lVert x_j \rVert} - \frac{c}{\lVert c \rVert} \right\rVert^2

    with M the masked tokens of all objects and c the class token of the token's own object; both are already projected.
    The gradient flows through both.

    Source: MUST (Li et al., ICLR 2023); Cross-MoST (Dharmasiri et al., 2024), for each branch with weight
    0.2.

    Args:
        summary: (B, S) the projected class token.
        tokens: (B, T, S) the projected tokens.
        mask: (B, T) or (B, h, w) with hw = T, bool, the masked tokens.
        count: Scalar, the number of masked tokens to divide by; None counts those of the mask. Over several processes,
            pass its mean over them: the mean of their losses is then the loss of one process with the whole batch.

    Returns:
        Scalar in float32 at least, in [0, 4], 0 if nothing is masked; differentiable.

    Raises:
        ValueError: If the shapes do not fit each other.

    Example:
        >>> import torch
        >>> summary, tokens = torch.tensor([[2.0, 0.0]]), torch.tensor([[[5.0, 0.0], [0.0, 3.0]]])
        >>> global_local_loss(summary, tokens, torch.tensor([[True, True]])).item()
        1.0
    """
    if (
        tokens.dim() != 3
        or summary.shape != (tokens.shape[0], tokens.shape[2])
        or mask.shape[:1] != tokens.shape[:1]
        or mask.flatten(1).shape != tokens.shape[:2]
    ):
        raise ValueError(
            "summary must be (B, S), tokens (B, T, S) and mask (B, T) or (B, h, w) with hw = T, "
            f"got {tuple(summary.shape)}, {tuple(tokens.shape)} and {tuple(mask.shape)}"
        )
    whole = functional.normalize(full_precision(summary), dim=1)
    parts = functional.normalize(full_precision(tokens), dim=2)
    return masked_mean((parts - whole.unsqueeze(1)).square().sum(dim=2), mask.flatten(1), count)
