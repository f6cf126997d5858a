import pytest

from crosspoint.engine.sampler import ResumableBatchSampler


def all_batches(**changes: int) -> list[list[tuple[int, int]]]:
    settings = {"size": 10, "batch_size": 4, "epochs": 3, "seed": 5} | changes
    return list(ResumableBatchSampler(**settings))


def test_visits_each_object_at_most_once_an_epoch() -> None:
    batches = all_batches()
    assert len(batches) == 6
    for epoch in range(3):
        keys = [key for batch in batches[2 * epoch : 2 * epoch + 2] for key in batch]
        assert {when for _, when in keys} == {epoch}
        assert len({index for index, _ in keys}) == 8  # two of ten are left out of this epoch
        assert all(0 <= index < 10 for index, _ in keys)


def test_a_full_epoch_visits_everything() -> None:
    assert sorted(index for batch in all_batches(batch_size=5, epochs=1) for index, _ in batch) == list(range(10))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    assert all_batches() == all_batches()
    assert all_batches() != all_batches(seed=6)
    assert all_batches()[:2] == all_batches(epochs=1)
    first, second = ([index for index, _ in batch] for batch in all_batches(batch_size=10, epochs=2))
    assert first != second


@pytest.mark.parametrize("start", range(7))
def test_resumes_at_every_step(start: int) -> None:
    sampler = ResumableBatchSampler(10, 4, 3, 5, start_step=start)
    assert list(sampler) == all_batches()[start:]
    assert len(sampler) == 6 - start


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_processes_share_each_batch(world_size: int) -> None:
    parts = [list(ResumableBatchSampler(10, 4, 3, 5, rank=rank, world_size=world_size)) for rank in range(world_size)]
    joined = [[key for part in step for key in part] for step in zip(*parts, strict=True)]
    assert joined == all_batches()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 11}, r"^batch_size must be at most the number of objects, got 11 for 10 objects$"),
        ({"world_size": 3}, r"^batch_size must be a multiple of the number of processes, got 4 for 3 processes$"),
        ({"start_step": 7}, r"^start_step must lie in \[0, 6\], got 7$"),
        ({"start_step": -1}, r"^start_step must lie in \[0, 6\], got -1$"),
    ],
)
def test_errors(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        all_batches(**changes)
