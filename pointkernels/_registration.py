"""What every operator registers in Python, where torch's stable C++ interface has no place for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from pointkernels import _library  # noqa: F401  (defines the operators)

_Function = TypeVar("_Function", bound=Callable[..., Any])


def fake_kernel(operator: str) -> Callable[[_Function], _Function]:
    """Decorator: the function computes the operator's output shapes, for torch.compile and meta tensors."""
    return cast("Callable[[_Function], _Function]", torch.library.register_fake(operator))


def float32_under_autocast(operator: str) -> None:
    """Under autocast, give the operator its half precision inputs in float32."""
    for device in ("cpu", "cuda"):
        torch.library.register_autocast(operator, device, torch.float32)


def call(operator: Callable[..., Any], *arguments: Any) -> Any:
    """Call an operator, past its gradient where none is asked for.

    What torch.library registers for autograd is Python, which finds out the same in 6 microseconds, or in 90 when the
    caches are cold: more than a small cloud takes.
    """
    tracked = torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in arguments)
    if tracked or torch.compiler.is_compiling():
        return operator(*arguments)
    with torch._C._AutoDispatchBelowAutograd():
        return operator(*arguments)


def differentiable_once(backward_operator: str, what: str) -> None:
    """Make the gradient of a backward operator an error, instead of silently wrong."""

    def refuse(*_: Any) -> None:
        raise RuntimeError(f"{what} can be differentiated only once, but a second derivative was asked for")

    torch.library.register_autograd(backward_operator, refuse)
