import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from crosspoint.config.aligned import AlignedConfig, CloudConfig, ImageConfig, TextConfig
from crosspoint.engine.optimisation import (
    image_layer,
    parameter_groups,
    warmup_cosine,
    warmup_cosine_factor,
)
from crosspoint.models.aligned import AlignedModel

DEPTH = 3


def small_model() -> AlignedModel:
    """Image and cloud branch with as many blocks, frozen tokens, and two classes."""
    torch.manual_seed(0)
    sizes = {"width": 8, "layers": DEPTH, "heads": 2}
    image, cloud = ImageConfig(image_size=8, patch_size=4, **sizes), CloudConfig(token_widths=(4, 4, 4, 4), **sizes)
    model = AlignedModel(AlignedConfig(embedding=8, image=image, cloud=cloud, text=TextConfig(**sizes)))
    model.set_classes(["chair", "table"])
    model.drop_text()
    model.cloud.freeze_tokens()
    return model


@pytest.fixture(scope="module")
def model() -> AlignedModel:
    return small_model()


def by_name(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The group of each parameter; every one that is trained must be in exactly one."""
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = {names[id(parameter)]: group for group in groups for parameter in group["params"]}
    assert len(found) == len(names) == sum(len(group["params"]) for group in groups)
    return found


def test_rates_fall_towards_the_input(model: AlignedModel) -> None:
    groups = by_name(model, parameter_groups(model, learning_rate=2.0))
    rates = {name: group["lr"] for name, group in groups.items()}
    for name, rate in rates.items():
        if name.startswith("image.") and ".layers." in name:
            block = int(name.split(".layers.")[1].split(".")[0])
            expected = 2.0 * 0.65 ** (DEPTH - block)  # the last block has 0.65
        elif name.startswith("image.") and any(part in name for part in ("_embedding", "pre_layrnorm", "mask_token")):
            expected = 2.0 * 0.65 ** (DEPTH + 1)
        else:
            expected = 2.0
        assert rate == pytest.approx(expected), name
    assert len(set(rates.values())) == DEPTH + 2
    inputs = sorted(name for name, rate in rates.items() if rate == min(rates.values()))
    prefix = "image.clip.vision_model."
    assert inputs == [
        f"{prefix}embeddings.class_embedding",
        f"{prefix}embeddings.patch_embedding.weight",
        f"{prefix}embeddings.position_embedding.weight",
        f"{prefix}pre_layrnorm.bias",
        f"{prefix}pre_layrnorm.weight",
        "image.mask_token",
    ]


def test_layers_of_twelve_blocks_and_of_nothing_else() -> None:
    assert image_layer("image.clip.vision_model.encoder.layers.11.mlp.fc1.weight") == 12
    for name in ("cloud.mask_token", "cloud.blocks.3.norm.weight", "image.decoder.weight", "logit_scale"):
        assert image_layer(name) is None


@pytest.mark.parametrize("decay_scalars", [False, True])
def test_what_decays(model: AlignedModel, decay_scalars: bool) -> None:
    groups = by_name(model, parameter_groups(model, learning_rate=1.0, weight_decay=0.05, decay_scalars=decay_scalars))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.dim() >= 2 or (name == "logit_scale" and decay_scalars)
            assert groups[name]["weight_decay"] == (0.05 if decays else 0.0), name
    for name in ("image.mask_token", "cloud.mask_token", "cloud.class_token", "cloud.class_position"):
        assert groups[name]["weight_decay"] == 0.05, "the official code's tokens have three dimensions"


def test_one_step_by_hand() -> None:
    """The first step of AdamW has the size of the rate, and decay takes its share of the weight first."""
    model = small_model()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimiser = AdamW(parameter_groups(model, learning_rate=0.1, weight_decay=0.05, decay_scalars=True))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    block = "image.clip.vision_model.encoder.layers.1.mlp.fc1"
    for name, rate, decay in (
        (f"{block}.weight", 0.1 * 0.65**2, 0.05),
        (f"{block}.bias", 0.1 * 0.65**2, 0.0),
        ("image.mask_token", 0.1 * 0.65**4, 0.05),
        ("cloud.embed.weight", 0.1, 0.05),
        ("classifier", 0.1, 0.05),
        ("logit_scale", 0.1, 0.05),
    ):
        expected = before[name] * (1 - rate * decay) - rate
        torch.testing.assert_close(model.get_parameter(name).detach(), expected, msg=name)
    for name, parameter in model.cloud.tokens.named_parameters(prefix="cloud.tokens"):
        assert torch.equal(parameter.detach(), before[name])


def test_without_layer_decay_no_image_transformer_is_needed() -> None:
    groups = parameter_groups(nn.Linear(2, 2), learning_rate=0.1, layer_decay=1.0)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.05), (0.1, 0.0)]
    with pytest.raises(ValueError, match=r"^layer_decay must be 1 for a model without an image transformer, got 0.65$"):
        parameter_groups(nn.Linear(2, 2), learning_rate=0.1)
    with pytest.raises(ValueError, match=r"^layer_decay must lie in \(0, 1\], got 0$"):
        parameter_groups(nn.Linear(2, 2), learning_rate=0.1, layer_decay=0)


def test_the_schedule_by_hand() -> None:
    factors = [warmup_cosine_factor(step, warmup_steps=3, total_steps=7, start=0.0, end=0.2) for step in range(9)]
    half = math.sqrt(0.5)
    expected = [0, 0.5, 1, 1, 0.6 + 0.4 * half, 0.6, 0.6 - 0.4 * half, 0.2, 0.2]
    assert factors == pytest.approx(expected)
    assert warmup_cosine_factor(0, warmup_steps=1, total_steps=5, start=0.3) == 0.3
    assert warmup_cosine_factor(0, warmup_steps=0, total_steps=5) == 1.0


def test_the_numbers_of_the_official_schedule() -> None:
    """20 epochs of 10 steps at batch 512: 4e-5 at the peak, 2e-6 in the end."""
    rates = [4e-5 * warmup_cosine_factor(step, warmup_steps=10, total_steps=200) for step in range(200)]
    assert rates[0] == 0.0
    assert rates[1] == pytest.approx(4e-5 / 9)
    assert rates[9] == rates[10] == 4e-5
    assert rates[105] == pytest.approx(2e-6 + 0.5 * 3.8e-5)
    assert rates[199] == pytest.approx(2e-6 + 0.5 * 3.8e-5 * (1 + math.cos(math.pi * 189 / 190)))


def test_every_group_keeps_its_share_and_a_restored_schedule_goes_on() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]

    def fresh() -> tuple[SGD, Any]:
        optimiser = SGD([{"params": [weights[0]], "lr": 1.0}, {"params": [weights[1]], "lr": 0.5}])
        return optimiser, warmup_cosine(optimiser, warmup_steps=4, total_steps=12, start=0.1)

    def rates(optimiser: SGD) -> list[float]:
        return [group["lr"] for group in optimiser.param_groups]

    optimiser, schedule = fresh()
    seen = []
    for _ in range(12):
        seen.append(rates(optimiser))
        if len(seen) == 6:
            kept = schedule.state_dict(), optimiser.state_dict()
        optimiser.step()
        schedule.step()
    factors = [warmup_cosine_factor(step, warmup_steps=4, total_steps=12, start=0.1) for step in range(12)]
    assert seen == [pytest.approx([factor, 0.5 * factor]) for factor in factors]

    optimiser, schedule = fresh()
    schedule.load_state_dict(kept[0])
    optimiser.load_state_dict(kept[1])
    for step in range(5, 12):
        assert rates(optimiser) == seen[step]
        optimiser.step()
        schedule.step()


def test_refuses_impossible_schedules() -> None:
    optimiser = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match=r"^warmup_steps must lie in \[0, total_steps\], got 9 of 8$"):
        warmup_cosine(optimiser, warmup_steps=9, total_steps=8)
    with pytest.raises(ValueError, match=r"^start and end must lie in \[0, 1\], got 0.0 and 1.5$"):
        warmup_cosine(optimiser, warmup_steps=0, total_steps=8, end=1.5)
