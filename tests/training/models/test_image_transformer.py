"""The image branch; `tests/training/checkpoints` compares it with a plain rendition, masks included."""

import pytest
import torch

from crosspoint.config.aligned import ImageConfig
from crosspoint.models.image_transformer import ImageBranch

CONFIG = ImageConfig(image_size=16, patch_size=4, width=16, layers=2, heads=2)


@pytest.fixture(scope="module")
def branch() -> ImageBranch:
    torch.manual_seed(0)
    return ImageBranch(CONFIG, 12).eval()


@torch.no_grad()
def test_without_a_mask_it_is_clip(branch: ImageBranch) -> None:
    images = torch.randn(3, 3, 16, 16)
    result = branch(images)
    expected = branch.clip(pixel_values=images).image_embeds
    torch.testing.assert_close(result.feature, expected / expected.norm(dim=1, keepdim=True))
    assert result[1:] == (None,) * 5


def test_what_is_masked_is_not_seen_but_reconstructed(branch: ImageBranch) -> None:
    mask = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.4
    pixels = mask.repeat_interleave(4, 1).repeat_interleave(4, 2).unsqueeze(1)
    images = torch.randn(2, 3, 16, 16)
    result = branch(images, mask)
    changed = branch(torch.where(pixels, torch.randn(2, 3, 16, 16), images), mask)
    for value, other in zip(result, changed, strict=True):
        assert (value is None and other is None) or torch.equal(value, other)
    assert not torch.equal(branch(torch.where(pixels, images, 0), mask).feature, result.feature)
    assert result.reconstruction is not None
    assert result.reconstruction.shape == images.shape
    ((result.reconstruction - images) * pixels).abs().sum().backward()
    for weight in (branch.mask_token, branch.decoder.weight, branch.patch_norm.weight):
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0
    branch.zero_grad()


def test_bad_input_is_explained(branch: ImageBranch) -> None:
    with pytest.raises(ValueError, match=r"images must be \(B, 3, 16, 16\), got \(2, 3, 8, 16\)"):
        branch(torch.zeros(2, 3, 8, 16))
    for mask in (torch.zeros(2, 16, dtype=torch.bool), torch.zeros(2, 4, 4)):
        with pytest.raises(ValueError, match=r"mask must be \(2, 4, 4\) bool, got"):
            branch(torch.zeros(2, 3, 16, 16), mask)
    with pytest.raises(ValueError, match=r"image.image_size must be a multiple of image.patch_size \(8\), got 20"):
        ImageConfig(image_size=20, patch_size=8)
    with pytest.raises(ValueError, match=r"image.width must be a multiple of image.heads \(5\), got 16"):
        ImageConfig(width=16, heads=5)
