"""Two processes (gloo over loopback) give the losses and the weights of one process with the whole batch."""

import dataclasses
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from selftraining_runs import SIZES
from torch import Tensor, multiprocessing
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from crosspoint.alignment.step import AlignmentStep, ThreeTowers
from crosspoint.config.align import AlignConfig
from crosspoint.config.selftrain import (
    AS_CODE,
    LabelConfig,
    LabelSource,
    MethodConfig,
    QuirkConfig,
)
from crosspoint.engine.distributed import World, join_world
from crosspoint.engine.state import TrainingState
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.masks import cloud_region_mask, image_block_mask
from crosspoint.models.point_groups import Groups
from crosspoint.selftraining.step import LOSSES, SHARES, SelfTrainingStep
from crosspoint.selftraining.student import Student, train_only_what_learns
from crosspoint.selftraining.teacher import Teacher
from crosspoint.selftraining.views import ViewMaker, Views

SIZE, BATCH, STEPS, CLASSES = 2, 8, 3, ("box", "stick", "ball")
# Batch statistics of BatchNorm are each process's own, and so is the depth that drops out.
STILL = dataclasses.replace(SIZES, cloud=dataclasses.replace(SIZES.cloud, drop_path=0.0))
CASES: dict[str, tuple[LabelSource, QuirkConfig]] = {
    "joint": ("joint", QuirkConfig()),
    "joint as the code": ("joint", dataclasses.replace(AS_CODE, drifting_statistics=False)),
    "separate": ("separate", QuirkConfig()),
    "image": ("image", QuirkConfig()),
    "cloud": ("cloud", QuirkConfig()),
}


def part_of(views: Views, rows: slice) -> Views:
    def take(value: Any) -> Any:
        return Groups(*(one[rows] for one in value)) if isinstance(value, Groups) else value[rows]

    return Views(*(None if value is None else take(value) for value in views))


def self_training(source: LabelSource, quirks: QuirkConfig, world: World) -> list[Tensor]:
    """What each step tells, and the weights of student and teacher in the end."""
    torch.manual_seed(0)
    model = AlignedModel(STILL)
    model.set_classes(CLASSES)
    model.drop_text()
    thresholds = {"threshold": 0.7, "image_threshold": 0.7, "cloud_threshold": 0.58}  # between the first scores
    method = MethodConfig(labels=LabelConfig(source=source, **thresholds), quirks=quirks)
    train_only_what_learns(model, method)
    teacher = Teacher(model, start=0.5)
    optimiser = SGD([one for one in model.parameters() if one.requires_grad], lr=0.01)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)
    state = TrainingState(model, optimiser, schedule, torch.Generator(), teacher=teacher)
    student = Student(model)
    network = DistributedDataParallel(student) if world.size > 1 else student
    step = SelfTrainingStep(state, teacher, network, method, world, ViewMaker(method, model, "y", "y"))
    generator = torch.Generator().manual_seed(1)
    share = BATCH // world.size
    rows = slice(world.rank * share, (world.rank + 1) * share)
    told = []
    for _ in range(STEPS):
        clouds, images = (
            torch.randn(2, BATCH, 32, 3, generator=generator),
            torch.randn(2, BATCH, 3, 16, 16, generator=generator),
        )
        weak, strong = (model.cloud.group(points) for points in clouds)
        views = Views(
            weak_images=images[0] if method.labels.trains_images else None,
            strong_images=images[1] if method.labels.trains_images else None,
            image_mask=image_block_mask(BATCH, (4, 4), generator) if method.labels.trains_images else None,
            weak_groups=weak if method.labels.trains_clouds else None,
            strong_groups=strong if method.labels.trains_clouds else None,
            # Unequally many in the two halves, so that a mean of the halves' means would be another one.
            cloud_mask=cloud_region_mask(strong.centers, generator, ratio=(0.2, 0.9))
            if method.labels.trains_clouds
            else None,
        )
        true = torch.randint(len(CLASSES), (BATCH,), generator=generator)
        told.append(step.learn(part_of(views, rows), true[rows]))
    weights = [torch.cat([one.detach().flatten() for one in net.parameters()]) for net in (model, teacher.model)]
    return [torch.stack(told), *weights]


def alignment(world: World) -> list[Tensor]:
    """The loss of one step without augmentation, and the weights after it."""
    torch.manual_seed(0)
    model = AlignedModel(STILL)
    for part in (model.image.decoder, model.image.patch_norm, model.image.mask_token):
        part.requires_grad_(False)
    for part in (model.cloud.predict, model.cloud.compare, model.cloud.mask_token):
        part.requires_grad_(False)
    optimiser = SGD([one for one in model.parameters() if one.requires_grad], lr=0.01)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)
    state = TrainingState(model, optimiser, schedule, torch.Generator())
    towers = ThreeTowers(model, CLASSES)
    network = DistributedDataParallel(towers) if world.size > 1 else towers
    step = AlignmentStep(state, network, AlignConfig(), world, "y")
    generator = torch.Generator().manual_seed(2)
    points, images = torch.randn(BATCH, 32, 3, generator=generator), torch.randn(BATCH, 3, 16, 16, generator=generator)
    classes = torch.randint(len(CLASSES), (BATCH,), generator=generator)
    share = BATCH // world.size
    rows = slice(world.rank * share, (world.rank + 1) * share)
    model.cloud.tokens.eval()  # running statistics
    losses = step.learn(model.cloud.group(points[rows]), images[rows], classes[rows])
    return [losses, torch.cat([one.detach().flatten() for one in model.parameters()])]


def everything(world: World) -> dict[str, list[Tensor]]:
    return {"alignment": alignment(world), **{name: self_training(*case, world) for name, case in CASES.items()}}


def work(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(SIZE), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with join_world("cpu") as world:
        torch.save(everything(world), Path(folder) / f"{rank}.pt")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Tensor]]]:
    """Of process 0, of process 1, and of one process alone."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(work, (port, str(folder)), nprocs=SIZE)
    alone = everything(World(0, 1, torch.device("cpu")))
    return [*(torch.load(folder / f"{rank}.pt") for rank in range(SIZE)), alone]


@pytest.mark.parametrize("name", ["alignment", *CASES])
def test_the_same_as_one_process(results: list[dict[str, list[Tensor]]], name: str) -> None:
    *pair, alone = (result[name] for result in results)
    for result in pair:
        for ours, theirs in zip(result, alone, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5)


def test_the_cases_have_something_to_tell_apart(results: list[dict[str, list[Tensor]]]) -> None:
    told = results[-1]["joint"][0]
    confident = told[:, len(LOSSES) + SHARES.index("confident")]
    assert bool(((confident > 0) & (confident < 1)).any())
    assert not torch.equal(results[-1]["joint"][0], results[-1]["joint as the code"][0])
