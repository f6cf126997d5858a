"""Item keys and their random streams."""

from typing import Any

import numpy as np
import pytest

from crosspoint.data.keys import check_seed, choose_points, random_stream, split_key


@pytest.mark.parametrize(
    ("key", "expected"),
    [(0, (0, 0)), (9, (9, 0)), (-1, (9, 0)), (-10, (0, 0)), ((3, 7), (3, 7)), ((-2, 1), (8, 1)), (np.int64(4), (4, 0))],
)
def test_split_key(key: Any, expected: tuple[int, int]) -> None:
    assert split_key(key, 10) == expected


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (10, IndexError, r"an index must lie in \[-10, 10\), got 10"),
        (-11, IndexError, r"an index must lie in \[-10, 10\), got -11"),
        ((0, -1), ValueError, "an epoch must be at least 0, got -1"),
        (1.0, TypeError, r"an item key must be an index or a pair \(index, epoch\), got 1\.0"),
        ((1, 2, 3), TypeError, r"an item key must be an index or a pair \(index, epoch\), got \(1, 2, 3\)"),
        ("a", TypeError, r"an item key must be an index or a pair \(index, epoch\), got 'a'"),
    ],
)
def test_split_key_rejects(key: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        split_key(key, 10)


def test_random_streams_repeat_and_differ() -> None:
    keys = [(0, 0), (0, 1), (1, 0), (0,), (0, 0, 0)]
    draws = {(seed, key): tuple(random_stream(seed, *key).random(4)) for seed in (0, 1) for key in keys}
    assert len(set(draws.values())) == len(draws)
    assert all(tuple(random_stream(seed, *key).random(4)) == draw for (seed, key), draw in draws.items())


def test_random_stream_leaves_global_state_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    random_stream(0, 1).random(100)
    assert np.array_equal(np.random.get_state()[1], before)  # type: ignore[index]  # noqa: NPY002


def test_check_seed() -> None:
    assert check_seed(5) == 5
    with pytest.raises(ValueError, match=r"^a seed must be at least 0, got -1$"):
        check_seed(-1)


@pytest.mark.parametrize(("available", "wanted"), [(10, 10), (10, 3), (10, 25), (1, 4), (7, 1)])
def test_choose_points_repeats_as_little_as_possible(available: int, wanted: int) -> None:
    chosen = choose_points(available, wanted, random_stream(0))
    counts = np.bincount(chosen, minlength=available)
    assert chosen.shape == (wanted,)
    assert len(counts) == available
    assert counts.max() <= -(-wanted // available)
    assert counts.min() >= wanted // available


def test_choose_points_is_random() -> None:
    draws = [tuple(choose_points(20, 20, random_stream(0, epoch))) for epoch in range(3)]
    assert len(set(draws)) == 3
