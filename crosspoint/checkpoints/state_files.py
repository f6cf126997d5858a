"""Reading the state dicts that training scripts leave behind, without executing code from them."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

State = Mapping[str, Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "base_model", "model")  # under which training scripts keep the weights
_PARALLEL = "module."  # what DataParallel puts before every name

# What scripts save beside the weights: their arguments, and scores as numbers of numpy (1 or 2).
_NUMPY_SCALAR: Any = np.float64(0).__reduce__()[0]
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int64")),
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),
    (_NUMPY_SCALAR, "numpy._core.multiarray.scalar"),
]


def plain_state(source: str | PathLike[str] | Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file or mapping by their names, without wrappers.

    Args:
        source: A file of `torch.save`, read without executing code from it, or a mapping.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds no tensors by name.
    """
    content: Any = source
    origin = "a state dict"
    if not isinstance(source, Mapping):
        path = Path(source)
        origin = str(path)
        if not path.is_file():
            raise FileNotFoundError(f"weights must be in a file, got no file {path}")
        try:
            with torch.serialization.safe_globals(_HARMLESS):
                content = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
            raise ValueError(f"weights must be in a complete file of torch.save, got {path}") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    tensors = (
        {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise ValueError(f"weights must be a mapping from names to tensors, got {type(content).__name__} in {origin}")
    while all(name.startswith(_PARALLEL) for name in tensors):
        tensors = {name.removeprefix(_PARALLEL): value for name, value in tensors.items()}
    return tensors
