"""Aligned models as files: written atomically, read without executing code."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from crosspoint.config.aligned import AlignedConfig
from crosspoint.engine.atomic import replacing
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.tokenizer import TextTokenizer

FORMAT = 1
"""Version of the layout of the file."""

_KIND = "aligned model"


def aligned_state(model: AlignedModel) -> dict[str, Any]:
    """All that `restore_aligned` needs: tensors and plain values; part of a checkpoint, too."""
    return {
        "kind": _KIND,
        "format": FORMAT,
        "config": dataclasses.asdict(model.config),
        "tokenizer": model.tokenizer.to_json(),
        "class_names": list(model.class_names),
        "model": model.state_dict(),
    }


def restore_aligned(state: Mapping[str, Any]) -> AlignedModel:
    """The inverse of `aligned_state`, on the CPU, in training mode.

    Raises:
        ValueError: If the state is not one of an aligned model, or does not fit its own settings.
    """
    if state.get("kind") != _KIND or state.get("format") != FORMAT:
        raise ValueError(
            f"an aligned model must be of format {FORMAT}, got kind {state.get('kind')}, format {state.get('format')}"
        )
    weights: Mapping[str, torch.Tensor] = state["model"]
    model = AlignedModel(AlignedConfig.from_plain(state["config"]), TextTokenizer.from_json(state["tokenizer"]))
    if not any(name.startswith("text.") for name in weights):
        model.drop_text()
    if "classifier" in weights:
        model.classifier = torch.nn.Parameter(torch.empty_like(weights["classifier"]))
        model.class_names = tuple(state["class_names"])
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"an aligned model's weights must fit its settings, got {error}") from error
    return model


def save_aligned(path: Path, model: AlignedModel) -> None:
    """Writes a model, its tokenizer and its class names to one file.

    Raises:
        OSError: If it cannot be written.
    """
    with replacing(path, "an aligned model") as file:
        torch.save(aligned_state(model), file)


def is_aligned(path: Path) -> bool:
    """Whether a file was written by `save_aligned`."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError):
        return False
    return isinstance(state, dict) and state.get("kind") == _KIND


def load_aligned(path: Path) -> AlignedModel:
    """Reads a model that `save_aligned` wrote, onto the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there must be an aligned model at {path}, got no file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} must be a complete aligned model, got a damaged or foreign file") from error
    if not isinstance(state, dict) or state.get("kind") != _KIND:
        raise ValueError(f"{path} must be an aligned model, got another kind of file")
    return restore_aligned(state)
