"""AdamW with rates that fall towards the input of the image transformer, and a schedule of warm-up and cosine."""

from __future__ import annotations

import math
import re
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

# Names of the parts of a CLIP vision transformer (transformers) inside the image branch, which comes as `image.`.
_BLOCK = re.compile(r"^image\..*\bencoder\.layers\.(\d+)\.")
_INPUT = re.compile(r"^image\..*(embedding|pre_layrnorm|mask_token)")


def image_layer(name: str) -> int | None:
    """Layer of a parameter in the image transformer, from its input.

    Args:
        name: Of a parameter of a model whose image branch is called ``image``.

    Returns:
        0 for the embeddings, the mask token and the first normalisation, i + 1 for block i, None for anything else.
    """
    if block := _BLOCK.match(name):
        return int(block[1]) + 1
    return 0 if _INPUT.match(name) else None


def parameter_groups(
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float = 0.05,
    layer_decay: float = 0.65,
    decay_scalars: bool = False,
) -> list[dict[str, Any]]:
    r"""Groups for an optimiser: layers of the image transformer with falling rates, with and without weight decay.

    With D blocks, layer l of the image transformer (:func:`image_layer`) has the rate :math:`\eta\, r^{D + 1 - l}`;
    everything else has the rate :math:`\eta`: the cloud branch, projections, heads, the classifier, the temperature.
    Parameters of two or more dimensions decay, those of one (biases, normalisations, the class token of CLIP) do not.

    Source: Cross-MoST's code (Dharmasiri et al., 2024), with layer decay 0.65 and weight decay 0.05. There the
    temperature, which has no dimension, decays too.

    Args:
        model: Parameters that need no gradient are left out.
        learning_rate: The rate :math:`\eta`.
        weight_decay: Of the weights that decay.
        layer_decay: r, in (0, 1]; 1 gives all layers the same rate.
        decay_scalars: Whether parameters without a dimension decay, as in the official code.

    Returns:
        What ``torch.optim.AdamW`` takes: groups with ``name``, ``params``, ``lr`` and ``weight_decay``, in the order of
        the model's parameters.

    Raises:
        ValueError: If the layer decay is outside (0, 1], or is below 1 and the model has no image transformer.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must lie in (0, 1], got {layer_decay}")
    layers = {name: image_layer(name) for name, _ in model.named_parameters()}
    depth = max((layer for layer in layers.values() if layer is not None), default=0)
    if depth == 0 and layer_decay < 1:
        raise ValueError(f"layer_decay must be 1 for a model without an image transformer, got {layer_decay}")
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        found = layers[name]
        layer = depth + 1 if found is None else found
        decays = parameter.dim() >= 2 or (parameter.dim() == 0 and decay_scalars)
        group = f"layer {layer}{'' if decays else ', no weight decay'}"
        if group not in groups:
            groups[group] = {
                "name": group,
                "params": [],
                "lr": learning_rate * layer_decay ** (depth + 1 - layer),
                "weight_decay": weight_decay if decays else 0.0,
            }
        groups[group]["params"].append(parameter)
    return list(groups.values())


def warmup_cosine_factor(
    step: int, *, warmup_steps: int, total_steps: int, start: float = 0.0, end: float = 0.05
) -> float:
    r"""Share of the full learning rate at a step, counted from 0.

    .. math::
        f(t) = \begin{cases}
            f_0 + (1 - f_0)\, t / (W - 1) & t < W \\
            f_1 + \tfrac{1}{2} (1 - f_1) (1 + \cos(\pi (t - W) / (T - W))) & t \ge W
        \end{cases}

    So the last step of the warm-up and the first one after it both have the full rate, and a warm-up of a single step
    has the first share. Those are the numbers of the official code of Cross-MoST (Dharmasiri et al., 2024), with one
    epoch of warm-up from 0 and the last share 1e-6 / 2e-5.

    Args:
        step: t, at least 0.
        warmup_steps: W, from 0 to T.
        total_steps: T, at least 1.
        start: f_0, the first share.
        end: f_1, the share that is reached at step T, one after the last.
    """
    if step < warmup_steps:
        return start + (1 - start) * (step / (warmup_steps - 1) if warmup_steps > 1 else 0.0)
    if step >= total_steps:
        return end
    return end + 0.5 * (1 - end) * (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))


def warmup_cosine(
    optimiser: Optimizer, *, warmup_steps: int, total_steps: int, start: float = 0.0, end: float = 0.05
) -> LambdaLR:
    """The schedule of :func:`warmup_cosine_factor` for all groups of an optimiser; move it after every step.

    Args:
        optimiser: Its groups have their full rates.
        warmup_steps: From 0 to ``total_steps``.
        total_steps: Steps of the whole run, at least 1.
        start: Share of the full rate at the first step, at least 0.
        end: Share at the end, at least 0.

    Raises:
        ValueError: If the steps or the shares are out of range.
    """
    if total_steps < 1 or not 0 <= warmup_steps <= total_steps:
        raise ValueError(f"warmup_steps must lie in [0, total_steps], got {warmup_steps} of {total_steps}")
    if not (0 <= start <= 1 and 0 <= end <= 1):
        raise ValueError(f"start and end must lie in [0, 1], got {start} and {end}")
    return LambdaLR(
        optimiser,
        lambda step: warmup_cosine_factor(
            step, warmup_steps=warmup_steps, total_steps=total_steps, start=start, end=end
        ),
    )
