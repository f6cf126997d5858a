import io
import random

import numpy as np
import torch

from crosspoint.engine.randomness import augmentation_generator, capture, restore, seed_everything


def draws(generator: torch.Generator) -> list[object]:
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(3).tolist(),  # noqa: NPY002 (the global generator is what is tested)
        np.random.standard_normal(),  # noqa: NPY002
        torch.randn(3).tolist(),
        torch.rand(3, generator=generator).tolist(),
    ]


def test_every_generator_continues_where_it_was() -> None:
    seed_everything(3)
    generator = augmentation_generator(3, 0)
    draws(generator)
    file = io.BytesIO()
    torch.save(capture(generator), file)
    expected = draws(generator)
    seed_everything(4)
    other = augmentation_generator(4, 1)
    file.seek(0)
    restore(torch.load(file, weights_only=True), other)
    assert draws(other) == expected


def test_seeds_repeat() -> None:
    seed_everything(3)
    first = draws(augmentation_generator(3, 0))
    seed_everything(3)
    assert draws(augmentation_generator(3, 0)) == first


def test_processes_and_seeds_augment_differently() -> None:
    streams = [augmentation_generator(seed, rank) for seed in (0, 1, 2**32 - 1) for rank in (0, 1)]
    assert len({tuple(torch.rand(4, generator=stream).tolist()) for stream in streams}) == 6
