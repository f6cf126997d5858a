"""The contrasts between clouds, images and texts."""

import math

import plain_losses
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from crosspoint.losses import alignment_loss, tri_modal_loss


def rows(count: int, batch: int = 6, seed: int = 0) -> tuple[Tensor, ...]:
    values = torch.randn(count, batch, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return functional.normalize(values, dim=2).unbind()


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_alignment_agrees_with_the_plain_rendition(scale: float) -> None:
    first, second = rows(2)
    expected = plain_losses.alignment(first.tolist(), second.tolist(), scale)
    assert alignment_loss(first, second, scale=scale).item() == pytest.approx(expected, rel=1e-10)
    tensor = alignment_loss(first, second, scale=torch.tensor(scale, dtype=torch.float64))
    assert tensor.item() == pytest.approx(expected, rel=1e-10)


def test_alignment_by_hand() -> None:
    first, second = torch.eye(2), torch.eye(2).flip(0)  # each row points to the partner of the other one
    expected = 2 * math.log(1 + math.e)
    assert alignment_loss(first, second).item() == pytest.approx(expected)
    assert alignment_loss(first[:1], first[:1]).item() == 0.0


def test_rows_of_a_group_share_their_partners() -> None:
    first, second = rows(2, batch=3)
    groups = torch.tensor([7, 2, 7])

    def one_way(a: Tensor, b: Tensor) -> float:
        chances = [plain_losses.softmax([5 * plain_losses.dot(x, y) for y in b.tolist()]) for x in a.tolist()]
        first_and_last = [(math.log(chances[i][0]) + math.log(chances[i][2])) / 2 for i in (0, 2)]
        return -(sum(first_and_last) + math.log(chances[1][1])) / 3

    loss = alignment_loss(first, second, scale=5.0, groups=groups)
    assert loss.item() == pytest.approx(one_way(first, second) + one_way(second, first), rel=1e-12)
    alone = alignment_loss(first, second, scale=5.0, groups=torch.arange(3))
    assert alone.item() == pytest.approx(alignment_loss(first, second, scale=5.0).item(), rel=1e-12)


def test_tri_modal_agrees_with_the_plain_rendition() -> None:
    cloud, image, text = rows(3)
    loss = tri_modal_loss(cloud, image, text, scale=10.0)
    p, v, t = cloud.tolist(), image.tolist(), text.tolist()
    ways = [plain_losses.one_way(a, b, 10.0) / 2 for a, b in ((p, t), (t, p), (p, v), (v, p), (v, t), (t, v))]
    assert loss.cloud_text.item() == pytest.approx(ways[0] + ways[1], rel=1e-12)
    assert loss.cloud_image.item() == pytest.approx(ways[2] + ways[3], rel=1e-12)
    assert loss.image_text.item() == pytest.approx(ways[4] + ways[5], rel=1e-12)
    assert loss.total.item() == pytest.approx(sum(ways[:4]), rel=1e-12)
    weighted = tri_modal_loss(cloud, image, text, scale=10.0, image_text_weight=0.5)
    assert weighted.total.item() == pytest.approx(sum(ways[:4]) + 0.5 * sum(ways[4:]), rel=1e-12)


def test_equal_captions_count_in_pairs_with_texts_only() -> None:
    cloud, image, text = rows(3)
    captions = torch.tensor([0, 1, 0, 2, 1, 0])
    text = text[captions]
    loss = tri_modal_loss(cloud, image, text, scale=10.0, captions=captions)
    assert torch.equal(loss.cloud_text, alignment_loss(cloud, text, scale=10.0, groups=captions) / 2)
    assert torch.equal(loss.cloud_image, alignment_loss(cloud, image, scale=10.0) / 2)


def test_gradients_in_double_precision() -> None:
    first, second = (part.requires_grad_() for part in rows(2, batch=3))
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b, s: alignment_loss(a, b, scale=s), (first, second, scale))


def test_autocast_does_not_lower_the_precision() -> None:
    first, second = (part.float() for part in rows(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = alignment_loss(first, second, scale=100.0)
    assert torch.equal(loss, alignment_loss(first, second, scale=100.0))


def test_refuses_what_does_not_fit() -> None:
    first, second, third = rows(3)
    with pytest.raises(
        ValueError, match=r"^both modalities must be \(B, C\) with the same shape and B at least 1, got"
    ):
        alignment_loss(first, second[:4])
    with pytest.raises(ValueError, match=r"^groups must be \(B,\) for 6 objects, got \(2,\)$"):
        alignment_loss(first, second, groups=torch.zeros(2))
    with pytest.raises(ValueError, match=r"^image_text_weight must be at least 0, got -1$"):
        tri_modal_loss(first, second, third, scale=1.0, image_text_weight=-1)
