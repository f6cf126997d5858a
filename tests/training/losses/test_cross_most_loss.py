import doctest
import importlib
import math

import pytest
import torch
from torch import Tensor

from crosspoint.config.cross_most import CrossMostWeights
from crosspoint.losses import BranchLosses, cross_most_loss


def terms(*values: float) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(value, dtype=torch.float64) for value in values)


IMAGE, CLOUD = BranchLosses(*terms(1, 2, 4, 8)), BranchLosses(*terms(16, 32, 64, 128))
ALIGNMENT = torch.tensor(256.0, dtype=torch.float64)


def test_the_default_weights_by_hand() -> None:
    loss = cross_most_loss(IMAGE, CLOUD, ALIGNMENT)
    assert loss.total.item() == pytest.approx(1 + 2 + 4 + 0.2 * 8 + 16 + 32 + 64 + 0.2 * 128 + 256)
    assert [part.item() for part in loss[1:]] == [1, 2, 4, 8, 16, 32, 64, 128, 256]


def test_every_weight_reaches_its_own_term() -> None:
    weights = CrossMostWeights(
        self_training=2, image_fairness=3, image_modelling=5, image_global_local=7, cloud_fairness=11,
        cloud_modelling=13, cloud_global_local=17, cloud=0.5, alignment=19,
    )  # fmt: skip
    expected = 2 * 1 + 3 * 2 + 5 * 4 + 7 * 8 + 0.5 * (2 * 16 + 11 * 32 + 13 * 64 + 17 * 128) + 19 * 256
    assert cross_most_loss(IMAGE, CLOUD, ALIGNMENT, weights).total.item() == expected


def test_a_branch_that_is_left_out_counts_nothing() -> None:
    images = cross_most_loss(IMAGE, None)
    assert images.total.item() == pytest.approx(1 + 2 + 4 + 1.6)
    assert [part.item() for part in images[5:]] == [0, 0, 0, 0, 0]
    clouds = cross_most_loss(None, BranchLosses(*CLOUD[:2]))
    assert clouds.total.item() == 16 + 32
    with pytest.raises(ValueError, match=r"^there must be an image branch, a cloud branch or both, got neither$"):
        cross_most_loss(None, None)


def test_a_term_of_weight_zero_is_reported_but_cannot_spoil_the_sum() -> None:
    loss = cross_most_loss(IMAGE, CLOUD, ALIGNMENT * math.nan, CrossMostWeights(alignment=0))
    assert loss.total.isfinite()
    assert loss.alignment.isnan()


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_refuses_other_weights(value: float) -> None:
    with pytest.raises(ValueError, match=r"^the weight cloud_fairness must be a finite number of at least 0, got"):
        CrossMostWeights(cloud_fairness=value)


@pytest.mark.parametrize("name", ["alignment", "fairness", "global_local", "pseudo_labels", "self_training"])
def test_the_examples_of_the_docstrings_run(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"crosspoint.losses.{name}"))
    assert results.attempted > 1
    assert results.failed == 0
