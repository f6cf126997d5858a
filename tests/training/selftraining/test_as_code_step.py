"""Self-training under the preset as-code against its formulas, written down by themselves in plain_step.py."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import plain_step
import pytest
import torch
from torch import Tensor

from crosspoint.config.aligned import AlignedConfig, CloudConfig, ImageConfig, TextConfig
from crosspoint.config.selftrain import METHODS, QuirkConfig, SelfTrainConfig
from crosspoint.engine.distributed import World
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.masks import cloud_region_mask, image_block_mask
from crosspoint.models.point_groups import Groups
from crosspoint.selftraining.run import initial_state
from crosspoint.selftraining.step import LOSSES, SelfTrainingStep
from crosspoint.selftraining.student import Student
from crosspoint.selftraining.teacher import Teacher
from crosspoint.selftraining.views import ViewMaker, Views

OBJECTS, GROUPS, POINTS, SIDE, PATCH = 12, 16, 8, 24, 4
STEPS_PER_EPOCH, STEPS = 2, 6
ALONE = World(0, 1, torch.device("cpu"))


def small_model() -> AlignedModel:
    """Two blocks in each branch; in float64 and without random skipping, so that steps compare to the last digits."""
    torch.manual_seed(0)
    sizes = {"width": 16, "layers": 2, "heads": 2}
    image = ImageConfig(image_size=SIDE, patch_size=PATCH, activation="quick_gelu", **sizes)
    cloud = CloudConfig(groups=GROUPS, group_size=POINTS, token_widths=(8, 8, 12, 10), drop_path=0.0, **sizes)
    model = AlignedModel(AlignedConfig(embedding=12, image=image, cloud=cloud, text=TextConfig(**sizes)))
    model.set_classes(["chair", "table", "lamp", "car"])
    model.drop_text()
    with torch.no_grad():
        assert model.classifier is not None
        model.classifier.copy_(torch.nn.functional.normalize(torch.randn(12, 4), dim=0))
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand_like(buffer))
    return model.double()


def views(seed: int) -> Views:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def groups() -> Groups:
        return Groups(draw(OBJECTS, GROUPS, 3), draw(OBJECTS, GROUPS, POINTS, 3) * torch.rand(OBJECTS, 1, 1, 1))

    torch.manual_seed(seed)
    centers = (weak := groups(), strong := groups())[1].centers
    grid = SIDE // PATCH
    return Views(
        weak_images=draw(OBJECTS, 3, SIDE, SIDE) + 2 * draw(OBJECTS, 3, 1, 1),
        strong_images=draw(OBJECTS, 3, SIDE, SIDE) + 2 * draw(OBJECTS, 3, 1, 1),
        image_mask=image_block_mask(OBJECTS, (grid, grid), generator),
        weak_groups=weak,
        strong_groups=strong,
        cloud_mask=cloud_region_mask(centers, generator),
    )


def plain_batch(seen: Views) -> plain_step.Batch:
    assert seen.weak_images is not None
    assert seen.strong_images is not None
    assert seen.image_mask is not None
    assert seen.weak_groups is not None
    assert seen.strong_groups is not None
    assert seen.cloud_mask is not None
    return plain_step.Batch(
        seen.weak_images, seen.strong_images, seen.image_mask, *seen.weak_groups, *seen.strong_groups, seen.cloud_mask
    )


@dataclass
class Walk:
    """What both made of the same steps."""

    losses: list[tuple[list[float], dict[str, float]]] = field(default_factory=list)
    states: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = field(default_factory=list)
    teachers: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = field(default_factory=list)
    labels: list[plain_step.Labels] = field(default_factory=list)


def make_step(quirks: QuirkConfig) -> tuple[SelfTrainingStep, AlignedModel, Teacher[AlignedModel]]:
    method = replace(METHODS["as-code"], quirks=quirks)
    config = SelfTrainConfig(init=Path("unused"), method=method)
    model = small_model()
    state, teacher = initial_state(config, model, STEPS_PER_EPOCH, STEPS, ALONE)
    step = SelfTrainingStep(state, teacher, Student(model), method, ALONE, ViewMaker(method, model, "y", "y"))
    return step, model, teacher


def advance(step: SelfTrainingStep, seen: Views) -> list[float]:
    losses: list[float] = step.learn(seen, torch.full((OBJECTS,), -1))[: len(LOSSES)].tolist()
    return losses


@pytest.fixture(scope="module")
def walk() -> Walk:
    """Four steps: two of the warm-up, of which the first has the rate 0, the first one after it, and one more."""
    step, model, teacher = make_step(METHODS["as-code"].quirks)
    plain = plain_step.Plain(
        model.state_dict(), frozen="cloud.tokens.", patch=PATCH, heads=2, learning_rate=4e-5, last_rate=2e-6,
        warmup_steps=STEPS_PER_EPOCH, total_steps=STEPS,
    )  # fmt: skip
    result = Walk()
    for number in range(4):
        seen = views(number)
        batch = plain_batch(seen)
        result.labels.append(plain_step.teacher_labels(plain, batch))
        result.losses.append((advance(step, seen), plain.advance(batch)))
        for found, ours, theirs in (
            (result.states, model.state_dict(), plain.student),
            (result.teachers, teacher.model.state_dict(), plain.teacher),
        ):
            found.append(({name: value.clone() for name, value in ours.items()}, dict(theirs)))
    return result


def test_the_labels_are_of_every_kind(walk: Walk) -> None:
    """Or the losses below would say little: some are confident and some not, some are the cloud's and some not."""
    for labels in walk.labels:
        assert 0 < len(labels.confident) < OBJECTS
        assert 0 < sum(labels.from_cloud) < OBJECTS
        assert len(set(labels.classes)) > 1


