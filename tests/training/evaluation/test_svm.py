import numpy as np
import plain_protocols as plain
import pytest
import torch
from sklearn.svm import SVC
from torch import nn
from torch.utils.data import Dataset

from crosspoint.data.sample import Sample
from crosspoint.evaluation.features import Features, extract_features
from crosspoint.evaluation.svm import LinearSvms, held_back_split, linear_probe


class Blobs(Dataset[Sample]):
    """Clouds whose mean tells their class."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(index)
        return Sample(points=index % 3 + torch.rand(5, 3, generator=generator), label=torch.tensor(index % 3))


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.norm(points.mean(dim=1))


def features(count: int, seed: int, *, noise: float, classes: int = 4) -> Features:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = np.random.default_rng(0).normal(size=(classes, 8))
    return Features((centres[labels] + noise * rng.normal(size=(count, 8))).astype(np.float32), labels)


def test_features_are_those_of_the_frozen_encoder() -> None:
    encoder = Mean().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    got = extract_features(encoder, Blobs(70), torch.device("cpu"))
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert got.labels.tolist() == [index % 3 for index in range(70)]
    expected = torch.stack([Blobs(70)[index]["points"].mean(dim=0) for index in range(70)])
    np.testing.assert_allclose(got.values, expected.numpy() / np.sqrt(1 + 1e-5), rtol=1e-5)


def test_separable_classes_are_separated() -> None:
    assert linear_probe(features(80, 1, noise=0.05), features(40, 2, noise=0.05), [1.0]).accuracy == 1.0


def test_noise_is_at_chance() -> None:
    train, test = features(200, 1, noise=1.0), features(200, 2, noise=1.0)
    meaningless = Features(train.values, np.random.default_rng(3).permutation(train.labels))
    assert linear_probe(meaningless, test, [0.01]).accuracy < 0.45  # four classes


@pytest.mark.parametrize("count", [12, 80])
def test_c_is_chosen_without_the_test_split(count: int) -> None:
    train = features(count, 1, noise=0.5)
    c = (1e-6, 1e-2, 1.0)
    chosen = {linear_probe(train, features(40, seed, noise=5.0), c).c for seed in range(5)}
    assert len(chosen) == 1
    assert chosen <= set(c)


def test_a_useless_c_is_not_chosen() -> None:
    train = features(80, 1, noise=0.05)
    unbalanced = np.flatnonzero((train.labels == 0) | (np.arange(80) % 16 < 4))
    train = Features(train.values[unbalanced], train.labels[unbalanced])
    assert linear_probe(train, train, [1e-9]).accuracy < 0.7  # so weak that it answers with the most frequent class
    assert linear_probe(train, train, [1e-9, 1.0]).c == 1.0


def test_is_deterministic() -> None:
    train, test = features(80, 1, noise=1.0), features(40, 2, noise=1.0)
    assert linear_probe(train, test, [0.1, 1.0]) == linear_probe(train, test, [0.1, 1.0])


def test_many_clouds_choose_c_on_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosspoint.evaluation.svm.MOST_FOR_CHOICE", 20)
    assert linear_probe(features(80, 1, noise=0.05), features(40, 2, noise=0.05), [0.1, 1.0]).accuracy == 1.0


def test_classes_with_one_cloud() -> None:
    train = features(12, 1, noise=0.05, classes=12)
    assert linear_probe(train, features(24, 2, noise=0.05, classes=12), [0.1, 1.0]).accuracy > 0.5


def test_a_single_class() -> None:
    one = features(8, 1, noise=0.05, classes=1)
    with pytest.raises(ValueError, match=r"^a linear probe needs at least 2 classes, got 1$"):
        linear_probe(one, one, [1.0])


def test_features_that_are_not_finite() -> None:
    good, bad = features(8, 1, noise=0.05), features(8, 1, noise=np.nan)
    with pytest.raises(ValueError, match=r"^features of the test split must be finite, got NaN or infinity$"):
        linear_probe(good, bad, [1.0])


@pytest.mark.parametrize("c", [0.01, 0.1, 1.0])
def test_equals_the_plain_rendition_and_the_linear_kernel(c: float) -> None:
    train, test = features(60, 1, noise=1.0), features(40, 2, noise=1.0)
    got = LinearSvms(train, [c]).predict(test)[c]
    np.testing.assert_array_equal(got, plain.svm_classes(train.values, train.labels, test.values, c))
    np.testing.assert_array_equal(got, SVC(kernel="linear", C=c).fit(train.values, train.labels).predict(test.values))
    assert 0.3 < np.mean(got == test.labels) < 1.0  # neither chance nor trivial


def test_by_hand() -> None:
    """The widest margin between -2, -1 and 1, 4 lies at 0."""
    train = Features(np.array([[-2.0], [-1.0], [1.0], [4.0]], np.float32), np.array([0, 0, 1, 1]))
    test = Features(np.array([[-0.1], [0.1]], np.float32), np.array([0, 1]))
    assert linear_probe(train, test, [100.0]).accuracy == 1.0


@pytest.mark.parametrize("count", [12, 40, 120])
def test_held_back_clouds_are_others(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosspoint.evaluation.svm.MOST_FOR_CHOICE", 80)
    labels = features(count, 1, noise=1.0).labels
    fitted, held_back = held_back_split(labels)
    assert not set(fitted) & set(held_back)
    assert len(held_back) == np.ceil(0.25 * min(count, 80))
    assert len(set(fitted) | set(held_back)) == min(count, 80)
