import re

import numpy as np
import plain_protocols as plain
import pytest

from crosspoint.evaluation.features import Features
from crosspoint.evaluation.few_shot import episodes, few_shot_score, set_neighbors
from crosspoint.models import DGCNN

LABELS = np.repeat(np.arange(6), 12)


def features(count: int, seed: int, *, noise: float = 1.0) -> Features:
    labels = np.arange(count) % 6
    centres = np.random.default_rng(0).normal(size=(6, 5))
    values = centres[labels] + noise * np.random.default_rng(seed).normal(size=(count, 5))
    return Features((values * np.array([1, 1, 1, 100, 0.01])).astype(np.float32), labels)


@pytest.mark.parametrize("same", [True, False])
def test_draws(same: bool) -> None:
    draws = episodes(LABELS, LABELS, way=3, shot=4, queries=5, runs=20, seed=0, same=same)
    assert len(draws) == 20
    for draw in draws:
        supported, asked = LABELS[draw.support], LABELS[draw.query]
        classes, counts = np.unique(supported, return_counts=True)
        assert counts.tolist() == [4, 4, 4]
        np.testing.assert_array_equal(np.unique(asked, return_counts=True), (classes, [5, 5, 5]))
        assert len(set(draw.support)) == 12
        assert len(set(draw.query)) == 15
        if same:
            assert not set(draw.support) & set(draw.query)
    assert len({tuple(np.unique(LABELS[draw.support])) for draw in draws}) > 5
    again = episodes(LABELS, LABELS, way=3, shot=4, queries=5, runs=30, seed=0, same=same)
    assert all((one.query == other.query).all() for one, other in zip(draws, again, strict=False))
    other = episodes(LABELS, LABELS, way=3, shot=4, queries=5, runs=20, seed=1, same=same)
    assert any((one.query != two.query).any() for one, two in zip(draws, other, strict=True))


def test_only_classes_with_enough_clouds_are_drawn() -> None:
    labels = np.array([0] * 9 + [1] * 8 + [2] * 9)
    for draw in episodes(labels, labels, way=2, shot=4, queries=5, runs=5, seed=0, same=True):
        assert set(labels[draw.support]) == {0, 2}
    message = "a 3-way 4-shot draw with 5 queries needs 3 classes with enough clouds, got 2"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        episodes(labels, labels, way=3, shot=4, queries=5, runs=1, seed=0, same=True)


def test_equals_the_plain_rendition() -> None:
    support, query = features(60, 1), features(48, 2)
    draws = episodes(support.labels, query.labels, way=3, shot=4, queries=6, runs=6, seed=0, same=False)
    got = few_shot_score(support, query, draws, 1.0)
    expected = plain.few_shot_accuracies(
        (support.values, support.labels), (query.values, query.labels), [tuple(draw) for draw in draws], 1.0
    )
    assert got["accuracies"] == pytest.approx(expected, abs=1e-12)
    assert got["mean"] == pytest.approx(sum(expected) / 6)
    assert got["deviation"] == pytest.approx((sum((one - got["mean"]) ** 2 for one in expected) / 6) ** 0.5)
    assert 0.4 < got["mean"] < 1.0  # neither chance nor trivial, so that equality says something


def test_by_hand() -> None:
    """Two classes on a line: the border lies half-way, at 5, so queries at 4 and 6 are told apart and 4.9 is not."""
    support = Features(np.array([[0.0], [1.0], [9.0], [10.0]], np.float32), np.array([0, 0, 1, 1]))
    query = Features(np.array([[4.0], [4.9], [6.0], [5.5]], np.float32), np.array([0, 1, 1, 1]))
    draws = episodes(support.labels, query.labels, way=2, shot=2, queries=1, runs=1, seed=0, same=False)
    whole = [draws[0]._replace(query=np.arange(4))]
    assert few_shot_score(support, query, whole, 1000.0)["mean"] == 0.75


def test_another_number_of_neighbours() -> None:
    encoder = DGCNN(k=7, widths=(4, 4), embedding=4)
    set_neighbors(encoder, 5)
    assert [layer.k for layer in encoder.layers] == [5, 5]