def test_the_loss_and_every_term(walk: Walk) -> None:
    for ours, expected in walk.losses:
        assert ("total", *LOSSES[1:]) == tuple(expected)
        assert ours == pytest.approx(list(expected.values()), rel=1e-10)
        assert all(value > 0 for value in ours)


def compared(pairs: list[tuple[dict[str, Tensor], dict[str, Tensor]]]) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Each entry's value before a step, after it, and what it should be then."""
    for (before, _), (after, expected) in pairwise(pairs):
        assert after.keys() == expected.keys()
        for name, value in after.items():
            yield name, before[name], value, expected[name]


def test_weights_and_statistics_after_each_step(walk: Walk) -> None:
    moved = set()
    for name, before, after, expected in compared(walk.states):
        # Biases of keys have no gradient but rounding errors, of which AdamW makes steps of up to 1e-11.
        torch.testing.assert_close(after - before, expected - before, rtol=1e-6, atol=2e-11, msg=name)
        if not torch.equal(after, before):
            moved.add(name)
    frozen = {name for name in walk.states[0][0] if name.startswith("cloud.tokens.")}
    drifting = {name for name in frozen if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert moved == set(walk.states[0][0]) - frozen | drifting


def test_the_teacher_after_each_step(walk: Walk) -> None:
    for name, before, after, expected in compared(walk.teachers):
        torch.testing.assert_close(after - before, expected - before, rtol=1e-6, atol=2e-13, msg=name)


@pytest.mark.parametrize(
    ("quirk", "fixed", "term"),
    [
        ("point_target", "unmasked", "cloud_modelling"),
        ("pixel_divisor", "channels", "image_modelling"),
        ("alignment_scale", "learned", "alignment"),
        ("decay_temperature", False, None),
    ],
)
def test_each_quirk_changes_its_own_term(walk: Walk, quirk: str, fixed: object, term: str | None) -> None:
    step, model, _ = make_step(replace(METHODS["as-code"].quirks, **{quirk: fixed}))
    mended, as_code = advance(step, views(0)), walk.losses[0][0]
    changed = {name for name, a, b in zip(LOSSES, mended, as_code, strict=True) if a != pytest.approx(b, rel=1e-9)}
    assert changed == ({term, "loss"} if term else set())
    if quirk == "pixel_divisor":
        position = LOSSES.index("image_modelling")
        assert mended[position] == pytest.approx(as_code[position] * (1 + (SIDE // PATCH) ** 2) / 3)
    if quirk == "decay_temperature":
        before = model.logit_scale.item()
        advance(step, views(1))
        decayed = walk.states[1][0]["logit_scale"].item()
        assert model.logit_scale.item() - decayed == pytest.approx(4e-5 * 0.05 * before, rel=1e-6)


def test_clouds_of_few_points_get_more_for_the_student_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, generator = small_model(), torch.Generator().manual_seed(0)
    given: list[int] = []
    group = model.cloud.group

    def recorded(points: Tensor, *arguments: Any) -> Groups:
        given.append(points.shape[1])
        return group(points, *arguments)

    monkeypatch.setattr(model.cloud, "group", recorded)
    method = METHODS["as-code"]
    assert method.views.cloud_points == 8192
    images = torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8)
    for points in (8192, 40, 50):
        fewer = replace(method, views=replace(method.views, cloud_points=points))
        ViewMaker(fewer, model, "y", "y")(torch.rand(2, 45, 3, generator=generator), images, generator)
    assert given == [45, 8192, 45, 45, 45, 50]  # the teacher's, then the student's
