"""The random number generators of a process: seeding, saving, restoring."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seeds the global generators of Python, numpy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (libraries may draw from the global generator)
    torch.manual_seed(seed)


def augmentation_generator(seed: int, rank: int) -> torch.Generator:
    """A CPU generator for the augmentations of one process, independent between processes.

    It lives on the CPU on every device, so that a GPU run draws the same augmentations as a CPU run.
    """
    words = np.random.SeedSequence(seed, spawn_key=(rank,)).generate_state(2, np.uint32)
    # torch takes a signed 64-bit seed, hence the dropped bit.
    return torch.Generator().manual_seed((int(words[0]) << 31) ^ int(words[1]))


def capture(augmentation: torch.Generator) -> dict[str, Any]:
    """State of all generators of this process, as tensors and plain Python values only."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "augmentation": augmentation.get_state(),
    }


def restore(state: dict[str, Any], augmentation: torch.Generator) -> None:
    """Puts all generators back into the state that :func:`capture` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    augmentation.set_state(state["augmentation"])
