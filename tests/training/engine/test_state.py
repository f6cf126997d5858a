import copy
import math
from typing import Any

import pytest
import torch

from crosspoint.config.pretrain import Config, ModelConfig, OptimisationConfig
from crosspoint.engine.distributed import World
from crosspoint.engine.run import save_finite
from crosspoint.engine.state import TrainingState
from crosspoint.pretraining.state import initial_model, initial_state

WORLD = World(0, 1, torch.device("cpu"))
CONFIG = Config(
    model=ModelConfig(k=4, widths=(4,), embedding=4, cloud_hidden=4, image_hidden=4, projection=4, resnet_width=4),
    optimisation=OptimisationConfig(learning_rate=0.5),
)


def update(state: TrainingState[Any], count: int = 1) -> list[float]:
    """Takes steps along arbitrary gradients; returns the rates they used."""
    rates = []
    for _ in range(count):
        rates.append(state.optimiser.param_groups[0]["lr"])
        for parameter in state.model.parameters():
            parameter.grad = torch.randn_like(parameter)
        state.optimiser.step()
        state.schedule.step()
        state.step += 1
    return rates


def weights(state: TrainingState[Any]) -> list[torch.Tensor]:
    return [value.clone() for value in state.model.state_dict().values()]


@pytest.mark.parametrize("total", [1, 2, 10])
def test_the_rate_follows_a_cosine_and_is_never_zero(total: int) -> None:
    rates = update(initial_state(CONFIG, total, WORLD), total)
    assert rates == pytest.approx([0.25 * (1 + math.cos(math.pi * step / total)) for step in range(total)])
    assert rates[0] == 0.5
    assert min(rates) > 0


def test_weights_depend_on_the_seed_alone() -> None:
    first, again = initial_model(CONFIG), initial_model(CONFIG)
    other = initial_model(Config(model=CONFIG.model, seed=1))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.cloud_encoder.embed.weight, other.cloud_encoder.embed.weight)


def test_a_restored_state_continues_identically() -> None:
    original = initial_state(CONFIG, 10, WORLD)
    update(original, 3)
    captured = copy.deepcopy(original.capture(WORLD))  # training goes on in place
    rates = update(original, 4)
    restored = initial_state(Config(model=CONFIG.model, optimisation=CONFIG.optimisation, seed=9), 10, WORLD)
    restored.restore(captured, WORLD)
    assert restored.step == 3
    assert update(restored, 4) == rates
    for ours, theirs in zip(weights(restored), weights(original), strict=True):
        assert torch.equal(ours, theirs)


def test_weights_that_are_not_finite_are_never_saved() -> None:
    state, saved = initial_state(CONFIG, 10, WORLD), []
    save_finite(state, lambda: saved.append(True))
    next(state.model.parameters()).data.view(-1)[0] = math.nan
    with pytest.raises(FloatingPointError, match=r"^the weights must stay finite, got NaN or infinity at step 0$"):
        save_finite(state, lambda: saved.append(True))
    assert saved == [True]
