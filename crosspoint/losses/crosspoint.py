"""The CrossPoint objective: contrast within clouds plus contrast between clouds and images."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from crosspoint.losses.nt_xent import nt_xent


class CrossPointLoss(NamedTuple):
    """The objective and its two parts (scalars; the parts are unweighted)."""

    total: Tensor
    intra: Tensor
    cross: Tensor


def crosspoint_loss(
    first: Tensor,
    second: Tensor,
    image: Tensor,
    *,
    temperature: float = 0.1,
    intra_weight: float = 1.0,
    cross_weight: float = 1.0,
) -> CrossPointLoss:
    r"""Intra-modal and cross-modal NT-Xent of a batch of objects.

    .. math::
        L = w_1 \, \mathrm{NTX}(z_1, z_2) + w_2 \, \mathrm{NTX}(\tfrac{1}{2}(z_1 + z_2), g)

    The mean of the two cloud projections is taken before any of them is scaled to length one, as in the authors' code.

    Source: Afham et al., "CrossPoint: Self-Supervised Cross-Modal Contrastive Learning for 3D Point Cloud
    Understanding", CVPR 2022, equations 2 to 7 (there with both weights 1 and temperature 0.1).

    Args:
        first: (B, C) projections of one augmented cloud of each object.
        second: (B, C) projections of another.
        image: (B, C) projections of an image of each object.
        temperature: Temperature of both terms, above 0.
        intra_weight: Weight of the term between clouds.
        cross_weight: Weight of the term between clouds and images.

    Returns:
        The weighted total and its two unweighted parts, differentiable in all three projections.

    Raises:
        ValueError: As for :func:`nt_xent`.
    """
    intra = nt_xent(first, second, temperature)
    cross = nt_xent((first + second) / 2, image, temperature)
    return CrossPointLoss(intra_weight * intra + cross_weight * cross, intra, cross)
