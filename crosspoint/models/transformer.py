"""Transformer blocks as Point-BERT has them: normalised first, no bias on queries, keys and values."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_MLP_RATIO = 4


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        width: Channels of a token.
        heads: Number of heads; it divides the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps tokens (B, T, W) to tokens (B, T, W), differentiably."""
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        mapped: Tensor = self.project(attended.transpose(1, 2).flatten(2))
        return mapped


class Block(nn.Module):
    """Self-attention and a two-layer perceptron, each after a LayerNorm and around a skip connection.

    Source: Yu et al., "Point-BERT", CVPR 2022, whose blocks are those of ViT; stochastic depth as in Huang et al.,
    "Deep Networks with Stochastic Depth", ECCV 2016.

    Args:
        width: Channels of a token.
        heads: Number of heads; it divides the width.
        drop_path: Probability, for each object and each of the two parts, that training skips the part.
    """

    def __init__(self, width: int, heads: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, _MLP_RATIO * width), nn.GELU(), nn.Linear(_MLP_RATIO * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps tokens (B, T, W) to tokens (B, T, W), differentiably; random in training if `drop_path` is not 0."""
        tokens = tokens + self._sometimes(self.attention(self.attention_norm(tokens)))
        return tokens + self._sometimes(self.perceptron(self.perceptron_norm(tokens)))

    def _sometimes(self, change: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0.0:
            return change
        kept = 1.0 - self.drop_path
        drawn = torch.empty((len(change), 1, 1), dtype=change.dtype, device=change.device).bernoulli_(kept)
        return change * (drawn / kept)
