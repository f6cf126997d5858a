"""Checkpoints: written atomically, read without executing code, refused where they do not fit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from crosspoint.config.flat import differences
from crosspoint.engine.atomic import replacing

FORMAT = 1
"""Version of the layout of a checkpoint file."""

_ENTRIES = ("config", "model", "optimiser", "schedule", "randomness", "step", "steps_per_epoch", "processes")
_OPTIONAL = ("score", "teacher", "patience")


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a checkpoint so that at every moment the path holds a complete one: the old or the new.

    Args:
        path: Where to write.
        state: Entries ``config`` (flattened), ``model``, ``optimiser``, ``schedule``, ``randomness`` (one per process),
            ``step``, ``steps_per_epoch`` and ``processes``; ``score`` where this is the best of several, ``teacher``
            and ``patience`` where there is one. Tensors and plain Python values only.

    Raises:
        OSError: If the file cannot be written.
    """
    with replacing(path, "a checkpoint") as file:
        try:
            optional = {name: state[name] for name in _OPTIONAL if name in state}
            torch.save({"format": FORMAT, **{name: state[name] for name in _ENTRIES}, **optional}, file)
        except RuntimeError as error:  # torch's archive writer covers the system's error with one of its own
            raise _system_error(error) from error


def _system_error(error: BaseException) -> OSError:
    covered: BaseException | None = error
    while covered is not None and not isinstance(covered, OSError):
        covered = covered.__context__
    return covered or OSError(str(error).splitlines()[0])


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU.

    Args:
        path: A file written by :func:`save_checkpoint`.

    Returns:
        The entries of the state.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, not a checkpoint, or of another format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there must be a checkpoint to resume from at {path}, got none")
    with path.open("rb") as file:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
            raise ValueError(f"{path} must be a complete checkpoint, got a damaged or foreign file") from error
    if not isinstance(state, dict) or "format" not in state:
        raise ValueError(f"{path} must be a checkpoint of this program, got a file without a format number")
    if state["format"] != FORMAT:
        raise ValueError(f"{path} must have checkpoint format {FORMAT}, got {state['format']}")
    missing = [name for name in _ENTRIES if name not in state]
    if missing:
        raise ValueError(f"{path} must hold all parts of a checkpoint, got one without {', '.join(missing)}")
    return state


def require_same_run(
    path: Path,
    state: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    steps_per_epoch: int,
    processes: int,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Refuses a checkpoint that another run wrote: continuing it would not give the weights of any one setting.

    Args:
        path: Where the checkpoint came from, for the message.
        state: The checkpoint.
        config: This run's settings, flattened.
        steps_per_epoch: This run's steps in an epoch.
        processes: This run's number of processes.
        defaults: The settings' defaults, flattened, for what older checkpoints lack; CrossPoint's if left out.

    Raises:
        ValueError: If settings that decide the weights, the amount of data or the number of processes differ.
    """
    theirs = state["config"]
    names = differences(config, theirs, defaults)
    if names:
        listed = ", ".join(f"{name} ({theirs.get(name)} there, {config.get(name)} here)" for name in names)
        raise ValueError(f"{path} must come from the same configuration, got other values of {listed}")
    if state["processes"] != processes:
        raise ValueError(
            f"{path} must be resumed by as many processes as wrote it ({state['processes']}), got {processes}"
        )
    if state["steps_per_epoch"] != steps_per_epoch:
        raise ValueError(
            f"{path} must be resumed on as much data as it saw ({state['steps_per_epoch']} steps per epoch), "
            f"got {steps_per_epoch}"
        )
