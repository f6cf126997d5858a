"""Self-training and fairness: what the student's logits are trained with."""

import math

import plain_losses
import pytest
import torch
from torch import Tensor

from crosspoint.losses import fairness_loss, self_training_loss


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(9, 4, generator=generator, dtype=torch.float64)
    return logits, torch.randint(4, (9,), generator=generator), torch.rand(9, generator=generator) < 0.6


def test_self_training_agrees_with_the_plain_rendition() -> None:
    logits, labels, mask = batch()
    assert 1 < mask.sum() < 9
    expected = plain_losses.self_training(logits.tolist(), labels.tolist(), mask.tolist())
    assert self_training_loss(logits, labels, mask).item() == pytest.approx(expected, rel=1e-12)


def test_self_training_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]], dtype=torch.float64).log()
    loss = self_training_loss(logits, torch.tensor([0, 0, 1]), torch.tensor([True, True, False]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(5)) / 2)


def test_without_a_confident_object_there_is_nothing_to_learn() -> None:
    logits, labels, _ = batch()
    logits = logits.requires_grad_()
    loss = self_training_loss(logits, labels, torch.zeros(9, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_an_object_that_is_not_confident_does_not_count() -> None:
    logits, labels, mask = batch()
    expected = self_training_loss(logits, labels, mask)
    logits[~mask] = -logits[~mask]
    labels[~mask] = 0
    assert torch.equal(self_training_loss(logits, labels, mask), expected)


def test_fairness_agrees_with_the_plain_rendition() -> None:
    logits, _, _ = batch()
    assert fairness_loss(logits).item() == pytest.approx(plain_losses.fairness(logits.tolist()), rel=1e-12)


def test_fairness_by_hand() -> None:
    logits = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64).log()  # mean 0.6 and 0.4
    assert fairness_loss(logits).item() == pytest.approx(-(math.log(0.6) + math.log(0.4)) / 2)
    assert fairness_loss(torch.zeros(3, 7)).item() == pytest.approx(math.log(7))


def test_fairness_is_finite_where_a_class_has_no_probability_at_all() -> None:
    logits = torch.tensor([[500.0, 0.0], [400.0, 0.0]], requires_grad=True)
    assert logits.softmax(dim=1).mean(dim=0)[1] == 0  # its logarithm, as the formula has it, is infinite
    loss = fairness_loss(logits)
    loss.backward()
    assert loss.item() == pytest.approx((400 + math.log(2)) / 2)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[0.0, 0.0], [0.5, -0.5]]))


def test_gradients_in_double_precision() -> None:
    logits, labels, mask = batch()
    logits = logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: self_training_loss(rows, labels, mask), logits)
    assert torch.autograd.gradcheck(fairness_loss, logits)


def test_low_precision_is_computed_in_float32() -> None:
    logits, labels, mask = batch()
    low = logits.bfloat16()
    assert torch.equal(self_training_loss(low, labels, mask), self_training_loss(low.float(), labels, mask))
    assert torch.equal(fairness_loss(low), fairness_loss(low.float()))


def test_refuses_what_does_not_fit() -> None:
    logits, labels, mask = batch()
    with pytest.raises(
        ValueError, match=r"^logits must be \(B, K\), labels \(B,\) and mask \(B,\), got \(9, 4\), \(8,"
    ):
        self_training_loss(logits, labels[:8], mask)
    with pytest.raises(ValueError, match=r"^logits must be \(B, K\) with B and K at least 1, got \(0, 4\)$"):
        fairness_loss(logits[:0])
