"""Taking over weights into an aligned model, and saying what was taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from crosspoint.checkpoints.aligned_layouts import Entry
from crosspoint.checkpoints.state_files import State
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.transfer import Transfer, transfer_weights

# What masked modelling adds, which only Cross-MoST's own files have; it may start at random.
_FOR_MASKS = (
    "image.mask_token",
    "image.patch_norm.",
    "image.decoder.",
    "cloud.mask_token",
    "cloud.compare",
    "cloud.predict.",
)


@dataclass(frozen=True)
class AlignedReport:
    """What came out of a file or a folder."""

    layout: str
    """Whose weights they are, and of which parts of the model."""
    model: AlignedModel
    """The model with these weights."""
    transfer: Transfer
    """What was taken over, by the names in the source; missing are weights of the parts that it holds."""

    def __str__(self) -> str:
        return f"{self.layout}; {self.transfer}"


def take(model: AlignedModel, entries: Iterable[Entry], state: State, origin: str) -> Transfer:
    """Copies what the entries name, and reports by the names in the source.

    Args:
        model: Changed in place.
        entries: Ours and theirs.
        state: Theirs.
        origin: Where the state comes from, for the message.

    Raises:
        ValueError: If weights are of another shape, or missing where masked modelling is not what they are for.
    """
    entries = list(entries)
    values: dict[str, Tensor] = {}
    for entry in entries:
        if entry.theirs in state:
            value = state[entry.theirs]
            values[entry.ours] = value if entry.read is None else entry.read(value)
    theirs = {entry.ours: entry.theirs for entry in entries}
    own = model.state_dict()
    unfit = [
        f"{theirs[name]} {tuple(value.shape)} for {tuple(own[name].shape) if name in own else 'nothing'}"
        for name, value in values.items()
        if name not in own or own[name].shape != value.shape
    ]
    if unfit:
        raise ValueError(f"weights must have the sizes of the model, got {', '.join(unfit[:3])} in {origin}")
    missing = [entry for entry in entries if entry.ours not in values]
    needed = [entry.theirs for entry in missing if not entry.ours.startswith(_FOR_MASKS)]
    if needed:
        raise ValueError(f"weights must be complete, got none named {', '.join(needed[:3])} in {origin}")
    transfer = transfer_weights(model, values)
    known = {entry.theirs for entry in entries}
    return dataclasses.replace(
        transfer,
        taken=tuple(dict.fromkeys(theirs[name] for name in transfer.taken)),
        missing=tuple(entry.theirs for entry in missing),
        unused=tuple(name for name in state if name not in known),
    )
