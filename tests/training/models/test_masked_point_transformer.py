"""The cloud branch; `tests/training/checkpoints` compares it with a plain rendition, masks included."""

import clouds
import pytest
import torch

from crosspoint.config.aligned import CloudConfig
from crosspoint.models.masked_point_transformer import CloudBranch
from crosspoint.models.point_groups import Groups, group_points
from crosspoint.models.transformer import Block
from pointkernels import reference

CONFIG = CloudConfig(groups=6, group_size=4, token_widths=(8, 12, 10, 14), width=16, layers=2, heads=2, drop_path=0.0)


@pytest.fixture
def branch() -> CloudBranch:
    torch.manual_seed(0)
    return CloudBranch(CONFIG, 12)


def random_points(batch: int = 3, count: int = 20) -> torch.Tensor:
    return torch.randn(batch, count, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("start", [None, 7])
def test_groups_are_farthest_points_with_their_neighbours(start: int | None) -> None:
    points = random_points()
    generator = None if start is None else torch.Generator().manual_seed(start)
    centers, neighborhoods = group_points(points, 6, 4, generator)
    first = torch.zeros(3, dtype=torch.int64)
    if start is not None:
        first = torch.randint(20, (3,), generator=torch.Generator().manual_seed(start))
    for cloud in range(3):
        chosen = reference.farthest_point_sampling(points[cloud : cloud + 1], 6, start=first[cloud : cloud + 1])[0]
        assert torch.equal(centers[cloud], points[cloud, chosen])
        for group, center in enumerate(chosen):
            nearest = (points[cloud] - points[cloud, center]).square().sum(dim=1).argsort(stable=True)[:4]
            assert torch.equal(neighborhoods[cloud, group], points[cloud, nearest] - points[cloud, center])


@pytest.mark.parametrize("name", ["identical", "duplicates", "collinear", "lattice", "far_from_origin"])
def test_hard_clouds_have_groups(name: str, branch: CloudBranch) -> None:
    points = clouds.cloud(name)
    groups = branch.group(points)
    assert groups.neighborhoods.shape == (len(points), 6, 4, 3)
    # The nearest point of a centre is the centre itself, or a duplicate of it.
    assert torch.equal(groups.neighborhoods[:, :, 0], torch.zeros(len(points), 6, 3))
    assert torch.isfinite(branch(groups).feature).all()


def test_what_is_masked_is_not_seen_but_predicted(branch: CloudBranch) -> None:
    centers, neighborhoods = branch.group(random_points())
    mask = torch.rand(3, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    branch.eval()
    result = branch(Groups(centers, neighborhoods), mask)
    other = torch.where(mask[:, :, None, None], torch.randn(3, 6, 4, 3), neighborhoods)
    changed = branch(Groups(centers, other), mask)
    for name in ("feature", "summary", "tokens", "reconstruction", "masked_target"):
        assert torch.equal(getattr(result, name), getattr(changed, name)), name
    assert not torch.equal(result.target[mask], changed.target[mask])
    assert torch.equal(result.target[~mask], result.masked_target[~mask])
    assert torch.equal(result.masked_target[mask], branch.mask_token[0].expand(int(mask.sum()), -1))
    torch.testing.assert_close(result.feature.norm(dim=1), torch.ones(3))
    (result.reconstruction - result.target)[mask].abs().sum().backward()
    assert all(value.grad is not None for value in (branch.mask_token, branch.embed.weight, branch.predict.weight))


def test_frozen_tokens(branch: CloudBranch) -> None:
    groups = branch.group(random_points())
    norm = branch.tokens.first.norm
    branch.freeze_tokens(statistics=False)
    before = norm.running_mean.clone()
    first = branch.train()(groups).feature
    assert not torch.equal(norm.running_mean, before)  # as the official code: they drift
    branch.freeze_tokens()
    before = norm.running_mean.clone()
    feature = branch.train()(groups).feature
    assert branch.training
    assert torch.equal(norm.running_mean, before)
    assert not torch.equal(feature, first)
    assert torch.equal(feature, branch.eval()(groups).feature)
    feature.sum().backward()
    assert all(value.grad is None and not value.requires_grad for value in branch.tokens.parameters())
    assert branch.embed.weight.grad is not None


def test_stochastic_depth_skips_whole_parts_of_objects() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, drop_path=0.5).train()
    torch.nn.init.zeros_(block.perceptron[2].weight)
    torch.nn.init.zeros_(block.perceptron[2].bias)
    tokens = torch.randn(1, 5, 8).expand(2000, -1, -1)
    change = block(tokens) - tokens
    whole = block.eval()(tokens[:1]) - tokens[:1]
    kept = change.abs().amax(dim=(1, 2)) > 1e-6
    torch.testing.assert_close(change[kept], 2 * whole.expand(int(kept.sum()), -1, -1), rtol=1e-4, atol=1e-5)
    assert 0.45 < kept.float().mean() < 0.55
    rates = [layer.drop_path for layer in CloudBranch(CloudConfig(layers=3, drop_path=0.1), 4).blocks]
    assert rates == pytest.approx([0.0, 0.05, 0.1])


def test_bad_input_is_explained(branch: CloudBranch) -> None:
    with pytest.raises(ValueError, match=r"points must be \(B, N, 3\), got \(2, 8, 4\)"):
        branch.group(torch.zeros(2, 8, 4))
    with pytest.raises(ValueError, match=r"at least 6 points for 6 groups of 4, got 5"):
        branch.group(torch.zeros(2, 5, 3))
    groups = branch.group(random_points())
    with pytest.raises(ValueError, match=r"mask must be \(3, 6\) bool, got \(3, 5\)"):
        branch(groups, torch.zeros(3, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"neighbourhoods \(B, G, M, 3\), got"):
        branch(Groups(groups.centers, groups.neighborhoods[:, :3]))
    with pytest.raises(ValueError, match=r"cloud.drop_path must lie in \[0, 1\), got 1.0"):
        CloudConfig(drop_path=1.0)
