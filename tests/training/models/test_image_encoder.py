from pathlib import Path

import pytest
import torch
from transformers import ResNetConfig, ResNetModel

from crosspoint.models import ImageEncoder


@pytest.mark.parametrize(
    ("depth", "channels", "parameters"),
    # Parameters of the well-known networks without their classification layer.
    [(18, 512, 11_176_512), (34, 512, 21_284_672), (50, 2048, 23_508_032)],
)
def test_is_the_usual_network(depth: int, channels: int, parameters: int) -> None:
    encoder = ImageEncoder(depth=depth)
    assert encoder.out_channels == channels
    assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("size", [32, 65])
def test_shape_and_gradients(depth: int, size: int) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(depth=depth, width=4)
    features = encoder(torch.randn(2, 3, size, size))
    assert features.shape == (2, encoder.out_channels)
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_width_scales_all_channels() -> None:
    assert ImageEncoder(depth=18, width=8).out_channels == 64
    assert ImageEncoder(depth=50, width=8).out_channels == 256


def test_loads_weights_from_a_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic"))
    saved.save_pretrained(tmp_path)
    encoder = ImageEncoder(depth=50, weights=str(tmp_path))
    assert encoder.out_channels == 8
    for name, value in saved.state_dict().items():
        assert torch.equal(encoder.resnet.state_dict()[name], value), name


def test_names_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(
        OSError, match=rf"^resnet_weights must name a ResNet that can be loaded, got {tmp_path} \(.+\)$"
    ):
        ImageEncoder(weights=str(tmp_path))


def test_refuses_other_depths() -> None:
    with pytest.raises(ValueError, match=r"^depth must be one of 18, 34, 50, got 101$"):
        ImageEncoder(depth=101)


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (2, 32, 32, 3)])
def test_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    message = rf"^images must be \(B, 3, H, W\), got \({', '.join(map(str, shape))}\)$"
    with pytest.raises(ValueError, match=message):
        ImageEncoder(depth=18, width=4)(torch.zeros(shape))
