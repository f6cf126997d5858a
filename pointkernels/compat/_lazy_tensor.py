"""Objects that become a tensor when something looks at them.

These are plain classes with `__torch_function__`, not subclasses of Tensor: torch.compile traces through them like
through any Python object, and no tensor of the edges' size exists, not even as metadata. They are not Tensors for
`isinstance`, the price of that.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


class LazyTensor(ABC):
    """Something that becomes a tensor when it is used as one."""

    has_maximum = False  # whether `max` and `amax` are methods of its own

    @abstractmethod
    def tensor(self) -> Tensor:
        """The tensor itself, formed at the first call."""

    def quietly(self) -> Tensor:
        """The tensor itself, without a warning that it is formed."""
        return self.tensor()

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Any torch function: with tensors in the place of these objects."""
        kwargs = kwargs or {}
        if function in (torch.max, torch.amax) and args and isinstance(args[0], LazyTensor) and args[0].has_maximum:
            return getattr(args[0], function.__name__)(*args[1:], **kwargs)
        return function(*formed(args), **{name: formed(value) for name, value in kwargs.items()})

    def __getattr__(self, name: str) -> Any:
        """Any attribute or method of a tensor."""
        if name.startswith("__"):  # protocols that copy and pickle look for; a tensor's are not this object's
            raise AttributeError(name)
        return getattr(self.tensor(), name)

    def __len__(self) -> int:
        return len(self.tensor())

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensor())

    def __getitem__(self, key: Any) -> Any:
        return self.tensor()[formed(key)]

    def __bool__(self) -> bool:
        return bool(self.tensor())

    def __neg__(self) -> Tensor:
        return -self.tensor()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tensor()!r})"


def formed(value: Any) -> Any:
    """The same nested arguments with tensors in the place of lazy ones."""
    if isinstance(value, LazyTensor):
        return value.tensor()
    if isinstance(value, (tuple, list)):
        return type(value)(formed(item) for item in value)
    return value


def _binary(name: str, reflected: bool) -> Callable[[LazyTensor, Any], Any]:
    function = getattr(operator, f"__{name}__")

    def apply(self: LazyTensor, other: Any) -> Any:
        return function(formed(other), self.tensor()) if reflected else function(self.tensor(), formed(other))

    return apply


# Python looks up the methods of operators in the class, not through __getattr__.
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"):
    setattr(LazyTensor, f"__{_name}__", _binary(_name, reflected=False))
    setattr(LazyTensor, f"__r{_name}__", _binary(_name, reflected=True))
for _name in ("lt", "le", "gt", "ge"):
    setattr(LazyTensor, f"__{_name}__", _binary(_name, reflected=False))
