"""What holds for every cloud encoder, and PointNet and DGCNN for segmentation by themselves."""

import itertools

import pytest
import torch
from torch import nn

from crosspoint.config.pretrain import ModelConfig
from crosspoint.models import (
    DGCNN,
    Classifier,
    CloudEncoder,
    DGCNNSeg,
    PartSegmenter,
    PointNet,
    SemanticSegmenter,
    build_cloud_encoder,
)
from crosspoint.models.pointwise import PointwiseLayer

CONFIGS = {
    "dgcnn": ModelConfig(k=4, widths=(8, 8), embedding=8),
    "dgcnn_seg": ModelConfig(encoder="dgcnn_seg", k=4, embedding=8),
    "pointnet": ModelConfig(encoder="pointnet", embedding=8),
    "pointnet with T-Nets": ModelConfig(encoder="pointnet", embedding=8, t_net=True),
}


def clouds(batch: int = 3, count: int = 20, channels: int = 3) -> torch.Tensor:
    return torch.randn(batch, count, channels, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=CONFIGS)
def encoder(request: pytest.FixtureRequest) -> CloudEncoder:
    torch.manual_seed(0)
    return build_cloud_encoder(CONFIGS[request.param])


def test_the_settings_choose_the_network() -> None:
    kinds = [type(build_cloud_encoder(config)) for config in CONFIGS.values()]
    assert kinds == [DGCNN, DGCNNSeg, PointNet, PointNet]


def test_features(encoder: CloudEncoder) -> None:
    features = encoder(clouds())
    assert features.shape == (3, encoder.out_channels)
    assert features.isfinite().all()
    features.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name


def test_neither_order_nor_company_matters_in_eval_mode(encoder: CloudEncoder) -> None:
    encoder.eval()
    points = clouds()
    shuffled = points[:, torch.randperm(20, generator=torch.Generator().manual_seed(2))]
    torch.testing.assert_close(encoder(shuffled), encoder(points), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder(points[1:2]), encoder(points)[1:2], rtol=1e-4, atol=1e-5)


def test_clouds_smaller_than_k(encoder: CloudEncoder) -> None:
    encoder.eval()
    assert encoder(clouds(2, 2)).isfinite().all()


@pytest.mark.parametrize("shape", [(20, 3), (2, 20, 4), (2, 3, 20)])
def test_refuses_other_shapes(encoder: CloudEncoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"^points must be \(B, N, 3\), got \({', '.join(map(str, shape))}\)$"):
        encoder(torch.zeros(shape))


def test_published_sizes() -> None:
    def layers(*widths: int) -> int:
        """Parameters of linear maps with bias, a BatchNorm after each."""
        return sum(a * b + 3 * b for a, b in itertools.pairwise(widths))

    def t_net(size: int) -> int:
        return layers(size, 64, 128, 1024, 512, 256) + 257 * size * size

    plain = layers(3, 64, 64, 64, 128, 1024)
    for network, expected in ((PointNet(), plain), (PointNet(t_net=True), plain + t_net(3) + t_net(64))):
        assert sum(parameter.numel() for parameter in network.parameters()) == expected
    assert PointNet().out_channels == DGCNNSeg().out_channels == 1024
    assert (DGCNNSeg().k, PartSegmenter(16, 50).encoder.k) == (40, 40)


def test_t_nets_start_as_the_identity() -> None:
    torch.manual_seed(0)
    turned = PointNet(embedding=8, t_net=True).eval()
    plain = PointNet(embedding=8).eval()
    plain.load_state_dict({name: value for name, value in turned.state_dict().items() if "transform" not in name})
    torch.testing.assert_close(turned(clouds()), plain(clouds()))
    assert turned.input_transform is not None
    turned.input_transform.regression.matrix.bias.data.copy_(torch.tensor([0.0, 1, 0, 1, 0, 0, 0, 0, 1]))
    torch.testing.assert_close(turned(clouds()), plain(clouds()[..., [1, 0, 2]]))


def test_dgcnn_seg_turns_its_points() -> None:
    torch.manual_seed(0)
    network = DGCNNSeg(k=4, embedding=8).eval()
    points = clouds()
    before = network(points[..., [1, 0, 2]])
    assert network.transform is not None
    network.transform.regression.matrix.bias.data.copy_(torch.tensor([0.0, 1, 0, 1, 0, 0, 0, 0, 1]))
    torch.testing.assert_close(network(points), before)


