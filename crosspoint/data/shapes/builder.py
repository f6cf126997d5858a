"""Assembly of one object from parts, with the random draws that shape it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crosspoint.data.mesh import Facets


class Builder:
    """Collects the parts of an object; its draws come from one random stream.

    Args:
        rng: the object's random stream.
        parts: names of the parts that the object's class may have.
    """

    def __init__(self, rng: np.random.Generator, parts: tuple[str, ...]) -> None:
        self._rng = rng
        self._parts = parts
        self._pieces: list[Facets] = []
        self._piece_parts: list[int] = []

    def between(self, low: float, high: float) -> float:
        """Uniform draw from [low, high)."""
        return low + (high - low) * self._rng.random()

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._rng.random() < probability

    def count(self, low: int, high: int) -> int:
        """Uniform integer from low to high, both included."""
        return low + int((high - low + 1) * self._rng.random())

    def add(self, part: str, *pieces: Facets) -> None:
        """Add facets to the named part."""
        if part not in self._parts:
            raise ValueError(f"a part must be one of {self._parts}, got {part!r}")
        self._pieces.extend(pieces)
        self._piece_parts.extend([self._parts.index(part)] * len(pieces))

    def surface(self) -> tuple[Facets, NDArray[np.int64]]:
        """All facets so far, and for each the index of its part among the class's parts."""
        facets = Facets(
            np.concatenate([piece.corners for piece in self._pieces]),
            np.concatenate([piece.normals for piece in self._pieces]),
        )
        lengths = [len(piece.corners) for piece in self._pieces]
        return facets, np.repeat(np.array(self._piece_parts, dtype=np.int64), lengths)


@dataclass(frozen=True)
class ShapeClass:
    """One class of objects."""

    name: str
    """Class name, e.g. "chair"."""
    parts: tuple[str, ...]
    """Names of its parts, e.g. ("seat", "back", "leg", "arm"); an object may lack some of them."""
    build: Callable[[Builder], None]
    """Adds the parts of one random object to a builder."""
