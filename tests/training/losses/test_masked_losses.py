"""Reconstruction and global-local alignment: what masked patches and groups are trained with."""

import plain_losses
import pytest
import torch
from torch import Tensor

from crosspoint.losses import global_local_loss, masked_pixel_loss, masked_token_loss


def pictures() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    guessed, images = torch.randn(2, 3, 3, 8, 8, generator=generator, dtype=torch.float64)
    return guessed, images, torch.rand(3, 4, 4, generator=generator) < 0.4


def tokens() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    guessed, target = torch.randn(2, 4, 6, 5, generator=generator, dtype=torch.float64)
    return guessed, target, torch.rand(4, 6, generator=generator) < 0.4


@pytest.mark.parametrize("divisor", [3.0, 17.0])
def test_pixels_agree_with_the_plain_rendition(divisor: float) -> None:
    guessed, images, mask = pictures()
    expected = plain_losses.masked_pixels(guessed.tolist(), images.tolist(), mask.tolist(), divisor)
    assert masked_pixel_loss(guessed, images, mask, divisor=divisor).item() == pytest.approx(expected, rel=1e-12)


def test_pixels_by_hand() -> None:
    images, guessed = torch.zeros(1, 3, 2, 4), torch.zeros(1, 3, 2, 4)
    guessed[0, 0, 0, 2:] = 3.0  # two of the four pixels of the right patch, in one of three channels
    guessed[..., :2] = 100.0  # the left patch is not masked
    mask = torch.tensor([[[False, True]]])
    assert masked_pixel_loss(guessed, images, mask).item() == pytest.approx(0.5)
    assert masked_pixel_loss(guessed, images, mask, divisor=197).item() == pytest.approx(0.5 * 3 / 197)


def test_tokens_agree_with_the_plain_rendition() -> None:
    guessed, target, mask = tokens()
    expected = plain_losses.masked_tokens(guessed.tolist(), target.tolist(), mask.tolist())
    assert masked_token_loss(guessed, target, mask).item() == pytest.approx(expected, rel=1e-12)
    assert masked_token_loss(guessed, target, mask, divisor=5).item() == pytest.approx(expected * 4 / 5, rel=1e-12)


def test_tokens_by_hand() -> None:
    guessed = torch.tensor([[[1.0, -2.0], [9.0, 9.0]], [[0.0, 0.0], [4.0, 1.0]]])
    mask = torch.tensor([[True, False], [False, True]])
    assert masked_token_loss(guessed, torch.zeros(2, 2, 2), mask).item() == pytest.approx((3 + 5) / 2 / 2)


def test_the_targets_learn_too_unless_detached() -> None:
    guessed, target, mask = tokens()
    target = target.requires_grad_()
    masked_token_loss(guessed, target, mask).backward()
    assert target.grad is not None
    assert bool(target.grad[mask].all())
    assert not target.grad[~mask].any()
    assert not masked_token_loss(guessed, target.detach(), mask).requires_grad


def test_global_local_agrees_with_the_plain_rendition() -> None:
    parts, other, mask = tokens()
    whole = other[:, 0]
    expected = plain_losses.global_local(whole.tolist(), parts.tolist(), mask.tolist())
    assert global_local_loss(whole, parts, mask).item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(global_local_loss(whole, parts, mask.view(4, 2, 3)), global_local_loss(whole, parts, mask))


def test_global_local_by_hand() -> None:
    whole = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    parts = torch.tensor([[[7.0, 0.0], [-2.0, 0.0]], [[5.0, 0.0], [3.0, 4.0]]])
    mask = torch.tensor([[True, True], [False, True]])  # 0, 4 and (0.6, 0.8) to (0, 1): 0.36 + 0.04
    assert global_local_loss(whole, parts, mask).item() == pytest.approx((0 + 4 + 0.4) / 3)


