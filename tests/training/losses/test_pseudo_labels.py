import math

import plain_losses
import pytest
import torch
from torch import Tensor

from crosspoint.losses import (
    agreement_pseudo_labels,
    branch_pseudo_labels,
    joint_pseudo_labels,
    naive_pseudo_labels,
)

# Six objects, three classes: probabilities of the image and of the cloud.
IMAGE = [[0.90, 0.05, 0.05], [0.90, 0.05, 0.05], [0.85, 0.10, 0.05], [0.10, 0.50, 0.40], [0.05, 0.90, 0.05],
         [0.20, 0.20, 0.60]]  # fmt: skip
CLOUD = [[0.98, 0.01, 0.01], [0.02, 0.99, 0.00], [0.05, 0.90, 0.05], [0.05, 0.05, 0.90], [0.05, 0.94, 0.01],
         [0.10, 0.30, 0.60]]  # fmt: skip


def logits(probabilities: list[list[float]]) -> Tensor:
    return (torch.tensor(probabilities, dtype=torch.float64) + 1e-12).log()


def random_logits(seed: int) -> tuple[Tensor, Tensor]:
    image, cloud = 4 * torch.randn(2, 200, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return image, cloud


def test_joint_by_hand() -> None:
    labels, mask, scores = joint_pseudo_labels(logits(IMAGE), logits(CLOUD), threshold=0.84, cloud_weight=0.9)
    # 0.9 * 0.98 < 0.9; 0.9 * 0.99 < 0.9; 0.9 * 0.9 < 0.85; 0.9 * 0.9 > 0.5 but < 0.84; 0.9 * 0.94 < 0.9; 0.6 > 0.54
    assert labels.tolist() == [0, 0, 0, 2, 1, 2]
    assert mask.tolist() == [True, True, True, False, True, False]
    assert scores.tolist() == pytest.approx([0.9, 0.9, 0.85, 0.81, 0.9, 0.6])
    unweighted = joint_pseudo_labels(logits(IMAGE), logits(CLOUD), threshold=0.84, cloud_weight=1.0)
    assert unweighted.labels.tolist() == [0, 1, 1, 2, 1, 2]
    assert unweighted.mask.tolist() == [True, True, True, True, True, False]


def test_joint_agrees_with_the_plain_rendition() -> None:
    image, cloud = random_logits(0)
    for threshold, weight in ((0.84, 0.9), (0.82, 1.0), (0.9, 1.2)):
        labels, mask, _ = joint_pseudo_labels(image, cloud, threshold=threshold, cloud_weight=weight)
        expected = plain_losses.joint_labels(image.tolist(), cloud.tolist(), threshold, weight)
        assert list(zip(labels.tolist(), mask.tolist(), strict=True)) == expected
        assert 0 < sum(mask.tolist()) < 200


def test_a_tie_goes_to_the_cloud_and_is_never_a_sum_of_labels() -> None:
    certain = torch.tensor([[0.0, 0.0, 200.0]]), torch.tensor([[0.0, 200.0, 0.0]])  # both scores are exactly 1
    labels, mask, scores = joint_pseudo_labels(*certain, threshold=0.84, cloud_weight=1.0)
    assert (labels.tolist(), mask.tolist(), scores.tolist()) == ([1], [True], [1.0])


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    even = torch.zeros(1, 2)
    assert joint_pseudo_labels(even, even, threshold=0.5, cloud_weight=1.0).mask.tolist() == [False]
    assert branch_pseudo_labels(even, threshold=0.5).mask.tolist() == [False]
    assert branch_pseudo_labels(even, threshold=0.49).mask.tolist() == [True]


def test_branch_by_hand() -> None:
    labels, mask, scores = branch_pseudo_labels(logits(CLOUD), threshold=0.92)
    assert labels.tolist() == [0, 1, 1, 2, 1, 2]
    assert mask.tolist() == [True, True, False, False, True, False]
    assert scores.tolist() == pytest.approx([0.98, 0.99 / 1.01, 0.9, 0.9, 0.94, 0.6])


def test_agreement_by_hand() -> None:
    labels, mask, scores = agreement_pseudo_labels(logits(IMAGE), logits(CLOUD), threshold=0.55, cloud_weight=0.9)
    assert mask.tolist() == [True, False, False, False, True, False]  # the last: they agree, but 0.9 * 0.6 = 0.54
    assert labels[mask].tolist() == [0, 1]
    assert scores.tolist() == pytest.approx([0.882, 0.9 * 0.99 / 1.01, 0.81, 0.5, 0.846, 0.54])


def test_naive_draws_a_branch_for_each_object() -> None:
    image, cloud = random_logits(1)
    results = [
        naive_pseudo_labels(image, cloud, torch.Generator().manual_seed(seed), threshold=0.8, cloud_weight=0.9)
        for seed in (3, 3, 4)
    ]
    labels, mask, scores = results[0]
    image_alone, cloud_alone = (branch_pseudo_labels(rows, threshold=0.0) for rows in (image, cloud))
    from_cloud = torch.isclose(scores, 0.9 * cloud_alone.scores)
    assert torch.equal(labels, torch.where(from_cloud, cloud_alone.labels, image_alone.labels))
    assert torch.allclose(scores, torch.where(from_cloud, 0.9 * cloud_alone.scores, image_alone.scores))
    assert torch.equal(mask, scores > 0.8)
    assert 70 < from_cloud.sum() < 130
    assert torch.equal(results[1].labels, labels)
    assert not torch.equal(results[2].labels, labels)


def test_low_precision_is_computed_in_float32_and_nothing_carries_a_gradient() -> None:
    image, cloud = (rows.bfloat16().requires_grad_() for rows in random_logits(2))
    result = joint_pseudo_labels(image, cloud)
    assert result.scores.dtype == torch.float32
    assert torch.equal(result.scores, joint_pseudo_labels(image.float(), cloud.float()).scores)
    assert not result.scores.requires_grad
    assert result.labels.dtype == torch.int64


def test_a_nan_is_never_confident() -> None:
    broken, sure = torch.full((1, 3), math.nan), torch.tensor([[9.0, 0.0, 0.0]])
    assert not joint_pseudo_labels(broken, broken).mask.any()
    assert not joint_pseudo_labels(sure, broken).mask.any()
    assert not branch_pseudo_labels(broken, threshold=0.0).mask.any()


def test_refuses_what_does_not_fit() -> None:
    rows = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"^logits of images and clouds must have the same shape, got \(2, 3\) and"):
        joint_pseudo_labels(rows, torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"^logits must be \(B, K\) with K at least 1, got \(3,\)$"):
        branch_pseudo_labels(rows[0], threshold=0.5)
    with pytest.raises(ValueError, match=r"^threshold must lie in \[0, 1\], got 1.5$"):
        agreement_pseudo_labels(rows, rows, threshold=1.5)
    with pytest.raises(ValueError, match=r"^cloud_weight must be above 0, got 0.0$"):
        naive_pseudo_labels(rows, rows, torch.Generator(), cloud_weight=0.0)
