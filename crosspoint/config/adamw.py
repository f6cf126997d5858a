"""Settings of AdamW with warm-up and cosine, whatever is trained with it."""

from __future__ import annotations

from dataclasses import dataclass

from crosspoint.config.checks import (
    require,
    require_at_least,
    require_non_negative,
    require_positive,
    require_share,
)


@dataclass(frozen=True, kw_only=True)
class AdamWConfig:
    """How a loss is minimised: AdamW, warm-up, cosine."""

    epochs: int
    """Passes over the data."""
    batch_size: int
    """Objects per step, over all processes together; an incomplete last batch is left out."""
    learning_rate: float
    """The highest rate."""
    last_share: float
    """Share of the rate that is left at the end."""
    warmup_epochs: float = 1.0
    """Epochs over which the rate grows to it."""
    weight_decay: float
    """Of matrices; biases and normalisations do not decay."""

    def __post_init__(self) -> None:
        require_at_least("optimisation.epochs", self.epochs, 1)
        require_at_least("optimisation.batch_size", self.batch_size, 2)
        require_positive("optimisation.learning_rate", self.learning_rate)
        require_share("optimisation.last_share", self.last_share)
        require_non_negative("optimisation.warmup_epochs", self.warmup_epochs)
        require(
            self.warmup_epochs <= self.epochs,
            f"optimisation.warmup_epochs must be at most optimisation.epochs ({self.epochs})",
            self.warmup_epochs,
        )
        require_non_negative("optimisation.weight_decay", self.weight_decay)
