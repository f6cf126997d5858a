"""Fairness: a batch as a whole should use all classes."""

from __future__ import annotations

import math

from torch import Tensor

from crosspoint.losses.precision import full_precision


def fairness_loss(logits: Tensor) -> Tensor:
    r"""Cross entropy from the uniform distribution to the mean prediction of the batch.

    .. math:: L = -\frac{1}{K} \sum_{k=1}^{K} \log \bar p_k, \quad
              \bar p = \frac{1}{B} \sum_{i=1}^{B} \mathrm{softmax}(z_i)

    It is least, :math:`\log K`, where the mean prediction is uniform, and keeps self-training from forgetting classes.
    The logarithm of the mean is taken without leaving logarithms, so a class of which every object is sure that it is
    another one gives a large loss with a finite gradient, not an infinity.

    Source: MUST (Li et al., ICLR 2023); Cross-MoST (Dharmasiri et al., 2024), for each branch.

    Over several processes, pass the rows of all of them (``engine.distributed.gather_with_gradient``): the mean is over
    the whole batch.

    Args:
        logits: (B, K) the student's, B at least 1.

    Returns:
        Scalar in float32 at least; differentiable.

    Raises:
        ValueError: If the logits are not (B, K) with B and K at least 1.

    Example:
        >>> import torch
        >>> round(fairness_loss(torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log()).item(), 6)
        0.693147
    """
    if logits.dim() != 2 or 0 in logits.shape:
        raise ValueError(f"logits must be (B, K) with B and K at least 1, got {tuple(logits.shape)}")
    mean = full_precision(logits).log_softmax(dim=1).logsumexp(dim=0) - math.log(len(logits))
    return -mean.mean()
