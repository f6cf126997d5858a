import pytest
import torch

from crosspoint.models import DGCNN


@pytest.fixture
def encoder() -> DGCNN:
    torch.manual_seed(0)
    return DGCNN(k=4, widths=(8, 8, 16), embedding=32)


def clouds(batch: int, count: int) -> torch.Tensor:
    return torch.randn(batch, count, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("batch", "count"), [(2, 32), (3, 7)])
def test_shape(encoder: DGCNN, batch: int, count: int) -> None:
    assert encoder.out_channels == 64
    assert encoder(clouds(batch, count)).shape == (batch, 64)


def test_published_sizes() -> None:
    encoder = DGCNN()
    assert encoder.out_channels == 2048
    assert encoder.embed.weight.shape == (1024, 512)
    assert len(encoder.layers) == 4


def test_the_order_of_points_does_not_matter(encoder: DGCNN) -> None:
    encoder.eval()
    points = clouds(2, 32)
    shuffled = points[:, torch.randperm(32, generator=torch.Generator().manual_seed(2))]
    torch.testing.assert_close(encoder(shuffled), encoder(points), rtol=1e-4, atol=1e-5)


def test_clouds_do_not_influence_each_other_in_eval_mode(encoder: DGCNN) -> None:
    encoder.eval()
    points = clouds(3, 32)
    torch.testing.assert_close(encoder(points)[1:2], encoder(points[1:2]), rtol=1e-4, atol=1e-5)


def test_pools_maximum_then_mean(encoder: DGCNN) -> None:
    encoder.eval()
    same = torch.ones(1, 5, 3)  # all points alike, so both poolings give the same
    maximum, mean = encoder(same).chunk(2, dim=1)
    torch.testing.assert_close(maximum, mean)
    maximum, mean = encoder(clouds(2, 32)).chunk(2, dim=1)
    assert (maximum >= mean).all()
    assert (maximum > mean).any()


def test_the_graph_of_later_layers_follows_their_features(encoder: DGCNN) -> None:
    """Each layer after the first must see neighbours in feature space, not in space."""
    seen = []
    for layer in encoder.layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs))
    encoder(clouds(2, 16))
    assert [len(inputs) for inputs in seen] == [1, 1, 1]  # no neighbours are handed down
    assert [inputs[0].shape[2] for inputs in seen] == [3, 8, 8]


def test_every_weight_gets_a_gradient(encoder: DGCNN) -> None:
    encoder(clouds(4, 16)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_clouds_smaller_than_k(encoder: DGCNN) -> None:
    encoder.eval()
    assert encoder(clouds(2, 2)).isfinite().all()


@pytest.mark.parametrize("shape", [(32, 3), (2, 32, 4), (2, 3, 32)])
def test_refuses_other_shapes(encoder: DGCNN, shape: tuple[int, ...]) -> None:
    message = rf"^points must be \(B, N, 3\), got \({', '.join(map(str, shape))}\)$"
    with pytest.raises(ValueError, match=message):
        encoder(torch.zeros(shape))
