import pytest
import torch

from crosspoint.data.sample import Sample
from crosspoint.engine.loading import load_batches
from crosspoint.engine.sampler import ResumableBatchSampler


class Numbers:
    """Clouds that hold their own key; one of them may be broken."""

    class_names = ("number",)
    up_axis = "y"

    def __init__(self, broken: int | None = None) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 6

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        index, epoch = key
        if index == self.broken:
            raise FileNotFoundError(f"number {index} must exist, got nothing")
        return Sample(points=torch.tensor([[index, epoch, 0.0]]), label=torch.tensor(0))


def plan() -> ResumableBatchSampler:
    return ResumableBatchSampler(6, 2, 2, seed=0, start_step=1)


def test_batches_follow_the_sampler() -> None:
    loaded = [
        batch["points"][:, 0, :2].long().tolist()
        for batch in load_batches(Numbers(), plan(), workers=0, pin_memory=False)
    ]
    assert loaded == [[list(key) for key in batch] for batch in plan()]


def test_an_error_arrives_as_it_was_raised() -> None:
    batches = load_batches(Numbers(broken=list(plan())[1][0][0]), plan(), workers=0, pin_memory=False)
    next(batches)
    with pytest.raises(FileNotFoundError, match=r"^number \d must exist, got nothing$"):
        next(batches)
