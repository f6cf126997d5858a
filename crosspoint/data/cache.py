"""A cache that forgets what was used longest ago, and never holds more than a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

CACHE_MEGABYTES = 512
"""Default limit of a dataset's cache, per process."""


_Value = TypeVar("_Value")
_MEGABYTE = 1 << 20


class ByteLimitedCache:
    """What was read from files, as long as there is room for it. Each process has its own.

    Args:
        megabytes: The limit, at least 0; 0 keeps nothing.

    Attributes:
        held: Bytes in the cache.
    """

    def __init__(self, megabytes: float) -> None:
        if not megabytes >= 0:
            raise ValueError(f"cache_megabytes must be at least 0, got {megabytes}")
        self._limit = int(megabytes * _MEGABYTE)
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self.held = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __getstate__(self) -> dict[str, Any]:
        """Copies for other processes start empty: sending the content would cost more than reading it there."""
        return {"_limit": self._limit, "_entries": OrderedDict(), "held": 0}

    def get(self, key: Hashable, load: Callable[[], _Value]) -> _Value:
        """The value of a key; what is not there is loaded, and kept if it fits.

        Args:
            key: Name of the value.
            load: Reads it: arrays, tensors, or mappings of them. They are handed out as they are; do not change them.
        """
        if key in self._entries:
            self._entries.move_to_end(key)
            value: _Value = self._entries[key][0]
            return value
        value = load()
        size = _bytes(value)
        if size <= self._limit:
            self._entries[key] = (value, size)
            self.held += size
            while self.held > self._limit:
                _, (_, oldest) = self._entries.popitem(last=False)
                self.held -= oldest
        return value


def _bytes(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    return 0 if value is None else int(value.nbytes)
