"""From what a user names to an aligned model: a file or run of ours, weights of ULIP or Cross-MoST, or a CLIP."""

from __future__ import annotations

from pathlib import Path

from crosspoint.checkpoints.aligned import is_aligned, load_aligned
from crosspoint.checkpoints.clip import load_clip
from crosspoint.checkpoints.state_files import plain_state
from crosspoint.checkpoints.ulip import is_of_aligned_model, load_dvae, load_ulip, ulip_cloud_sizes
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.tokenizer import TextTokenizer

NAME_IN_RUN = "aligned.pt"
"""The file in the folder of a run of `crosspoint.align` or `crosspoint.selftrain`."""


def aligned_model(
    source: Path, *, clip: str | None = None, dvae: Path | None = None, groups: int = 64, group_size: int = 32
) -> tuple[AlignedModel, str]:
    """Loads an aligned model, whatever names it.

    Args:
        source: A file of ours, a run's folder, weights of ULIP or Cross-MoST, or a CLIP's folder or hub name.
        clip: Folder or hub name of a CLIP whose tokenizer reads the class names for weights of ULIP or Cross-MoST, and
            whose parts they are laid over where they lack some. To be left out for all other sources.
        dvae: Weights of Point-BERT's dVAE for the cloud's tokens.
        groups: Groups per cloud, where the source does not tell.
        group_size: Points per group, where the source does not tell.

    Returns:
        The model on the CPU, and a sentence about where it comes from.

    Raises:
        OSError: If there is no such thing, or it cannot be read.
        ValueError: If it is damaged or of another kind, or `clip` is given where it is of no use.
    """
    model, origin = _named(source, clip, groups, group_size)
    if dvae is not None:
        origin += f"; {load_dvae(dvae, model)}"
    return model, origin


def _named(source: Path, clip: str | None, groups: int, group_size: int) -> tuple[AlignedModel, str]:
    file = source / NAME_IN_RUN if (source / NAME_IN_RUN).is_file() else source
    if file.is_file() and not is_aligned(file):
        state = plain_state(file)
        if clip is None or is_of_aligned_model(state):
            tokenizer = None if clip is None else TextTokenizer.from_pretrained(clip)
            report = load_ulip(state, groups=groups, group_size=group_size, tokenizer=tokenizer)
        else:
            sizes = ulip_cloud_sizes(state, groups=groups, group_size=group_size)
            report = load_ulip(state, load_clip(clip, cloud=sizes).model)
        return report.model, str(report)
    if clip is not None:
        raise ValueError(f"clip must be left out where {source} is no weights of ULIP or Cross-MoST, got {clip}")
    if file.is_file():
        return load_aligned(file), f"aligned model of {file}"
    if source.suffix == ".pt":
        raise FileNotFoundError(f"there must be an aligned model at {source}, got no file")
    report = load_clip(str(source))
    return report.model, str(report)
