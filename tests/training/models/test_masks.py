import pytest
import torch

from crosspoint.models.masks import cloud_region_mask, image_block_mask


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_blocks_of_the_paper() -> None:
    mask = image_block_mask(64, (14, 14), generator())
    assert mask.shape == (64, 14, 14)
    assert mask.dtype == torch.bool
    assert mask.flatten(1).sum(dim=1).tolist() == [60] * 64  # ceil(0.3 * 49) = 15 blocks of 4 patches
    blocks = mask.view(64, 7, 2, 7, 2)
    assert torch.equal(blocks.all(dim=4).all(dim=2), blocks.any(dim=4).any(dim=2))
    share = blocks[:, :, 0, :, 0].float().mean(dim=0)  # every place is masked about 15 times in 49
    assert 0.1 < share.min() < 15 / 49 < share.max() < 0.6


@pytest.mark.parametrize(("ratio", "masked"), [(0.0, 0), (0.01, 1), (0.5, 3), (1.0, 6)])
def test_the_number_of_blocks_is_rounded_up(ratio: float, masked: int) -> None:
    mask = image_block_mask(2, (6, 9), generator(), ratio=ratio, block=3)
    assert mask.flatten(1).sum(dim=1).tolist() == [9 * masked] * 2


def test_masks_follow_the_generator_and_nothing_else() -> None:
    centers = torch.randn(4, 32, 3, generator=generator(9))
    first, again, other = (
        (image_block_mask(4, (14, 14), draws), cloud_region_mask(centers, draws)) for draws in map(generator, (1, 1, 2))
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first[0][0], first[0][1])


def test_regions_of_the_paper() -> None:
    centers = torch.randn(300, 64, 3, generator=generator(9))
    mask = cloud_region_mask(centers, generator())
    assert mask.shape == (300, 64)
    counts = mask.sum(dim=1)
    assert counts.unique().tolist() == [19, 20, 21, 22, 23, 24, 25]  # int(64 u), u from 0.3 to 0.4
    seeds = set()
    for cloud, masked in zip(centers, mask, strict=True):
        distances = torch.cdist(cloud, cloud)
        inside = [
            index
            for index in masked.nonzero().flatten().tolist()
            if torch.equal(distances[index].argsort()[: int(masked.sum())].sort().values, masked.nonzero().flatten())
        ]
        assert inside, "no group has exactly the masked ones as its nearest"
        seeds.update(inside)
    assert len(seeds) > 55


@pytest.mark.parametrize(("ratio", "counts"), [((0.0, 0.0), [0]), ((1.0, 1.0), [5]), ((0.5, 0.5), [2])])
def test_regions_of_a_fixed_ratio(ratio: tuple[float, float], counts: list[int]) -> None:
    mask = cloud_region_mask(torch.randn(6, 5, 3, generator=generator()), generator(), ratio=ratio)
    assert mask.sum(dim=1).unique().tolist() == counts


def test_equal_distances_go_to_the_lower_index() -> None:
    mask = cloud_region_mask(torch.zeros(3, 10, 3), generator(), ratio=(0.4, 0.4))
    assert mask.tolist() == [[True] * 4 + [False] * 6] * 3


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^grid must divide into blocks of 2 x 2 patches, got 14 x 7$"):
        image_block_mask(1, (14, 7), generator())
    with pytest.raises(ValueError, match=r"^ratio must lie in \[0, 1\], got 1.2$"):
        image_block_mask(1, (14, 14), generator(), ratio=1.2)
    with pytest.raises(ValueError, match=r"^centers must be \(B, G, 3\) with G at least 1, got \(2, 0, 3\)$"):
        cloud_region_mask(torch.zeros(2, 0, 3), generator())
    with pytest.raises(ValueError, match=r"^ratio must be \(low, high\) with 0 <= low <= high <= 1, got \(0.4, 0.3\)$"):
        cloud_region_mask(torch.zeros(2, 4, 3), generator(), ratio=(0.4, 0.3))
