"""CLIP's vision transformer, with masked-image modelling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from crosspoint.config.aligned import ImageConfig
from crosspoint.models.branch import Branch

_MLP_RATIO = 4
_CHANNELS = {  # mean and deviation
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "vit": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
_EPSILON = {"clip": 1e-5, "vit": 1e-6}  # of the LayerNorms
_INITIAL_DEVIATION = 0.02  # of the mask token


class ImageBranch(nn.Module):
    """Images to the shared space; with a mask, also to what the masked losses compare.

    The transformer is that of transformers, so that weights of CLIP fit. A mask replaces the embeddings of patches by
    one learned token before the position embedding is added. The decoder maps each patch token, after a LayerNorm of
    its own, to the pixels of its patch.

    Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021; masking
    as in Li et al., "Masked Unsupervised Self-training for Label-free Image Classification", ICLR 2023.

    Args:
        config: Sizes.
        embedding: Channels of the shared space, C.

    Attributes:
        clip: The transformer and its projection.
        image_size: Height and width of the images in pixels.
        patch_size: Height and width of a patch in pixels.
        mean: Mean of each channel that images are normalised with.
        std: Deviation of each channel that images are normalised with.
    """

    def __init__(self, config: ImageConfig, embedding: int) -> None:
        super().__init__()
        self.image_size = config.image_size
        self.patch_size = config.patch_size
        self.mean, self.std = _CHANNELS[config.family]
        self.clip = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=config.width,
                intermediate_size=_MLP_RATIO * config.width,
                projection_dim=embedding,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                image_size=config.image_size,
                patch_size=config.patch_size,
                hidden_act=config.activation,
                layer_norm_eps=_EPSILON[config.family],
            )
        )
        if config.family == "vit":
            self.clip.vision_model.pre_layrnorm = nn.Identity()
        self.mask_token = nn.Parameter(torch.empty(1, 1, config.width))
        nn.init.normal_(self.mask_token, std=_INITIAL_DEVIATION)
        self.patch_norm = nn.LayerNorm(config.width)
        self.decoder = nn.Linear(config.width, config.patch_size**2 * 3)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Branch:
        """Encodes images.

        Args:
            images: (B, 3, H, W) floating point, normalised by `mean` and `std`; H = W = `image_size`.
            mask: (B, H / p, W / p) bool, True for patches to hide; None for a plain pass.

        Returns:
            The feature; with a mask also summary, tokens (T = patches, row by row) and reconstruction, the pixels of
            all patches. Differentiable in the images and the weights.

        Raises:
            ValueError: If images or mask have another shape, or the mask another dtype.
        """
        size, grid = self.image_size, self.image_size // self.patch_size
        if images.dim() != 4 or images.shape[1:] != (3, size, size):
            raise ValueError(f"images must be (B, 3, {size}, {size}), got {tuple(images.shape)}")
        transformer = self.clip.vision_model
        patches = transformer.embeddings.patch_embedding(images).flatten(2).transpose(1, 2)
        if mask is not None:
            if mask.shape != (len(images), grid, grid) or mask.dtype != torch.bool:
                raise ValueError(
                    f"mask must be ({len(images)}, {grid}, {grid}) bool, got {tuple(mask.shape)} {mask.dtype}"
                )
            patches = torch.where(mask.flatten(1).unsqueeze(2), self.mask_token, patches)
        summary = transformer.embeddings.class_embedding.expand(len(images), 1, -1)
        tokens = torch.cat([summary, patches], dim=1) + transformer.embeddings.position_embedding.weight
        tokens = transformer.encoder(inputs_embeds=transformer.pre_layrnorm(tokens)).last_hidden_state
        project = self.clip.visual_projection
        summary = project(transformer.post_layernorm(tokens[:, 0]))
        feature = functional.normalize(summary, dim=1)
        if mask is None:
            return Branch(feature)
        patches = self.patch_norm(tokens[:, 1:])
        pixels = self.decoder(patches).transpose(1, 2).unflatten(2, (grid, grid))
        return Branch(feature, summary, project(patches), functional.pixel_shuffle(pixels, self.patch_size))
