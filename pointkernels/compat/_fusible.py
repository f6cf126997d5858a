"""Whether the fused operator does what the modules of a block do, asked when a model is fused and at every call.

Parts may have been exchanged, hooked, frozen or put into another mode in the meantime. Reading a mode, a slope or a
parameter at the call is enough for some of that; what is here is the rest, for which the modules themselves must run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
_ACTIVATIONS = (nn.LeakyReLU, nn.ReLU)
_KINDS = "it is not Conv2d, BatchNorm2d and LeakyReLU or ReLU"


def why_not_fusible(block: nn.Sequential, features: Tensor | None = None) -> str:
    """What keeps a block from being fused; "" if nothing does.

    Args:
        block: any nn.Sequential.
        features: (B, N, C) what it is called with; None where this is not known.
    """
    parts = tuple(block._modules.values())
    if len(parts) != 3:
        return _KINDS
    conv, norm, activation = parts
    if not isinstance(conv, nn.Conv2d) or type(norm) not in _NORMS or type(activation) not in _ACTIVATIONS:
        return _KINDS
    assert isinstance(norm, (nn.BatchNorm2d, nn.SyncBatchNorm))
    plain = conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
    # A parametrization gives the class another name, and the weight that the operator reads another value.
    usual = type(conv) is nn.Conv2d or (parametrize.is_parametrized(conv) and type(conv).__bases__ == (nn.Conv2d,))
    if not usual or not plain or conv.in_channels % 2:
        return f"its convolution is not a plain 1x1 convolution of 2 C channels: {conv}"
    # Tables of modules, not their attributes: those are looked up in Python, and this is asked at every call.
    if conv._parameters.get("bias") is not None or (type(conv) is not nn.Conv2d and conv.bias is not None):
        return "its convolution has a bias"
    weight, bias = norm._parameters.get("weight"), norm._parameters.get("bias")
    running_mean, running_var = norm._buffers.get("running_mean"), norm._buffers.get("running_var")
    if weight is None or bias is None:
        return "its BatchNorm has no weight and bias"
    if (running_mean is None) != (running_var is None):
        return "its BatchNorm has only one of the running statistics"
    if isinstance(activation, nn.LeakyReLU) and not activation.negative_slope >= 0:
        return f"its LeakyReLU has the negative slope {activation.negative_slope}"
    for part in parts:
        if has_hooks(part):
            return "a module in it has a hook or a forward of its own, which would not be called"
    device = None if features is None else features.device.type
    if features is None or (device in ("cpu", "cuda") and torch.is_autocast_enabled(device)):
        return ""
    # The operator takes any mixture of dtypes; the modules only some, and say so themselves.
    dtype, of_norm, of_conv = features.dtype, weight.dtype, conv._parameters.get("weight", features)
    half_before_float = of_norm == torch.float32 and dtype in (torch.float16, torch.bfloat16)
    fits = (of_norm == dtype or half_before_float) and bias.dtype == of_norm
    fits = fits and (of_conv is None or of_conv.dtype == dtype)
    if fits and (running_mean is None or running_mean.dtype == of_norm):
        return ""
    return "its parts and its input are of several dtypes"


def has_hooks(part: Any) -> bool:
    """Whether a call of the module does more than its class says."""
    hooks = part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
    return bool(hooks) or "forward" in part.__dict__
