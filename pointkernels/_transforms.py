"""Operators under torch's transforms: forward mode, and torch.func (grad, vjp, jvp, vmap and their combinations).

What torch.library registers knows reverse mode alone: forward mode would lose tangents without a word, and torch.func
would refuse. So an operator gets an autograd.Function with all its rules, and the dispatcher asks for that one as soon
as a transform is under way: where the transforms enter torch, before they have taken anything apart. Without a
transform none of this runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from pointkernels import _library  # noqa: F401  (defines the operators)

_LIBRARY = torch.library.Library("pointkernels", "FRAGMENT")  # type: ignore[no-untyped-call]
_functorch: Any = torch._C._functorch
_functorch_active: Callable[[], bool] = torch._C._are_functorch_transforms_active

# Rules of an operator for torch.vmap: from the number of samples, the dimension of each argument over which it is
# mapped (None: it is the same for all), and the arguments, to the outputs and their dimensions.
VmapRule = Callable[..., tuple[Any, Any]]


def active() -> bool:
    """Whether forward mode or a transform of torch.func is under way."""
    return forward_ad._current_level >= 0 or _functorch_active()


def forward_mode() -> bool:
    """Whether tensors may have tangents."""
    return forward_ad._current_level >= 0


def transformable(
    name: str,
    forward: Callable[..., Any],
    setup_context: Callable[..., None],
    backward: Callable[..., Any],
    jvp: Callable[..., Any] | None,
    vmap: VmapRule,
) -> Callable[..., Any]:
    """The function of an operator that all of torch's transforms can take.

    Args:
        name: of the operator.
        forward: the operator, below autograd.
        setup_context: as torch.library.register_autograd has it.
        backward: likewise; made of operators that are differentiable themselves.
        jvp: (arguments, outputs, tangents of the arguments, None for none) to the tangents of the outputs.
        vmap: its rule.
    """

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        setup_context(ctx, inputs, output)
        outputs = output if isinstance(output, tuple) else (output,)
        everything = (*inputs, *outputs)
        ctx.save_for_forward(*(value for value in everything if isinstance(value, Tensor)))
        ctx.whole_call = [None if isinstance(value, Tensor) else (value,) for value in everything]
        ctx.number_of_inputs = len(inputs)

    def push(ctx: Any, *tangents: Tensor | None) -> Any:
        if jvp is None:
            raise RuntimeError(f"pointkernels::{name} must be called where forward mode can be seen, got its function")
        saved = iter(ctx.saved_tensors)
        everything = [next(saved) if other is None else other[0] for other in ctx.whole_call]
        return jvp(everything[: ctx.number_of_inputs], everything[ctx.number_of_inputs :], tangents)

    def map_over(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        return vmap(info.batch_size, in_dims, *arguments)

    members: dict[str, Any] = {
        "forward": forward,
        "setup_context": setup,
        "backward": backward,
        "jvp": push,
        "vmap": map_over,
    }
    function: Any = type(name, (torch.autograd.Function,), {key: staticmethod(value) for key, value in members.items()})
    return function.apply  # type: ignore[no-any-return]


def register(name: str, function: Callable[..., Any]) -> None:
    """Give calls of the operator under a transform of torch.func to a function, arguments with their defaults."""
    overload = getattr(torch.ops.pointkernels, name).default
    defaults = tuple(argument.default_value for argument in overload._schema.arguments)

    def enter(*arguments: Any) -> Any:
        return function(*arguments, *defaults[len(arguments) :])

    _LIBRARY.impl(name, enter, "FuncTorchDynamicLayerFrontMode")  # type: ignore[no-untyped-call]


def carried(value: Tensor, formula: Tensor) -> Tensor:
    """The value, bit for bit, with the derivatives of a formula that gives the same number up to rounding."""
    change = formula - formula.detach()
    return value + torch.where(change.isfinite(), change, 0)


def innermost(tensor: Tensor) -> tuple[Tensor, bool]:
    """What is in the wrappers of torch.func, and whether one of them was torch.vmap's."""
    mapped = False
    while _functorch.is_functorch_wrapped_tensor(tensor):
        mapped = mapped or _functorch.is_batchedtensor(tensor)
        tensor = _functorch.get_unwrapped(tensor)
    return tensor, mapped


def rows(tensor: Tensor, dim: int | None, samples: int) -> Tensor:
    """The rows of all samples, one sample after the other."""
    stacked = tensor.expand(samples, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return stacked.reshape(samples * stacked.shape[1], *stacked.shape[2:]).contiguous()


def by_sample(tensor: Tensor, samples: int) -> Tensor:
    """The reverse: (S * R, ...) to (S, R, ...)."""
    return tensor.view(samples, tensor.shape[0] // samples, *tensor.shape[1:])


def channels(tensor: Tensor, dim: int) -> Tensor:
    """(R, C) of all samples as (R, S * C)."""
    return tensor.movedim(dim, 1).flatten(1, 2).contiguous()


def one_by_one(call: Callable[..., Any]) -> VmapRule:
    """The rule for samples that cannot share a call, because what belongs to one of them is summed over its rows."""

    def rule(samples: int, dims: Sequence[int | None], *arguments: Any) -> tuple[Any, Any]:
        results = []
        for sample in range(samples):
            mine = [a if d is None else a.select(d, sample).contiguous() for a, d in zip(arguments, dims, strict=True)]
            results.append(call(*mine))
        if isinstance(results[0], tuple):
            return tuple(torch.stack(part) for part in zip(*results, strict=True)), (0,) * len(results[0])
        return torch.stack(results), 0

    return rule


def product_rule(
    call: Callable[..., Any],
    factors: Sequence[int],
    inputs: Sequence[Any],
    _: Sequence[Any],
    tangents: Sequence[Tensor | None],
) -> Any:
    """The tangents of the outputs of an operator that is linear in each of its arguments at `factors`."""
    total: Any = None
    for factor in factors:
        if tangents[factor] is None:
            continue
        part = call(*(tangents[n] if n == factor else value for n, value in enumerate(inputs)))
        if total is None:
            total = part
        else:
            total = tuple(map(torch.add, total, part)) if isinstance(part, tuple) else total + part
    return total
