"""An image branch, a cloud branch and a text tower that meet in one space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crosspoint.config.aligned import AlignedConfig
from crosspoint.models.image_transformer import ImageBranch
from crosspoint.models.masked_point_transformer import CloudBranch
from crosspoint.models.prompts import TEMPLATES
from crosspoint.models.text import TextTower, class_embeddings
from crosspoint.models.tokenizer import TextTokenizer

_INITIAL_TEMPERATURE = 0.07  # CLIP's


class AlignedModel(nn.Module):
    """What is aligned by `crosspoint.align` and self-trained by `crosspoint.selftrain`.

    The text tower is there while the branches are aligned; self-training drops it once it has made the classifier.

    Args:
        config: Sizes.
        tokenizer: The text tower's; None for one of bytes, which needs no file.

    Attributes:
        config: As given.
        image: The image branch.
        cloud: The cloud branch.
        text: The text tower, or None where it was dropped.
        tokenizer: The text tower's.
        classifier: (C, K) trainable, shared by both branches; None before `set_classes`.
        class_names: The K names; empty before `set_classes`.
        logit_scale: () trainable logarithm of the inverse temperature.

    Raises:
        ValueError: If the tokenizer has another vocabulary than the text tower.
    """

    classifier: nn.Parameter | None

    def __init__(self, config: AlignedConfig, tokenizer: TextTokenizer | None = None) -> None:
        super().__init__()
        tokenizer = TextTokenizer.of_bytes() if tokenizer is None else tokenizer
        self.config = config
        self.tokenizer = tokenizer
        self.image = ImageBranch(config.image, config.embedding)
        self.cloud = CloudBranch(config.cloud, config.embedding)
        self.text: TextTower | None = TextTower(config.text, config.embedding)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / _INITIAL_TEMPERATURE)))
        self.register_parameter("classifier", None)
        self.class_names: tuple[str, ...] = ()

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encodes texts to (B, C) directions of length one, differentiably in the weights.

        Raises:
            ValueError: If the text tower was dropped, or its vocabulary is not the tokenizer's.
        """
        text = self._text()
        tokens = self.tokenizer(texts, text.context)
        direction: Tensor = text(tokens.to(self.logit_scale.device))
        return direction

    def set_classes(self, names: Sequence[str], templates: Sequence[str] = TEMPLATES["modelnet"]) -> None:
        """Makes the classifier from class names: a column for each, of length one, as the text tower sees it.

        Args:
            names: K different class names.
            templates: Prompts with {} where the name goes.

        Raises:
            ValueError: If the text tower was dropped, or names repeat or are missing.
        """
        if len(set(names)) != len(names):
            raise ValueError(f"class names must differ, got {len(names) - len(set(names))} repeated")
        directions = class_embeddings(self._text(), self.tokenizer, names, templates)
        self.classifier = nn.Parameter(directions.T.contiguous())
        self.class_names = tuple(names)

    def drop_text(self) -> None:
        """Drops the text tower, which no further class names then can be had from."""
        self.text = None

    def logits(self, feature: Tensor) -> Tensor:
        """Scores classes.

        Args:
            feature: (B, C) of length one, from either branch.

        Returns:
            (B, K) logits, differentiable in the feature, the classifier and the temperature.

        Raises:
            ValueError: If there are no classes yet.
        """
        if self.classifier is None:
            raise ValueError("classes must be set before logits are asked for, got a model without a classifier")
        scores: Tensor = self.logit_scale.exp() * (feature @ self.classifier)
        return scores

    def _text(self) -> TextTower:
        if self.text is None:
            raise ValueError("the text tower must be there to read class names, got a model that dropped it")
        if self.tokenizer.vocabulary != self.config.text.vocabulary:
            raise ValueError(
                f"the tokenizer must have the {self.config.text.vocabulary} tokens that the text tower knows, "
                f"got {self.tokenizer.vocabulary}"
            )
        return self.text
