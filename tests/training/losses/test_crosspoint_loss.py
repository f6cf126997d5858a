import pytest
import torch

from crosspoint.losses import crosspoint_loss, nt_xent


@pytest.fixture
def projections() -> tuple[torch.Tensor, ...]:
    return torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()


def test_is_the_sum_of_both_contrasts(projections: tuple[torch.Tensor, ...]) -> None:
    first, second, image = projections
    loss = crosspoint_loss(first, second, image, temperature=0.2)
    assert torch.equal(loss.intra, nt_xent(first, second, 0.2))
    assert torch.equal(loss.cross, nt_xent((first + second) / 2, image, 0.2))
    assert torch.equal(loss.total, loss.intra + loss.cross)


def test_means_the_clouds_before_scaling_them(projections: tuple[torch.Tensor, ...]) -> None:
    first, second, image = projections
    longer = crosspoint_loss(10 * first, second, image)
    assert longer.intra.item() == pytest.approx(crosspoint_loss(first, second, image).intra.item())
    assert longer.cross.item() == pytest.approx(nt_xent(10 * first + second, image).item())
    assert longer.cross.item() != pytest.approx(crosspoint_loss(first, second, image).cross.item(), rel=1e-3)


@pytest.mark.parametrize(("intra", "cross"), [(1.0, 0.0), (0.0, 1.0), (2.0, 0.5)])
def test_weights(projections: tuple[torch.Tensor, ...], intra: float, cross: float) -> None:
    loss = crosspoint_loss(*projections, intra_weight=intra, cross_weight=cross)
    assert loss.total.item() == pytest.approx(intra * loss.intra.item() + cross * loss.cross.item())


def test_gradients_in_double_precision(projections: tuple[torch.Tensor, ...]) -> None:
    inputs = tuple(part[:3, :3].clone().requires_grad_() for part in projections)
    assert torch.autograd.gradcheck(lambda *parts: crosspoint_loss(*parts, temperature=0.5).total, inputs)


def test_refuses_an_image_batch_of_another_size(projections: tuple[torch.Tensor, ...]) -> None:
    first, second, image = projections
    with pytest.raises(ValueError, match=r"^views must both be .*, got \(6, 5\) and \(4, 5\)$"):
        crosspoint_loss(first, second, image[:4])
