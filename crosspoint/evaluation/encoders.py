"""The encoders that an evaluation compares: from a checkpoint, and the same one with random weights."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from crosspoint.checkpoints import load_official
from crosspoint.config.evaluate import Evaluation, Task
from crosspoint.config.flat import model_config
from crosspoint.config.pretrain import ModelConfig
from crosspoint.data.sample import UpAxis
from crosspoint.engine.checkpoint import load_checkpoint
from crosspoint.engine.randomness import seed_everything
from crosspoint.engine.run import BEST_NAME, CHECKPOINT_NAME
from crosspoint.models.classifier import Classifier
from crosspoint.models.crosspoint import CrossPoint
from crosspoint.models.dgcnn import DGCNN
from crosspoint.models.dgcnn_seg import DGCNNSeg
from crosspoint.models.encoder import CloudEncoder
from crosspoint.models.pointnet import PointNet
from crosspoint.models.segmentation import PartSegmenter

_Y_UP: UpAxis = "y"  # of the official data, and where nothing else is known


@dataclass(frozen=True)
class Contender:
    """An encoder and what must be known to use it rightly."""

    key: str
    """Its name in results: ``random``, ``last``, ``best`` or ``official``."""
    label: str
    """Its name in tables and figures."""
    encoder: nn.Module
    """Maps (B, N, 3) clouds to (B, C) features; on the CPU."""
    up_axis: UpAxis
    """Vertical axis of the clouds that it was trained on."""
    network: CrossPoint | None = None
    """The whole network, where its image encoder and its projection heads are there too."""
    pretraining: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Flattened settings of the pre-training, where there was one."""
    step: int = 0
    """Steps of that pre-training."""

    @property
    def summary(self) -> dict[str, Any]:
        """What results say about it."""
        return {"label": self.label, "step": self.step}


def contenders(task: Evaluation, *, both: bool = False) -> list[Contender]:
    """The encoders to compare, random weights first.

    Args:
        task: Names the checkpoint, or the encoder where there is none.
        both: Whether to compare the best network of a run's folder as well as the last, where they differ.

    Returns:
        Encoders of one architecture. Random weights of a run are those that its pre-training started from.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it is damaged or not of a known kind, or holds no encoder of clouds.
    """
    if task.checkpoint is None:
        return [_random(task.model, task.seed, _Y_UP, {})]
    if not task.checkpoint.exists():
        raise FileNotFoundError(f"there must be a checkpoint at {task.checkpoint}, got none")
    if task.checkpoint.is_dir():
        files = {"last": task.checkpoint / CHECKPOINT_NAME, "best": task.checkpoint / BEST_NAME}
        if not both:
            files = {task.weights: files[task.weights]}
        elif not files["best"].exists():
            del files["best"]
        states = {key: load_checkpoint(file) for key, file in files.items()}
        if len(states) == 2 and states["last"]["step"] == states["best"]["step"]:
            del states["best"]  # one and the same
    elif is_official(task.checkpoint):
        return _official(task.checkpoint, task.seed)
    else:
        states = {"last": load_checkpoint(task.checkpoint)}
    first = next(iter(states.values()))["config"]
    model = model_config(first, task.checkpoint)
    random = _random(model, int(first["seed"]), cast(UpAxis, first["data.up_axis"]), first)
    return [random, *(_loaded(key, state, model) for key, state in states.items())]


def _random(model: ModelConfig, seed: int, up_axis: UpAxis, pretraining: Mapping[str, Any]) -> Contender:
    seed_everything(seed)  # as a pre-training does before it makes its network
    network = CrossPoint(model)
    return Contender("random", "random weights", network.cloud_encoder, up_axis, network, pretraining)


def _loaded(key: str, state: Mapping[str, Any], model: ModelConfig) -> Contender:
    network = CrossPoint(model)
    network.load_state_dict(state["model"])
    flat = state["config"]
    label = "pre-trained, best" if key == "best" else "pre-trained"
    up_axis = cast(UpAxis, flat["data.up_axis"])
    return Contender(key, label, network.cloud_encoder, up_axis, network, flat, int(state["step"]))


def is_official(file: Path) -> bool:
    """Whether a file holds something that torch can load but this program did not write.

    A file that cannot be loaded counts as ours, whose loader says what is wrong with it.
    """
    if not file.is_file():
        return False
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError):
        return False
    return not (isinstance(content, dict) and "format" in content)


def _official(file: Path, seed: int) -> list[Contender]:
    loaded = load_official(file)
    module = loaded.module.encoder if isinstance(loaded.module, Classifier | PartSegmenter) else loaded.module
    if not isinstance(module, CloudEncoder) or module.in_channels != 3:
        raise ValueError(f"{file} must hold an encoder of clouds of 3 coordinates, got {loaded.layout}")
    seed_everything(seed)
    return [
        Contender("random", "random weights", _untrained(module), _Y_UP),
        Contender("official", f"weights of {file.name}", module, _Y_UP),
    ]


def _untrained(encoder: CloudEncoder) -> CloudEncoder:
    """An encoder of the same architecture and sizes with random weights."""
    if isinstance(encoder, PointNet):
        return PointNet(embedding=encoder.out_channels, t_net=encoder.input_transform is not None)
    if isinstance(encoder, DGCNNSeg):
        return DGCNNSeg(k=encoder.k, embedding=encoder.out_channels, t_net=encoder.transform is not None)
    layers: list[Any] = list(cast(DGCNN, encoder).layers)
    return DGCNN(k=layers[0].k, widths=[layer.out_channels for layer in layers], embedding=encoder.out_channels // 2)


def evaluation_device(task: Task) -> torch.device:
    """Where a task computes.

    Raises:
        ValueError: If it wants a GPU and there is none.
    """
    if task.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be cpu or auto where torch finds no GPU, got cuda")
    return torch.device("cuda" if task.device != "cpu" and torch.cuda.is_available() else "cpu")
