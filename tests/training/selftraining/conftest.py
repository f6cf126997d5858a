"""Fixtures of the tests of self-training."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from selftraining_runs import SIZES

from crosspoint.checkpoints.aligned import save_aligned
from crosspoint.models.aligned import AlignedModel


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """So that results do not depend on how many cores the machine has, and equal those of other processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An aligned model that has learned nothing."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("start") / "aligned.pt"
    save_aligned(path, AlignedModel(SIZES))
    return path
