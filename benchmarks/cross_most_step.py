"""One training step of Cross-MoST with random weights: how long each part takes, and how much memory all of it.

    python benchmarks/cross_most_step.py --size paper --batch 4 --points 8192 --steps 1

`--size paper` is CLIP ViT-B/16 and Point-BERT as in the paper; `--size small` is the default of the package. The first
step fills caches and makes the optimiser's state; medians are over the `--steps` that follow it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import torch
from harness.environment import cpu_model, load_average
from harness.memory import CLEAR_REFS, status
from torch import Tensor

from crosspoint.config.aligned import AlignedConfig
from crosspoint.engine.allocator import keep_freed_memory
from crosspoint.engine.optimisation import parameter_groups
from crosspoint.losses import (
    BranchLosses,
    alignment_loss,
    cross_most_loss,
    fairness_loss,
    global_local_loss,
    joint_pseudo_labels,
    masked_pixel_loss,
    masked_token_loss,
    self_training_loss,
)
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.masks import cloud_region_mask, image_block_mask
from crosspoint.selftraining.teacher import Teacher

CLASSES = 40


def step(
    model: AlignedModel,
    teacher: Teacher,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    points: Tensor,
    generator: torch.Generator,
) -> Iterator[str]:
    """One step; yields the name of each part when it is done."""
    groups = model.cloud.group(points, generator)
    grid = images.shape[-1] // model.image.patch_size
    image_mask = image_block_mask(len(images), (grid, grid), generator, device=images.device)
    cloud_mask = cloud_region_mask(groups.centers, generator)
    yield "groups and masks"
    with torch.no_grad():
        image_logits = teacher.model.logits(teacher.model.image(images).feature)
        yield "teacher, image"
        cloud_logits = teacher.model.logits(teacher.model.cloud(teacher.model.cloud.group(points, generator)).feature)
        labels = joint_pseudo_labels(image_logits, cloud_logits, threshold=0.0)
        yield "teacher, cloud"
    image = model.image(images, image_mask)
    yield "student, image"
    cloud = model.cloud(groups, cloud_mask)
    yield "student, cloud"
    logits = {"image": model.logits(image.feature), "cloud": model.logits(cloud.feature)}
    loss = cross_most_loss(
        BranchLosses(
            self_training_loss(logits["image"], labels.labels, labels.mask),
            fairness_loss(logits["image"]),
            masked_pixel_loss(image.reconstruction, images, image_mask),
            global_local_loss(image.summary, image.tokens, image_mask.flatten(1)),
        ),
        BranchLosses(
            self_training_loss(logits["cloud"], labels.labels, labels.mask),
            fairness_loss(logits["cloud"]),
            masked_token_loss(cloud.reconstruction, cloud.target.detach(), cloud_mask),
            global_local_loss(cloud.summary, cloud.tokens, cloud_mask),
        ),
        alignment_loss(cloud.feature, image.feature, scale=model.logit_scale.exp()),
    )
    assert torch.isfinite(loss.total), loss
    yield "losses"
    optimiser.zero_grad()
    loss.total.backward()
    yield "backward"
    optimiser.step()
    yield "optimiser"
    teacher.update(model)
    yield "teacher's update"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("paper", "small"), default="paper")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--points", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    keep_freed_memory()  # as every training run does
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    config = AlignedConfig.paper() if arguments.size == "paper" else AlignedConfig()
    model = AlignedModel(config)
    model.drop_text()
    directions = torch.nn.functional.normalize(torch.randn(config.embedding, CLASSES), dim=0)
    model.classifier = torch.nn.Parameter(directions)
    model.cloud.freeze_tokens()
    model.train()
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    teacher = Teacher(model)
    optimiser = torch.optim.AdamW(parameter_groups(model, learning_rate=2e-5))
    size = config.image.image_size
    images, points = torch.randn(arguments.batch, 3, size, size), torch.randn(arguments.batch, arguments.points, 3)
    parts: dict[str, list[float]] = {}
    CLEAR_REFS.write_text("5")
    for number in range(1 + arguments.steps):
        before = time.perf_counter()
        for name in step(model, teacher, optimiser, images, points, generator):
            now = time.perf_counter()
            if number:
                parts.setdefault(name, []).append(now - before)
            before = time.perf_counter()
    medians = {name: statistics.median(times) for name, times in parts.items()}
    print(f"{cpu_model()}, {arguments.threads} thread(s), torch {torch.__version__}, load average {load_average()}")
    print(f"{arguments.size}: {trained / 1e6:.2f} million trained weights, batch {arguments.batch}, {size} pixels, "
          f"{arguments.points} points, {arguments.steps} step(s) after the first")  # fmt: skip
    for name, seconds in medians.items():
        print(f"  {name:18} {1000 * seconds:10.1f} ms")
    print(f"  {'step':18} {1000 * sum(medians.values()):10.1f} ms")
    print(f"  peak of the process {status('VmHWM') / 2**30:.2f} GiB (weights, teacher, optimiser and step)")


if __name__ == "__main__":
    main()
