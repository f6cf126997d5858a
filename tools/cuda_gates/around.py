"""What torch's own operations do around our kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Operations that only make tensors or look at them otherwise.
_FREE = {"empty", "new_empty", "empty_like", "detach", "alias", "_unsafe_view", "lift_fresh", "empty_strided"}
# Of these the first input is not read whole, but only where the result comes from.
_PICK = {"index", "gather"}


class Around(TorchDispatchMode):
    """Counts the operations of torch that launch something, and bytes.

    Attributes:
        launches: of torch.
        bytes: of all new tensors, those of our operators among them; not on the meta device.
        moved: bytes that torch's operations read and write.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches = 0
        self.bytes = 0
        self.moved = 0
        self._seen: set[int] = set()
        self._kept: list[Any] = []  # so that no address is used twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        given, made = _tensors(args), _tensors(result)
        if func.namespace == "aten" and not func.is_view and name not in _FREE:
            self.launches += 1
            read = [*given[1:], *made] if name in _PICK else given
            self.moved += sum(tensor.nbytes for tensor in [*read, *made])
        old = {tensor.untyped_storage().data_ptr() for tensor in given}
        for tensor in made:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._seen | old:
                self._seen.add(storage.data_ptr())
                self._kept.append(storage)
                self.bytes += storage.nbytes()
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
