import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW
from transformers import CLIPVisionConfig, CLIPVisionModel

from crosspoint.engine.optimisation import image_layer, parameter_groups, warmup_cosine, warmup_cosine_factor

DEPTH = 3


class Model(nn.Module):
    """The parts whose rates differ, around CLIP's own transformer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": DEPTH, "num_attention_heads": 2}
        config = CLIPVisionConfig(**sizes, image_size=8, patch_size=4)
        self.image = nn.Module()
        self.image.transformer = CLIPVisionModel(config)
        self.image.mask_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.image.patch_norm = nn.LayerNorm(8)
        self.cloud = nn.Module()
        self.cloud.layers = nn.ModuleList([nn.Linear(2, 2)])
        self.cloud.pos_embed = nn.Linear(3, 2)
        self.cloud.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.classifier = nn.Parameter(torch.zeros(2, 3))
        self.logit_scale = nn.Parameter(torch.zeros(()))


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


def by_name(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The group of each parameter; every one that is trained must be in exactly one."""
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = {names[id(parameter)]: group for group in groups for parameter in group["params"]}
    assert len(found) == len(names) == sum(len(group["params"]) for group in groups)
    return found


def test_rates_fall_towards_the_input(model: Model) -> None:
    rates = {name: group["lr"] for name, group in by_name(model, parameter_groups(model, learning_rate=2.0)).items()}
    for name, rate in rates.items():
        if ".layers." in name and name.startswith("image."):
            block = int(name.split(".layers.")[1].split(".")[0])
            expected = 2.0 * 0.65 ** (DEPTH - block)  # the last block has 0.65
        elif any(part in name for part in ("_embedding", "pre_layrnorm", "mask_token")):
            expected = 2.0 * 0.65 ** (DEPTH + 1)
        else:
            expected = 2.0
        assert rate == pytest.approx(expected), name
    assert sum(rate == 2.0 for rate in rates.values()) == 2 + 2 + 4 + 2  # norms after the blocks; cloud; the last two
    assert len(set(rates.values())) == DEPTH + 2


def test_the_official_names_of_layers() -> None:
    """Twelve blocks, as in ViT-B/16: the input is 13 factors away from what follows the blocks."""
    assert image_layer("image.transformer.encoder.layers.11.mlp.fc1.weight") == 12
    assert image_layer("image.transformer.vision_model.embeddings.position_embedding.weight") == 0
    assert image_layer("image.mask_token") == 0
    for name in ("cloud.mask_token", "cloud.encoder.layers.3.weight", "image.decoder.weight", "logit_scale"):
        assert image_layer(name) is None


@pytest.mark.parametrize("decay_scalars", [False, True])
def test_what_decays(model: Model, decay_scalars: bool) -> None:
    groups = by_name(model, parameter_groups(model, learning_rate=1.0, weight_decay=0.05, decay_scalars=decay_scalars))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.dim() >= 2 or (name == "logit_scale" and decay_scalars)
            assert groups[name]["weight_decay"] == (0.05 if decays else 0.0), name
    assert groups["image.mask_token"]["weight_decay"] == 0.05


def test_one_step_by_hand() -> None:
    """The first step of AdamW has the size of the rate, and decay takes its share of the weight first."""
    torch.manual_seed(0)
    model = Model()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimiser = AdamW(parameter_groups(model, learning_rate=0.1, weight_decay=0.05))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    for name, rate, decay in (
        ("image.transformer.encoder.layers.1.mlp.fc1.weight", 0.1 * 0.65**2, 0.05),
        ("image.transformer.encoder.layers.1.mlp.fc1.bias", 0.1 * 0.65**2, 0.0),
        ("cloud.layers.0.weight", 0.1, 0.05),
        ("logit_scale", 0.1, 0.0),
    ):
        expected = before[name] * (1 - rate * decay) - rate
        torch.testing.assert_close(model.get_parameter(name).detach(), expected, msg=name)
    assert torch.equal(model.get_parameter("cloud.frozen.weight"), before["cloud.frozen.weight"])


def test_without_layer_decay_no_image_transformer_is_needed() -> None:
    linear = nn.Linear(2, 2)
    groups = parameter_groups(linear, learning_rate=0.1, layer_decay=1.0)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.05), (0.1, 0.0)]
    with pytest.raises(ValueError, match=r"^layer_decay must be 1 for a model without an image transformer, got 0.65$"):
        parameter_groups(linear, learning_rate=0.1)
    with pytest.raises(ValueError, match=r"^layer_decay must lie in \(0, 1\], got 0$"):
        parameter_groups(linear, learning_rate=0.1, layer_decay=0)


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
