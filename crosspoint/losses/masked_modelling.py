"""Masked modelling: the student fills in what was masked, pixels of images and tokens of clouds."""

from __future__ import annotations

import torch
from torch import Tensor

from crosspoint.losses.precision import full_precision


def masked_pixel_loss(
    reconstruction: Tensor, images: Tensor, mask: Tensor, *, divisor: float = 3.0, count: Tensor | None = None
) -> Tensor:
    r"""Absolute error of the pixels of masked patches.

    .. math:: L = \frac{1}{D\,|M| P^2} \sum_{j \in M} \sum_{x \in \text{patch } j} \sum_{c=1}^{3}
              |\hat x_{c} - x_{c}|

    with M the masked patches of all images, P their side and D the divisor. D = 3 makes it the mean over pixels and
    channels, as in MUST (Li et al., ICLR 2023). The official code of Cross-MoST (Dharmasiri et al., 2024)
    divides by the number of the transformer's tokens instead, the class token included: 197 for 14 x 14 patches, which
    makes the term 66 times weaker.

    Args:
        reconstruction: (B, 3, H, W).
        images: (B, 3, H, W) the student's own input, normalised.
        mask: (B, h, w) bool, the masked patches; H and W are multiples of h and w.
        divisor: D, above 0.
        count: Scalar, the number of masked patches to divide by; None counts those of the mask. Over several processes,
            pass its mean over them: the mean of their losses is then the loss of one process with the whole batch.

    Returns:
        Scalar in float32 at least, 0 if nothing is masked; differentiable.

    Raises:
        ValueError: If the shapes do not fit each other or the divisor is not above 0.
    """
    if reconstruction.dim() != 4 or reconstruction.shape != images.shape:
        raise ValueError(
            "reconstruction and images must both be (B, 3, H, W), "
            f"got {tuple(reconstruction.shape)} and {tuple(images.shape)}"
        )
    batch, _, height, width = images.shape
    if mask.dim() != 3 or len(mask) != batch or height % mask.shape[1] or width % mask.shape[2]:
        raise ValueError(
            "mask must be (B, h, w) with B images whose sides h and w divide, "
            f"got {tuple(mask.shape)} for {tuple(images.shape)}"
        )
    if not divisor > 0:
        raise ValueError(f"divisor must be above 0, got {divisor}")
    down, across = height // mask.shape[1], width // mask.shape[2]
    errors = (full_precision(reconstruction) - full_precision(images)).abs().sum(dim=1)
    patches = errors.reshape(batch, mask.shape[1], down, mask.shape[2], across).sum(dim=(2, 4))
    return masked_mean(patches, mask, count) / (down * across * divisor)


def masked_token_loss(
    reconstruction: Tensor, target: Tensor, mask: Tensor, *, divisor: float | None = None, count: Tensor | None = None
) -> Tensor:
    r"""Absolute error of masked tokens.

    .. math:: L = \frac{1}{D\,|M|} \sum_{j \in M} \lVert \hat t_j - t_j \rVert_1

    with M the masked tokens of all objects. The official code of Cross-MoST (Dharmasiri et al., 2024) divides by the
    batch size, D = B, which is the default here too. Its target are the tokens after masking, through which the
    gradient flows: at masked positions, the mask token itself. The target that makes it a task are the tokens before
    masking, detached.

    Args:
        reconstruction: (B, T, W).
        target: (B, T, W); detach it unless it is meant to learn as well.
        mask: (B, T) bool, the masked tokens.
        divisor: D, above 0; None for B.
        count: Scalar, the number of masked tokens to divide by; None counts those of the mask. Over several processes,
            pass its mean over them, and the size of the whole batch as divisor.

    Returns:
        Scalar in float32 at least, 0 if nothing is masked; differentiable in the reconstruction and the target.

    Raises:
        ValueError: If the shapes do not fit each other or the divisor is not above 0.
    """
    if reconstruction.dim() != 3 or reconstruction.shape != target.shape or mask.shape != target.shape[:2]:
        raise ValueError(
            "reconstruction and target must both be (B, T, W) and mask (B, T), "
            f"got {tuple(reconstruction.shape)}, {tuple(target.shape)} and {tuple(mask.shape)}"
        )
    if divisor is not None and not divisor > 0:
        raise ValueError(f"divisor must be above 0, got {divisor}")
    errors = (full_precision(reconstruction) - full_precision(target)).abs().sum(dim=2)
    return masked_mean(errors, mask, count) / (len(target) if divisor is None else divisor)


def masked_mean(values: Tensor, mask: Tensor, count: Tensor | None = None) -> Tensor:
    """Sum of the values where the mask is set, over ``count``, or over how often it is set; 0 where it never is.

    Args:
        values: Any shape.
        mask: The same shape, bool.
        count: Scalar; None counts the mask.
    """
    number = mask.sum() if count is None else count
    # Selecting instead of multiplying: what is not masked may hold anything, and its gradient is exactly 0.
    return torch.where(mask, values, 0).sum() / torch.where(number > 0, number, 1)
