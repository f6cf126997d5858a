"""What a branch of an aligned model gives, whichever its modality."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Branch(NamedTuple):
    """What one branch makes of B objects; all but the feature is there only if the input was masked."""

    feature: Tensor
    """(B, C) of length one, in the shared space."""
    summary: Tensor | None = None
    """(B, S) the class token, mapped to where the global-local loss compares; not of length one."""
    tokens: Tensor | None = None
    """(B, T, S) the tokens of patches or groups, mapped likewise."""
    reconstruction: Tensor | None = None
    """Images: (B, 3, H, W) pixels. Clouds: (B, T, W) embedded tokens."""
    target: Tensor | None = None
    """Clouds: (B, T, W) the embedded tokens as they were before masking, with gradient. Images: their own pixels."""
    masked_target: Tensor | None = None
    """Clouds: (B, T, W) the embedded tokens after masking, which the official code compares with."""
