"""Item keys, and the random stream that belongs to each of them.

A dataset item is asked for by an index or by (index, epoch). All randomness of an item comes from a generator seeded by
the dataset's seed and that key, never from global state, so that any number of workers and any resumed run draw the
same items.
"""

import operator
from typing import SupportsIndex

import numpy as np

ItemKey = SupportsIndex | tuple[SupportsIndex, SupportsIndex]


def split_key(key: ItemKey, length: int) -> tuple[int, int]:
    """Turn an item key into (index, epoch).

    Args:
        key: an index, or a pair (index, epoch); an index alone means epoch 0.
        length: number of items of the dataset; negative indices count from its end.

    Returns:
        (index, epoch) with 0 <= index < length.

    Raises:
        TypeError: the key is neither an integer nor a pair of integers.
        IndexError: the index is out of range.
        ValueError: the epoch is negative.
    """
    pair = key if isinstance(key, tuple) else (key, 0)
    try:
        index, epoch = (operator.index(number) for number in pair)
    except (TypeError, ValueError):
        raise TypeError(f"an item key must be an index or a pair (index, epoch), got {key!r}") from None
    if not -length <= index < length:
        raise IndexError(f"an index must lie in [{-length}, {length}), got {index}")
    if epoch < 0:
        raise ValueError(f"an epoch must be at least 0, got {epoch}")
    return index % length, epoch


def check_seed(seed: int) -> int:
    """Return `seed` if it is a non-negative integer, else raise ValueError."""
    if seed < 0:
        raise ValueError(f"a seed must be at least 0, got {seed}")
    return seed


def random_stream(seed: int, *key: int) -> np.random.Generator:
    """Independent random stream for a seed and a key of non-negative integers.

    Args:
        seed: seed of the dataset.
        *key: what the stream is for, e.g. (epoch, index). Keys that differ give independent streams.

    Returns:
        A freshly seeded generator; the same arguments always give the same draws.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def choose_points(available: int, wanted: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Indices of a random subset of points, in random order.

    Args:
        available: number of points of the cloud, at least 1.
        wanted: number of points to draw.
        rng: the item's random stream.

    Returns:
        (wanted,) int64. Without repetition when `wanted <= available`; otherwise every point appears
        `wanted // available` or one more times.
    """
    rounds = -(-wanted // available)
    return np.concatenate([rng.permutation(available) for _ in range(rounds)])[:wanted]


def check_drawing(num_points: int, up_axis: str) -> None:
    """Raises ValueError unless `num_points` is positive and `up_axis` an axis."""
    if num_points < 1:
        raise ValueError(f"num_points must be at least 1, got {num_points}")
    if up_axis not in ("x", "y", "z"):
        raise ValueError(f"up_axis must be 'x', 'y' or 'z', got {up_axis!r}")
