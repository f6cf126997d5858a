"""Taking over weights by name, and saying what was taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Transfer:
    """What a module took over from a state dict."""

    taken: tuple[str, ...]
    """Names in the module that got their values."""
    missing: tuple[str, ...]
    """Names in the module for which the state dict had no value; they kept their own."""
    mismatched: tuple[str, ...]
    """Names whose value had another shape, with both shapes; they kept their own."""
    unused: tuple[str, ...]
    """Names in the state dict that the module does not have."""

    @property
    def complete(self) -> bool:
        """Whether every weight of the module was taken over."""
        return not self.missing and not self.mismatched

    def __str__(self) -> str:
        total = len(self.taken) + len(self.missing) + len(self.mismatched)
        text = f"{len(self.taken)} of {total} weights taken over"
        for name in ("missing", "mismatched", "unused"):
            entries = getattr(self, name)
            if entries:
                text += f"; {name}: {', '.join(entries)}"
        return text


def transfer_weights(module: nn.Module, state: Mapping[str, Tensor]) -> Transfer:
    """Copies the values whose name and shape fit.

    Args:
        module: Changed in place.
        state: Values by the module's names.

    Returns:
        What was and what was not taken.

    Raises:
        ValueError: If nothing fits; a network that stays at random must never pass for a pre-trained one.
    """
    own = module.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        some = ", ".join(list(state)[:3]) or "an empty one"
        raise ValueError(f"at least one weight must fit {type(module).__name__}, got none in a state dict of {some}")
    with torch.no_grad():
        for name, value in fitting.items():
            own[name].copy_(value)
    return Transfer(
        taken=tuple(name for name in own if name in fitting),
        missing=tuple(name for name in own if name not in state),
        mismatched=tuple(
            f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
            for name in own
            if name in state and name not in fitting
        ),
        unused=tuple(name for name in state if name not in own),
    )
