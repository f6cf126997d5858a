"""Normalised temperature-scaled cross entropy (NT-Xent)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from crosspoint.losses.precision import full_precision

# Rows shorter than this are scaled by it instead of by their length, so that a zero row has a finite gradient.
_SHORTEST_NORM = 1e-8


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    r"""Contrastive loss that pulls row i of one view to row i of the other and away from all other rows of both.

    With the rows of both views scaled to length one and stacked, :math:`u = [a; b]` (2B rows), and :math:`p(i)` the
    row that shows the same object as row i,

    .. math::
        L = -\frac{1}{2B} \sum_{i=1}^{2B}
            \log \frac{\exp(u_i \cdot u_{p(i)} / \tau)}{\sum_{j \ne i} \exp(u_i \cdot u_j / \tau)}

    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (SimCLR), ICML 2020,
    equation 1; CrossPoint (Afham et al., CVPR 2022) uses it within and across modalities.

    Args:
        first: (B, C) floating point, one view of B objects.
        second: (B, C), another view of the same objects in the same order.
        temperature: The divisor of the cosine similarities, above 0.

    Returns:
        Scalar, in the inputs' dtype, or float32 where that is float16 or bfloat16: the loss is always computed in
        float32 at least, under autocast too. Differentiable in both views; symmetric in them; the gradient is finite
        everywhere, at zero rows too. With B = 1 there are no negatives and the loss is 0.

    Raises:
        ValueError: If the views differ in shape, are not (B, C) with B at least 1, or the temperature is not above 0.

    Example:
        >>> import torch
        >>> views = torch.eye(4)
        >>> round(nt_xent(views, views, temperature=0.1).item(), 6)
        0.000272
    """
    if first.dim() != 2 or first.shape != second.shape or first.shape[0] == 0:
        raise ValueError(
            "views must both be (B, C) with the same shape and B at least 1, "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    with torch.autocast(first.device.type, enabled=False):
        rows = full_precision(torch.cat([first, second]))
        rows = functional.normalize(rows, dim=1, eps=_SHORTEST_NORM)
        logits = rows @ rows.T / temperature
        # A row is not its own negative. Masking keeps every shape static, which torch.compile needs.
        itself = torch.eye(logits.shape[0], dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(itself, -torch.inf)
        partner = torch.arange(logits.shape[0], device=logits.device).roll(first.shape[0])
        return functional.cross_entropy(logits, partner)
