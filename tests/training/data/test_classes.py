"""Datasets under another list of classes."""

from __future__ import annotations

import pytest

from crosspoint.data import PairedShapes, Shapes
from crosspoint.data.datasets.classes import (
    UNKNOWN,
    Rows,
    UnderClasses,
    Unlabelled,
    held_out,
    plain_name,
    shared_classes,
)


@pytest.fixture(scope="module")
def shapes() -> PairedShapes:
    return PairedShapes(per_class=2, num_points=8, num_views=1, image_size=8)


def test_names_are_compared_without_case_and_underscores() -> None:
    assert plain_name("Night_Stand") == plain_name("night-stand") == "night stand"
    assert shared_classes(["Cup", "night_stand", "bed"], ["NIGHT STAND", "cup"]) == ("Cup", "night_stand")
    assert shared_classes(["a"], ["b"]) == ()


def test_other_classes_are_left_out_and_labels_follow_the_list(shapes: PairedShapes) -> None:
    under = UnderClasses(shapes, ["Sword", "unheard of", "mug"], rename={"knife": "sword", "guitar": "sword"})
    assert under.class_names == ("Sword", "unheard of", "mug")
    names = Shapes.class_names
    new = {"knife": 0, "guitar": 0, "mug": 2}
    expected = [new[names[label]] for label in shapes.labels if names[label] in new]
    assert under.labels == expected
    assert [int(under[index]["label"]) for index in range(len(under))] == expected
    mug = under.labels.index(2)
    assert under[mug, 3]["points"].equal(shapes[names.index("mug"), 3]["points"])
    assert int(shapes[names.index("mug")]["label"]) == names.index("mug")


def test_a_list_that_does_not_match_is_explained(shapes: PairedShapes) -> None:
    with pytest.raises(
        ValueError,
        match=r"^at least one class of the data must be among the class names, got data of airplane, bed, bench, "
        r"bookshelf, bottle and 19 more and the class names whale, fish$",
    ):
        UnderClasses(shapes, ["whale", "fish"])
    with pytest.raises(ValueError, match=r"^class names must differ, got 'mug' twice$"):
        UnderClasses(shapes, ["mug", "Mug"])
    with pytest.raises(ValueError, match=r"^only classes of the data can be renamed, got 'whale' and data of airpl"):
        UnderClasses(shapes, ["mug"], rename={"whale": "mug"})


def test_unlabelled(shapes: PairedShapes) -> None:
    unlabelled = Unlabelled(shapes, ["whale", "fish"])
    assert unlabelled.class_names == ("whale", "fish")
    assert set(unlabelled.labels) == {UNKNOWN}
    assert int(unlabelled[0]["label"]) == UNKNOWN
    assert unlabelled[1, 2]["points"].equal(shapes[1, 2]["points"])
    assert len(unlabelled) == len(shapes)


def test_rows_held_out(shapes: PairedShapes) -> None:
    labels = [0] * 20 + [1] * 9 + [2] * 10
    train, test = held_out(labels, 0.1)
    assert sorted(train + test) == list(range(39))
    assert train == sorted(train)
    assert [labels[row] for row in test] == [0, 0, 2]
    assert held_out(labels, 0.1) == (train, test)
    assert held_out(labels, 0.0) == (list(range(39)), [])
    rows = Rows(shapes, [5, 1])
    assert rows.labels == [5, 1]
    assert rows[0, 2]["points"].equal(shapes[5, 2]["points"])
    assert rows[-1]["points"].equal(shapes[1]["points"])
