"""CLIP's text tower, and class names as directions in the shared space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from crosspoint.config.aligned import TextConfig
from crosspoint.models.tokenizer import TextTokenizer

_MLP_RATIO = 4
_TEXTS_AT_ONCE = 256


class TextTower(nn.Module):
    """Texts to the shared space.

    Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021; the
    transformer is that of transformers, so that weights of CLIP fit.

    Args:
        config: Sizes.
        embedding: Channels of the shared space, C.

    Attributes:
        clip: The transformer and its projection.
        context: Tokens of a text at most.
    """

    def __init__(self, config: TextConfig, embedding: int) -> None:
        super().__init__()
        self.context = config.context
        self.clip = CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=config.vocabulary,
                hidden_size=config.width,
                intermediate_size=_MLP_RATIO * config.width,
                projection_dim=embedding,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                max_position_embeddings=config.context,
                hidden_act=config.activation,
                bos_token_id=config.vocabulary - 2,
                eos_token_id=config.vocabulary - 1,
                pad_token_id=config.vocabulary - 1,
            )
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Encodes texts.

        Args:
            tokens: (B, T) int64, from a `TextTokenizer`; what stands after the first end token does not count.

        Returns:
            (B, C) of length one, differentiable in the weights.
        """
        return functional.normalize(self.clip(input_ids=tokens).text_embeds, dim=1)


@torch.no_grad()
def class_embeddings(
    model: TextTower, tokenizer: TextTokenizer, names: Sequence[str], templates: Sequence[str]
) -> Tensor:
    """A direction in the shared space for each class: the mean over the templates of its prompts' directions.

    Args:
        model: The text tower.
        tokenizer: The one that the tower was trained with.
        names: K class names; as in the official code, they are used as they are ("flower_pot").
        templates: Prompts with {} where the name goes.

    Returns:
        (K, C) of length one, on the device of the tower. Not differentiable.

    Raises:
        ValueError: If there is no name or no template, or a template has no {}.
    """
    if not names or not templates:
        raise ValueError(f"there must be at least 1 class and 1 template, got {len(names)} and {len(templates)}")
    for template in templates:
        if "{}" not in template:
            raise ValueError(f"a template must have {{}} where the class name goes, got {template!r}")
    prompts = [template.replace("{}", name) for name in names for template in templates]
    device = next(model.parameters()).device
    directions = torch.cat(
        [
            model(tokenizer(prompts[first : first + _TEXTS_AT_ONCE], model.context).to(device))
            for first in range(0, len(prompts), _TEXTS_AT_ONCE)
        ]
    )
    return functional.normalize(directions.view(len(names), len(templates), -1).mean(dim=1), dim=1)
