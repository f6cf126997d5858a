"""The objective of ULIP: clouds are aligned with texts and with images."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from crosspoint.losses.alignment import alignment_loss


class TriModalLoss(NamedTuple):
    """The objective and its parts (scalars; the parts are unweighted)."""

    total: Tensor
    cloud_text: Tensor
    cloud_image: Tensor
    image_text: Tensor


def tri_modal_loss(
    cloud: Tensor,
    image: Tensor,
    text: Tensor,
    *,
    scale: Tensor | float,
    image_text_weight: float = 0.0,
    captions: Tensor | None = None,
) -> TriModalLoss:
    r"""Contrast between clouds, images and texts of the same objects.

    .. math:: L = N(p, t) + N(p, v) + w\, N(v, t), \qquad
              N(a, b) = \tfrac{1}{2} \left( \mathrm{CE}(s\, a b^\top, I) + \mathrm{CE}(s\, b a^\top, I) \right)

    Source: Xue et al., "ULIP: Learning a Unified Representation of Language, Images, and Point Clouds for 3D
    Understanding", CVPR 2023, as in its code, where images and texts are frozen and w = 0. With w
    above 0 an image encoder that is not aligned yet learns from the texts as CLIP's did.

    Over several processes, pass the rows of all of them (``engine.distributed.gather_with_gradient``).

    Args:
        cloud: (B, C) features p of length one.
        image: (B, C) features v of length one.
        text: (B, C) features t of length one.
        scale: s, the exponential of the trained temperature.
        image_text_weight: w, at least 0.
        captions: (B,) integers, equal where two objects have the same caption: in pairs with texts they are then all
            partners of each other. None takes every caption for another one, as ULIP does.

    Returns:
        The weighted total and its unweighted parts.

    Raises:
        ValueError: If the shapes do not fit each other or the weight is negative.
    """
    if not image_text_weight >= 0:
        raise ValueError(f"image_text_weight must be at least 0, got {image_text_weight}")
    cloud_text = alignment_loss(cloud, text, scale=scale, groups=captions) / 2
    cloud_image = alignment_loss(cloud, image, scale=scale) / 2
    image_text = alignment_loss(image, text, scale=scale, groups=captions) / 2
    total = cloud_text + cloud_image
    if image_text_weight:
        total = total + image_text_weight * image_text
    return TriModalLoss(total, cloud_text, cloud_image, image_text)