def test_parts_of_a_batch_with_their_mean_count_average_to_the_whole() -> None:
    guessed, target, mask = tokens()
    summary = target[:, 0]
    picture, image, patches = pictures()
    halves, thirds = (slice(0, 2), slice(2, 4)), (slice(0, 1), slice(1, 2), slice(2, 3))
    assert mask[:2].sum() != mask[2:].sum()
    count, patch_count = mask.sum() / 2, patches.sum() / 3
    parts = [masked_token_loss(guessed[h], target[h], mask[h], divisor=4, count=count) for h in halves]
    torch.testing.assert_close(torch.stack(parts).mean(), masked_token_loss(guessed, target, mask))
    parts = [global_local_loss(summary[h], guessed[h], mask[h], count=count) for h in halves]
    torch.testing.assert_close(torch.stack(parts).mean(), global_local_loss(summary, guessed, mask))
    parts = [masked_pixel_loss(picture[h], image[h], patches[h], count=patch_count) for h in thirds]
    torch.testing.assert_close(torch.stack(parts).mean(), masked_pixel_loss(picture, image, patches))


def test_without_a_mask_there_is_nothing_to_learn() -> None:
    guessed, target, mask = (part.requires_grad_() if part.is_floating_point() else part for part in tokens())
    picture, image, patches = pictures()
    nothing = torch.zeros_like(mask)
    losses = [
        masked_token_loss(guessed, target, nothing),
        global_local_loss(target[:, 0], guessed, nothing),
        masked_pixel_loss(picture.requires_grad_(), image, torch.zeros_like(patches)),
    ]
    torch.stack(losses).sum().backward()
    assert [loss.item() for loss in losses] == [0.0, 0.0, 0.0]
    for leaf in (guessed, target, picture):
        assert leaf.grad is not None
        assert not leaf.grad.any()


def test_a_zero_token_has_a_finite_gradient() -> None:
    parts = torch.zeros(1, 2, 3, requires_grad=True)
    global_local_loss(torch.ones(1, 3), parts, torch.ones(1, 2, dtype=torch.bool)).backward()
    assert parts.grad is not None
    assert parts.grad.isfinite().all()


def test_gradients_in_double_precision() -> None:
    guessed, target, mask = tokens()
    inputs = target[:, 0].clone().requires_grad_(), guessed.requires_grad_()
    assert torch.autograd.gradcheck(lambda whole, parts: global_local_loss(whole, parts, mask), inputs)
    assert torch.autograd.gradcheck(lambda parts: masked_token_loss(parts, target, mask), inputs[1])


def test_low_precision_is_computed_in_float32() -> None:
    guessed, target, mask = tokens()
    low = guessed.bfloat16(), target.bfloat16()
    exact = [part.float() for part in low]
    assert torch.equal(masked_token_loss(*low, mask), masked_token_loss(*exact, mask))
    assert torch.equal(global_local_loss(low[1][:, 0], low[0], mask), global_local_loss(exact[1][:, 0], exact[0], mask))


def test_refuses_what_does_not_fit() -> None:
    guessed, target, mask = tokens()
    picture, image, patches = pictures()
    with pytest.raises(
        ValueError, match=r"^reconstruction and images must both be \(B, 3, H, W\), got \(3, 3, 8, 8\) a"
    ):
        masked_pixel_loss(picture, image[:2], patches)
    with pytest.raises(ValueError, match=r"^mask must be \(B, h, w\) with B images whose sides h and w divide, got"):
        masked_pixel_loss(picture, image, patches[:, :3])
    with pytest.raises(ValueError, match=r"^divisor must be above 0, got 0$"):
        masked_pixel_loss(picture, image, patches, divisor=0)
    with pytest.raises(ValueError, match=r"^reconstruction and target must both be \(B, T, W\) and mask \(B, T\), got"):
        masked_token_loss(guessed, target, mask[:, :5])
    with pytest.raises(ValueError, match=r"^divisor must be above 0, got -1$"):
        masked_token_loss(guessed, target, mask, divisor=-1)
    with pytest.raises(
        ValueError, match=r"^summary must be \(B, S\), tokens \(B, T, S\) and mask \(B, T\) or .* got \(4, "
    ):
        global_local_loss(target[:, 0, :3], guessed, mask)
