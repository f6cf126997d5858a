"""Which labels the settings ask for."""

import pytest
import torch
from torch import Tensor

from crosspoint.config.selftrain import LabelConfig, LabelSource
from crosspoint.losses import (
    PseudoLabels,
    agreement_pseudo_labels,
    branch_pseudo_labels,
    joint_pseudo_labels,
    naive_pseudo_labels,
)
from crosspoint.selftraining.labelling import label

TRUE = torch.tensor([0, 2, -1, 1])


def logits() -> tuple[Tensor, Tensor]:
    image, cloud = 3 * torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    return image, cloud


def same(found: PseudoLabels | None, expected: PseudoLabels) -> bool:
    assert found is not None
    return all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("source", ["joint", "naive", "agreement"])
def test_one_label_for_both_branches_at_the_paper_code_s_numbers(source: LabelSource) -> None:
    image, cloud = logits()
    found = label(image, cloud, LabelConfig(source=source), torch.Generator().manual_seed(1), TRUE)
    expected = {
        "joint": joint_pseudo_labels(image, cloud, threshold=0.84, cloud_weight=0.9),
        "naive": naive_pseudo_labels(image, cloud, torch.Generator().manual_seed(1), threshold=0.84, cloud_weight=0.9),
        "agreement": agreement_pseudo_labels(image, cloud, threshold=0.2, cloud_weight=0.9),
    }[source]
    assert same(found.image, expected)
    assert same(found.cloud, expected)


def test_each_branch_for_itself() -> None:
    image, cloud = logits()
    found = label(image, cloud, LabelConfig(source="separate"), torch.Generator(), TRUE)
    assert same(found.image, branch_pseudo_labels(image, threshold=0.8))
    assert same(found.cloud, branch_pseudo_labels(cloud, threshold=0.82))
    alone = label(image, None, LabelConfig(source="image"), torch.Generator(), TRUE)
    assert same(alone.image, branch_pseudo_labels(image, threshold=0.8))
    assert alone.cloud is None


def test_true_labels_where_they_are_known() -> None:
    found = label(*logits(), LabelConfig(source="true"), torch.Generator(), TRUE)
    assert found.image is not None
    assert found.image.mask.tolist() == [True, True, False, True]
    assert found.image.labels[found.image.mask].tolist() == [0, 2, 1]
