"""Items and batches."""

import pytest
import torch

from crosspoint.data import Sample, collate


def _sample(count: int = 4, label: int = 0) -> Sample:
    return Sample(points=torch.rand(count, 3), label=torch.tensor(label), parts=torch.arange(count))


def test_collate_stacks_every_field() -> None:
    samples = [_sample(label=label) for label in (2, 0, 1)]
    batch = collate(samples)
    assert sorted(batch) == ["label", "parts", "points"]
    assert batch["points"].shape == (3, 4, 3)
    assert batch["label"].tolist() == [2, 0, 1]
    assert batch["label"].dtype == torch.int64
    for number, sample in enumerate(samples):
        assert torch.equal(batch["points"][number], sample["points"])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "a batch needs at least 1 sample, got 0"),
        (
            [_sample(), Sample(points=torch.rand(4, 3), label=torch.tensor(0))],
            r"all samples of a batch must have the same keys, got \['label', 'parts', 'points'\] and "
            r"\['label', 'points'\]",
        ),
        (
            [_sample(4), _sample(5)],
            r"all samples of a batch must have the same shape of 'parts', got \(4,\) and \(5,\)",
        ),
    ],
)
def test_collate_rejects(samples: list[Sample], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        collate(samples)