def test_the_first_graph_of_scenes_is_that_of_the_last_three_channels() -> None:
    torch.manual_seed(0)
    network = DGCNNSeg(k=4, embedding=8, in_channels=9, t_net=False).eval()
    seen = []
    network.first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    points = clouds(channels=9)
    network(points)
    nearest = torch.cdist(points[..., 6:], points[..., 6:]).topk(4, largest=False).indices
    assert torch.equal(seen[0].sort(dim=2).values, nearest.sort(dim=2).values)


@pytest.mark.parametrize(("channels", "t_net"), [(2, False), (9, True)])
def test_dgcnn_seg_refuses_channels_that_make_no_sense(channels: int, t_net: bool) -> None:
    message = rf"^in_channels must be 3, or more than 3 without a T-Net, got {channels}$"
    with pytest.raises(ValueError, match=message):
        DGCNNSeg(in_channels=channels, t_net=t_net)


# Layers


def test_features_of_the_cloud_are_mapped_once_with_the_same_result() -> None:
    torch.manual_seed(0)
    layer = PointwiseLayer(9, 5).eval()
    points, cloud = torch.randn(2, 6, 4), torch.randn(2, 5)
    together = torch.cat([cloud.unsqueeze(1).expand(-1, 6, -1), points], dim=2)
    torch.testing.assert_close(layer(points, cloud), layer(together))


# Networks on the encoders


def test_classifier() -> None:
    torch.manual_seed(0)
    encoder = build_cloud_encoder(CONFIGS["dgcnn"])
    classifier = Classifier(encoder, 7)
    assert classifier.encoder is encoder
    logits = classifier(clouds())
    assert logits.shape == (3, 7)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in classifier.parameters())
    names = [name for name, _ in classifier.head.named_parameters() if name.endswith("linear.bias")]
    assert names == ["layers.2.linear.bias"]  # DGCNN's head: a bias in the second layer alone
    classifier.eval()
    assert torch.equal(classifier(clouds()), classifier(clouds()))  # no dropout


def test_part_segmenter_takes_over_a_pretrained_encoder() -> None:
    torch.manual_seed(0)
    encoder = DGCNNSeg(k=4, embedding=8)
    network, transfer = PartSegmenter.from_pretrained_encoder(encoder, 4, 9, k=5)
    assert transfer.complete
    assert str(transfer) == f"{len(encoder.state_dict())} of {len(encoder.state_dict())} weights taken over"
    for name, value in network.encoder.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name]), name
    assert network.encoder.first.k == 5
    next(network.encoder.parameters()).data.add_(1)
    assert not torch.equal(next(network.encoder.parameters()), next(encoder.parameters()))  # a copy
    with pytest.raises(ValueError, match=r"^at least one weight must fit DGCNNSeg, got none in a state dict of layers"):
        PartSegmenter.from_pretrained_encoder(build_cloud_encoder(CONFIGS["dgcnn"]), 4, 9)  # type: ignore[arg-type]


def test_part_segmenter_sees_the_category() -> None:
    torch.manual_seed(0)
    network = PartSegmenter(4, 9, k=4, embedding=8).eval()
    points = clouds(2)
    logits = network(points, torch.tensor([0, 3]))
    assert logits.shape == (2, 20, 9)
    assert torch.equal(network(points, torch.tensor([0, 3])), logits)
    other = network(points, torch.tensor([0, 1]))
    torch.testing.assert_close(other[0], logits[0])
    assert not torch.allclose(other[1], logits[1])
    with pytest.raises(ValueError, match=r"^category must be \(2,\) for 2 clouds, got \(3,\)$"):
        network(points, torch.tensor([0, 1, 2]))


@pytest.mark.parametrize("kind", ["parts", "scene"])
def test_every_weight_of_a_segmenter_gets_a_gradient(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "parts":
        network: nn.Module = PartSegmenter(4, 9, k=4, embedding=8)
        network(clouds(), torch.tensor([0, 1, 3])).square().sum().backward()
    else:
        network = SemanticSegmenter(13, k=4, embedding=8)
        network(clouds(channels=9)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
