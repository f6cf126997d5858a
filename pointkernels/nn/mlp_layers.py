"""The layers of an MLP that others have put together, for the fused modules that take its place."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["MlpLayer", "edge_mlp", "weight_of"]


class MlpLayer(NamedTuple):
    """One layer: act(norm(linear(x))), where norm and act may do nothing."""

    linear: Any  # torch's, or torch_geometric's of the same name and with the same parameters
    norm: nn.BatchNorm1d | None  # or SyncBatchNorm
    negative_slope: float  # of the activation below zero; 1 for none


def weight_of(linear: nn.Module) -> Tensor:
    """The weight of a Linear that a fused layer holds and does not call.

    Raises:
        TypeError: it has been exchanged, as for LoRA's, or a hook of it changes the weight or the input.
    """
    usual = type(linear) is nn.Linear or (parametrize.is_parametrized(linear) and isinstance(linear, nn.Linear))
    if not usual or linear._forward_pre_hooks or "forward" in linear.__dict__:
        raise TypeError(
            "the linear maps of a fused layer are not called, and must be a Linear without forward pre-hooks "
            f"(parametrizations are fine), got {linear}"
        )
    weight: Tensor = linear.weight  # type: ignore[assignment]
    return weight


def edge_mlp(mlp: nn.Module, layers: int) -> list[MlpLayer]:
    """The layers of an MLP on edges [x_i, x_j - x_i].

    Args:
        mlp: a nn.Sequential, a torch_geometric MLP, or a Linear.
        layers: how many there must be.

    Raises:
        ValueError: another number, other modules than Linear, BatchNorm1d, ReLU, LeakyReLU and Identity, another order
            than this one, an odd number of inputs, a slope below 0, a BatchNorm without parameters or statistics.
    """
    rest = _modules(mlp)
    found: list[MlpLayer] = []
    while rest and type(rest[0]).__name__ == "Linear":
        linear = rest.pop(0)
        norm = rest.pop(0) if rest and isinstance(rest[0], (nn.BatchNorm1d, nn.SyncBatchNorm)) else None
        activation = rest.pop(0) if rest and isinstance(rest[0], (nn.ReLU, nn.LeakyReLU)) else None
        slope = 1.0 if activation is None else float(getattr(activation, "negative_slope", 0.0))
        found.append(MlpLayer(linear, norm, slope))  # type: ignore[arg-type]
    slopes_fit = all(layer.negative_slope >= 0 for layer in found)  # NaN does not
    if rest or len(found) != layers or found[0].linear.weight.shape[1] % 2 or not slopes_fit:
        again = ", and the same again" * (layers - 1)
        raise ValueError(
            f"mlp must be Linear of 2 C inputs, then BatchNorm1d and ReLU or LeakyReLU or less{again}, got {mlp}"
        )
    for layer in found:
        if layer.norm is not None and not (layer.norm.affine and layer.norm.track_running_stats):
            raise ValueError(f"the BatchNorm of mlp must be affine and track statistics, got {layer.norm}")
    return found


def _modules(mlp: Any) -> list[nn.Module]:
    """The modules of an MLP in the order in which they run."""
    if all(hasattr(mlp, name) for name in ("lins", "norms", "act", "plain_last")):  # torch_geometric's MLP
        parts: list[nn.Module] = []
        for n, linear in enumerate(mlp.lins):
            plain = mlp.plain_last and n == len(mlp.lins) - 1
            norms = [] if plain else [getattr(mlp.norms[n], "module", mlp.norms[n])]
            acts = [] if plain or mlp.act is None else [mlp.act]
            dropout = [nn.Dropout(mlp.dropout[n])] if mlp.dropout[n] > 0 else []
            parts += [linear, *(acts + norms if mlp.act_first else norms + acts), *dropout]
    else:
        parts = list(mlp) if isinstance(mlp, nn.Sequential) else [mlp]
    return [part for part in parts if not isinstance(part, nn.Identity)]
