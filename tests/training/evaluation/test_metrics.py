import re

import numpy as np
import plain_protocols as plain
import pytest

from crosspoint.evaluation.metrics import accuracy, confusion, part_scores, ranks, recall_at, shape_iou

PARTS = ((0, 1), (2, 3, 4))


def test_accuracy_and_confusion_by_hand() -> None:
    predicted, true = np.array([0, 1, 1, 2, 2]), np.array([0, 1, 2, 2, 2])
    assert accuracy(predicted, true) == 0.8
    assert confusion(predicted, true, 4).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("predicted", "true", "parts", "expected"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], (0, 1), 1.0),
        ([0, 0, 0, 0], [0, 0, 1, 1], (0, 1), (2 / 4 + 0) / 2),
        ([0, 1, 1, 1], [0, 0, 1, 1], (0, 1), (1 / 2 + 2 / 3) / 2),
        ([2, 2, 3, 3], [2, 2, 3, 3], (2, 3, 4), 1.0),  # part 4 is neither there nor predicted
        ([2, 2, 3, 4], [2, 2, 3, 3], (2, 3, 4), (1 + 1 / 2 + 0) / 3),
        ([7, 7, 3, 3], [2, 2, 3, 3], (2, 3), (0 + 1) / 2),  # a part of another category is just wrong
    ],
)
def test_shape_iou_by_hand(predicted: list[int], true: list[int], parts: tuple[int, ...], expected: float) -> None:
    assert shape_iou(np.array(predicted), np.array(true), parts) == pytest.approx(expected, abs=1e-12)


def test_part_scores_by_hand() -> None:
    predicted = [np.array([0, 0]), np.array([0, 1]), np.array([2, 3])]
    true = [np.array([0, 1]), np.array([0, 1]), np.array([2, 2])]
    got = part_scores(predicted, true, [0, 0, 1], PARTS)
    first, second, third = (1 / 2 + 0) / 2, 1.0, (1 / 2 + 0 + 1) / 3
    assert got.instance == pytest.approx((first + second + third) / 3)
    assert got.categories == pytest.approx({0: (first + second) / 2, 1: third})
    assert got.category == pytest.approx(((first + second) / 2 + third) / 2)


def test_part_scores_equal_the_plain_rendition() -> None:
    rng = np.random.default_rng(0)
    parts = ((0, 1), (2, 3, 4), (5,), (6, 7, 8, 9))
    labels = [0, 0, 1, 2, 1, 3]  # of unequal numbers, and with different numbers of points
    true = [rng.choice(parts[label], size=30 + 7 * number) for number, label in enumerate(labels)]
    predicted = [np.where(rng.random(len(one)) < 0.6, one, rng.integers(0, 10, len(one))) for one in true]
    got = part_scores(predicted, true, labels, parts)
    instance, categories = plain.miou(predicted, true, labels, parts)
    assert got.instance == pytest.approx(instance, abs=1e-12)
    assert got.categories == pytest.approx(categories, abs=1e-12)
    assert got.category == pytest.approx(np.mean(list(categories.values())), abs=1e-12)


def test_ranks_by_hand() -> None:
    similarity = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.6], [0.3, 0.3, 0.3]])
    rank = ranks(similarity)
    assert rank.tolist() == [0, 2, 2]  # ties count against the query
    assert [recall_at(rank, k) for k in (1, 2, 3)] == [1 / 3, 1 / 3, 1.0]
    assert ranks(similarity.T).tolist() == [0, 0, 1]


def test_a_constant_similarity_is_not_rewarded() -> None:
    assert recall_at(ranks(np.ones((5, 5))), 4) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: accuracy(np.array([1]), np.array([1, 2])),
            "predictions and truth must be non-empty and of one shape, got (1,) and (2,)",
        ),
        (
            lambda: shape_iou(np.array([1]), np.array([1]), ()),
            "an object needs at least 1 part and as many predictions as points, got 0 parts, (1,) and (1,)",
        ),
        (
            lambda: part_scores([], [], [], PARTS),
            "predictions, truth and categories must be of at least 1 object and equally many, got 0, 0 and 0",
        ),
        (
            lambda: ranks(np.ones((2, 3))),
            "similarities must be a square matrix without NaN, got shape (2, 3)",
        ),
    ],
)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()  # type: ignore[operator]
