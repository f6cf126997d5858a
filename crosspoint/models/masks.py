"""Random masks over the tokens of a student: blocks of image patches, regions of clouds.

Random numbers are drawn on the generator's device, so that a CPU generator gives the same masks whatever device the
network is on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import pointkernels


def image_block_mask(
    batch: int,
    grid: tuple[int, int],
    generator: torch.Generator,
    *,
    ratio: float = 0.3,
    block: int = 2,
    device: torch.device | None = None,
) -> Tensor:
    """Masks whole blocks of patches, equally many in every image, at places drawn for each.

    Source: MUST (Li et al., ICLR 2023) and Cross-MoST (Dharmasiri et al., 2024): blocks of 2 x 2 patches, ratio 0.3,
    which masks 15 of 49 blocks, that is 60 of 196 patches.

    Args:
        batch: B, images.
        grid: (h, w) patches down and across, multiples of ``block``.
        generator: Source of the places.
        ratio: Share of the blocks that is masked, in [0, 1]; rounded up to whole blocks.
        block: Patches down and across a block, at least 1.
        device: Where the mask is wanted; None for the generator's.

    Returns:
        (B, h, w) bool, True where a patch is masked.

    Raises:
        ValueError: If the grid does not divide into blocks or the ratio is outside [0, 1].
    """
    height, width = grid
    if block < 1 or height < 1 or width < 1 or height % block or width % block:
        raise ValueError(f"grid must divide into blocks of {block} x {block} patches, got {height} x {width}")
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must lie in [0, 1], got {ratio}")
    down, across = height // block, width // block
    order = torch.rand(batch, down * across, generator=generator, device=generator.device).argsort(dim=1, stable=True)
    cells = torch.zeros_like(order, dtype=torch.bool)
    cells.scatter_(1, order[:, : math.ceil(ratio * down * across)], value=True)
    mask = cells.view(batch, down, across).repeat_interleave(block, dim=1).repeat_interleave(block, dim=2)
    return mask.to(device or generator.device)


def cloud_region_mask(
    centers: Tensor, generator: torch.Generator, *, ratio: tuple[float, float] = (0.3, 0.4)
) -> Tensor:
    """Masks in each cloud one contiguous region: the groups nearest to a group that is drawn, itself included.

    The share of groups is drawn for each cloud as well, and rounded down to whole groups: 19 to 25 of 64 at the default
    ratios. Equal distances go to the lower index.

    Source: Yu et al., "Point-BERT: Pre-training 3D Point Cloud Transformers with Masked Point Modeling", CVPR 2022;
    Cross-MoST (Dharmasiri et al., 2024) masks from 0.3 to 0.4.

    Args:
        centers: (B, G, 3) centres of the groups.
        generator: Source of the draws.
        ratio: (low, high), the share is drawn from it uniformly; 0 <= low <= high <= 1.

    Returns:
        (B, G) bool on the centres' device, True where a group is masked.

    Raises:
        ValueError: If the centres are not (B, G, 3) with G at least 1, or the ratios are out of order.
    """
    if centers.dim() != 3 or centers.shape[2] != 3 or centers.shape[1] == 0:
        raise ValueError(f"centers must be (B, G, 3) with G at least 1, got {tuple(centers.shape)}")
    low, high = ratio
    if not 0 <= low <= high <= 1:
        raise ValueError(f"ratio must be (low, high) with 0 <= low <= high <= 1, got {ratio}")
    batch, groups, _ = centers.shape
    seeds = torch.randint(groups, (batch, 1), generator=generator, device=generator.device)
    shares = torch.rand(batch, 1, generator=generator, device=generator.device, dtype=torch.float64)
    counts = (groups * (low + (high - low) * shares)).floor().long().to(centers.device)
    chosen = centers.detach().gather(1, seeds.to(centers.device).unsqueeze(2).expand(-1, -1, 3))
    nearest = pointkernels.knn(centers.detach(), groups, query=chosen).squeeze(1)
    masked = torch.arange(groups, device=centers.device) < counts
    return torch.zeros_like(masked).scatter_(1, nearest, masked)
