"""CLIP's image branch, text tower and tokenizer from transformers."""

from __future__ import annotations

from typing import Any

from transformers import CLIPModel

from crosspoint.checkpoints.aligned_layouts import Entry
from crosspoint.checkpoints.aligned_report import AlignedReport, take
from crosspoint.config.aligned import AlignedConfig, CloudConfig, ImageConfig, TextConfig
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.tokenizer import TextTokenizer

_PARTS = {
    "vision_model.": "image.clip.",
    "visual_projection.": "image.clip.",
    "text_model.": "text.clip.",
    "text_projection.": "text.clip.",
    "logit_scale": "",
}


def load_clip(source: str, *, cloud: CloudConfig | None = None) -> AlignedReport:
    """An aligned model whose image branch and text tower are CLIP's; the cloud branch has random weights.

    Args:
        source: Folder or name on the model hub of a CLIP of transformers, such as openai/clip-vit-base-patch16.
        cloud: Sizes of the cloud branch; None for those of the paper.

    Raises:
        OSError: If the weights or the tokenizer cannot be read.
        ValueError: If it is another kind of CLIP.
    """
    try:
        clip: CLIPModel = CLIPModel.from_pretrained(source)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise OSError(f"{source} must hold a CLIP that can be loaded, got none ({reason})") from error
    sizes: Any = clip.config
    vision, text = sizes.vision_config, sizes.text_config
    config = AlignedConfig(
        embedding=sizes.projection_dim,
        image=ImageConfig(
            image_size=vision.image_size,
            patch_size=vision.patch_size,
            width=vision.hidden_size,
            layers=vision.num_hidden_layers,
            heads=vision.num_attention_heads,
            activation=vision.hidden_act,
        ),
        cloud=AlignedConfig.paper().cloud if cloud is None else cloud,
        text=TextConfig(
            vocabulary=text.vocab_size,
            context=text.max_position_embeddings,
            width=text.hidden_size,
            layers=text.num_hidden_layers,
            heads=text.num_attention_heads,
            activation=text.hidden_act,
        ),
    )
    tokenizer = TextTokenizer.from_pretrained(source)
    if tokenizer.vocabulary != text.vocab_size:  # transformers makes up a tokenizer where there is none
        raise OSError(
            f"{source} must hold the tokenizer of its {text.vocab_size} tokens, got one of {tokenizer.vocabulary}"
        )
    model = AlignedModel(config, tokenizer)
    state = clip.state_dict()
    entries = [Entry(ours + name, name) for name in state for prefix, ours in _PARTS.items() if name.startswith(prefix)]
    return AlignedReport("CLIP: image and text", model, take(model, entries, state, source))
