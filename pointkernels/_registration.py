"""What every operator registers in Python, where torch's stable C++ interface has no place for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
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


def without_autocast(device: str) -> AbstractContextManager[object]:
    """A context in which the dtypes of operators on a device are those of their inputs."""
    # Not every kind of device has autocast; the meta device has none.
    if device in ("cpu", "cuda") and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor, converted if need be: `to` finds that out in 0.3 microseconds, or 10 when the caches are cold."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def differentiable(
    operator: str, backward: Callable[..., Any], setup_context: Callable[..., None]
) -> Callable[..., Any]:
    """Register an operator's gradient, and return the function to call the operator by.

    What torch.library registers is Python between a call and the operator, 6 microseconds without a gradient and 38
    with one, and several times that when the caches are cold: more than a small cloud takes. The function goes past it
    where neither autocast nor a compiler must see the operator: straight to it, or by an autograd.Function.
    """
    torch.library.register_autograd(operator, backward, setup_context=setup_context)
    packet = _packet(operator)

    def forward(ctx: Any, *arguments: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            output = packet.default(*arguments)
        setup_context(ctx, arguments, output)
        return output

    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    function: Any = type(packet.__name__, (torch.autograd.Function,), members)
    return _past_autograd(packet, function.apply)


def differentiable_once(backward_operator: str, what: str) -> Callable[..., Any]:
    """Make the gradient of a backward operator an error, instead of silently wrong.

    Returns the function to call it by, as `differentiable` does.
    """

    def refuse(*_: Any) -> None:
        raise RuntimeError(f"{what} can be differentiated only once, but a second derivative was asked for")

    torch.library.register_autograd(backward_operator, refuse)
    packet = _packet(backward_operator)
    return _past_autograd(packet, packet)


def _packet(operator: str) -> Any:
    namespace, name = operator.split("::")
    return getattr(getattr(torch.ops, namespace), name)


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an operator had no memory. Torch's stable interface says only which call of its own failed."""
    text = str(error)
    return "bad_alloc" in text or ("aten::" in text and "empty" in text and "API call failed" in text)


def no_memory(operator: str) -> RuntimeError:
    """What is said then, as torch says it on a GPU."""
    return torch.OutOfMemoryError(f"{operator} must have memory for its results and work, got less than they need")


def _past_autograd(packet: Any, with_gradient: Callable[..., Any]) -> Callable[..., Any]:
    overload = packet.default

    def call(*arguments: Any) -> Any:
        device = arguments[0].device.type
        try:
            if device not in ("cpu", "cuda") or torch.compiler.is_compiling() or torch.is_autocast_enabled(device):
                return packet(*arguments)
            if torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in arguments):
                return with_gradient(*arguments)
            with torch._C._AutoDispatchBelowAutograd():
                return overload(*arguments)
        except RuntimeError as error:
            if out_of_memory(error):
                raise no_memory(packet.__name__.lstrip("_")) from error
            raise

    return call
