"""ResNet image encoder.

The network is that of transformers, which the aligned models need anyway; torchvision's would tie users to the one
version of it that belongs to their torch.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

# Depth: blocks per stage, whether they are bottlenecks (He et al., CVPR 2016, table 1).
_ARCHITECTURES = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True)}
_BOTTLENECK_EXPANSION = 4


class ImageEncoder(nn.Module):
    """ResNet up to its pooled features, on images normalised as ImageNet's are.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; the implementation is that of
    transformers. CrossPoint uses depth 50 from random weights.

    Args:
        depth: 18, 34 or 50.
        width: Channels of the stem; 64 is the usual network.
        weights: Folder or model-hub name of pre-trained weights, whose own depth and width then count.

    Attributes:
        out_channels: Channels of the feature.

    Raises:
        ValueError: If the depth is none of the three.
        OSError: If the weights cannot be read.
    """

    def __init__(self, *, depth: int = 50, width: int = 64, weights: str | None = None) -> None:
        super().__init__()
        if depth not in _ARCHITECTURES:
            raise ValueError(f"depth must be one of {', '.join(map(str, _ARCHITECTURES))}, got {depth}")
        if weights is None:
            depths, bottleneck = _ARCHITECTURES[depth]
            expansion = _BOTTLENECK_EXPANSION if bottleneck else 1
            config = ResNetConfig(
                embedding_size=width,
                hidden_sizes=[width * expansion * 2**stage for stage in range(len(depths))],
                depths=list(depths),
                layer_type="bottleneck" if bottleneck else "basic",
            )
            self.resnet = ResNetModel(config)
        else:
            self.resnet = _pretrained(weights)
        self.out_channels = list(self.resnet.config.hidden_sizes or ())[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Encodes images.

        Args:
            images: (B, 3, H, W) floating point, normalised (mean 0, deviation 1 per channel over natural images).

        Returns:
            (B, ``out_channels``) features, differentiable in the images and the weights.

        Raises:
            ValueError: If the images have another shape.
        """
        if images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), got {tuple(images.shape)}")
        features: Tensor = self.resnet(images).pooler_output
        return features.flatten(1)


def _pretrained(weights: str) -> ResNetModel:
    try:
        model: ResNetModel = ResNetModel.from_pretrained(weights)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise OSError(f"resnet_weights must name a ResNet that can be loaded, got {weights} ({reason})") from error
    return model
