import torch

from crosspoint.config.pretrain import PRESETS, ModelConfig
from crosspoint.models import CrossPoint, ProjectionHead

SMALL = ModelConfig(
    k=4, widths=(8, 16), embedding=16, cloud_hidden=12, image_hidden=10, projection=6, resnet=18, resnet_width=4
)


def test_head_layout() -> None:
    head, without_bias = ProjectionHead(8, 5, 3), ProjectionHead(8, 5, 3, bias=False)
    assert head(torch.randn(4, 8)).shape == (4, 3)
    norm = 2 * 5
    assert sum(parameter.numel() for parameter in head.parameters()) == 8 * 5 + 5 + norm + 5 * 3 + 3
    assert sum(parameter.numel() for parameter in without_bias.parameters()) == 8 * 5 + norm + 5 * 3


def test_published_head_sizes() -> None:
    model = CrossPoint(PRESETS["paper"].model)
    assert [tuple(layer.weight.shape) for layer in (model.cloud_head.layers[0], model.cloud_head.layers[3])] == [
        (1024, 2048),
        (256, 1024),
    ]
    assert [tuple(layer.weight.shape) for layer in (model.image_head.layers[0], model.image_head.layers[3])] == [
        (512, 2048),
        (256, 512),
    ]
    assert model.cloud_head.layers[0].bias is not None
    assert model.image_head.layers[0].bias is None


def test_both_clouds_pass_as_one_batch() -> None:
    torch.manual_seed(0)
    model = CrossPoint(SMALL)
    first, second, images = torch.randn(4, 16, 3), torch.randn(4, 16, 3) + 2, torch.randn(4, 3, 32, 32)
    projections = model(first, second, images)
    together = model.cloud_head(model.cloud_encoder(torch.cat([first, second])))
    torch.testing.assert_close(torch.cat([projections.first, projections.second]), together)
    assert projections.image.shape == (4, 6)


def test_every_weight_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = CrossPoint(SMALL)
    projections = model(torch.randn(4, 16, 3), torch.randn(4, 16, 3), torch.randn(4, 3, 32, 32))
    sum(part.square().sum() for part in projections).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
