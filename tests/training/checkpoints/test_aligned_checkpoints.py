"""Weights of CLIP, ULIP, Cross-MoST and Point-BERT: recognised by their names, and computing what they computed."""

import argparse
import json
from pathlib import Path

import aligned_networks as theirs
import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from crosspoint.checkpoints import AlignedReport, load_clip, load_dvae, load_ulip
from crosspoint.checkpoints.__main__ import main
from crosspoint.config.aligned import AlignedConfig, CloudConfig
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.branch import Branch

GROUPS, GROUP_SIZE = 6, 5


@pytest.fixture(scope="module")
def state() -> theirs.State:
    return theirs.random_state(theirs.whole_shapes())


@pytest.fixture(scope="module")
def loaded(state: theirs.State, tmp_path_factory: pytest.TempPathFactory) -> AlignedReport:
    """As the authors' scripts save: trained in parallel, beside other things, among them their arguments."""
    path = tmp_path_factory.mktemp("weights") / "ulip.pt"
    content = {
        "state_dict": {f"module.{name}": value for name, value in state.items()},
        "epoch": 3,
        "best_acc1": np.float64(60.3),
        "args": argparse.Namespace(model="ULIP_PointBERT", lr=1e-3),
    }
    torch.save(content, path)
    report = load_ulip(path, groups=GROUPS, group_size=GROUP_SIZE)
    report.model.eval()
    return report


def cloud_and_mask(model: AlignedModel) -> tuple[Tensor, Tensor, Tensor]:
    groups = model.cloud.group(torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(1)))
    mask = torch.rand(2, GROUPS, generator=torch.Generator().manual_seed(2)) < 0.5
    return groups.centers, groups.neighborhoods, mask


def assert_branch(ours: Branch, expected: dict[str, Tensor]) -> None:
    found = {name: value for name, value in ours._asdict().items() if value is not None}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-4, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_every_weight_is_taken_over(loaded: AlignedReport, state: theirs.State) -> None:
    assert set(loaded.transfer.taken) == set(state)
    assert not loaded.transfer.missing
    assert not loaded.transfer.unused
    assert str(loaded).startswith("ULIP or Cross-MoST: cloud, image, text; ")
    sizes = loaded.model.config
    assert (sizes.embedding, sizes.image.image_size, sizes.image.heads, sizes.text.heads) == (24, 16, 2, 1)
    assert (sizes.cloud.groups, sizes.cloud.heads, sizes.cloud.token_widths) == (GROUPS, 2, theirs.SIZES.tokens)
    torch.testing.assert_close(loaded.model.logit_scale.detach(), state["logit_scale"])


@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_images_are_encoded_as_by_the_plain_network(loaded: AlignedReport, state: theirs.State, masked: bool) -> None:
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[[1, 0], [0, 0]], [[0, 1], [1, 0]], [[1, 1], [1, 1]]], dtype=torch.bool) if masked else None
    assert_branch(loaded.model.image(images, mask), theirs.image_rendition(images, state, mask))


@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_clouds_are_encoded_as_by_the_plain_network(loaded: AlignedReport, state: theirs.State, masked: bool) -> None:
    centers, neighborhoods, mask = cloud_and_mask(loaded.model)
    groups = loaded.model.cloud.group(torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(1)))
    expected = theirs.cloud_rendition(centers, neighborhoods, state, mask if masked else None)
    assert_branch(loaded.model.cloud(groups, mask if masked else None), expected)


@torch.no_grad()
def test_texts_are_encoded_as_by_the_plain_network(loaded: AlignedReport, state: theirs.State) -> None:
    model = loaded.model
    texts = ["a chair", "x", "a text that is longer than the tower can read"]
    tokens = model.tokenizer(texts, theirs.SIZES.context)
    assert tokens.shape == (3, theirs.SIZES.context)
    expected = theirs.text_rendition(tokens, state, model.tokenizer.end)
    torch.testing.assert_close(model.encode_text(texts), expected, rtol=1e-4, atol=2e-5)


def test_what_masks_need_may_be_missing() -> None:
    state = theirs.random_state(theirs.whole_shapes(masks=False))
    state["visual.proj"] = state.pop("image_projection")  # CLIP's own name
    report = load_ulip(state, groups=GROUPS, group_size=GROUP_SIZE)
    assert set(report.transfer.missing) == {
        *("visual.mask_token_embedding", "visual.ln_patch.weight", "visual.ln_patch.bias"),
        *("visual.decoder.0.weight", "visual.decoder.0.bias", "point_encoder.mask_token", "point_encoder.proj"),
        *("point_encoder.lm_head.weight", "point_encoder.lm_head.bias"),
    }
    torch.testing.assert_close(report.model.image.clip.visual_projection.weight.T, state["visual.proj"])


def test_parts_go_over_a_model_that_is_there(loaded: AlignedReport, state: theirs.State) -> None:
    """As in the official code: CLIP, then the point encoder, then the dVAE's tokens, which change nothing else."""
    torch.manual_seed(0)
    model = AlignedModel(loaded.model.config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cloud = {name: value for name, value in state.items() if name.startswith(("point_encoder.", "pc_projection"))}
    report = load_ulip(cloud, model)
    assert report.model is model
    assert set(report.transfer.taken) == set(cloud)
    dvae = theirs.random_state(theirs.token_shapes(), seed=5)
    other = {"decoder.mlp.0.weight": torch.zeros(3, 3), "codebook": torch.zeros(4, 2)}
    wrapped = {"base_model": {f"module.{name}": value for name, value in {**dvae, **other}.items()}, "epoch": 300}
    report = load_dvae(wrapped, model)
    assert set(report.transfer.taken) == set(dvae)
    assert set(report.transfer.unused) == set(other)
    after = model.state_dict()
    assert torch.equal(after["cloud.tokens.second.weight"], dvae["encoder.first_conv.3.weight"].squeeze(2))
    assert torch.equal(after["cloud.tokens.third.norm.running_var"], dvae["encoder.second_conv.1.running_var"])
    assert torch.equal(after["cloud.embed.weight"], state["point_encoder.reduce_dim.weight"])
    for name, value in before.items():
        if not name.startswith("cloud."):
            assert torch.equal(value, after[name]), name


def test_point_bert_has_the_cloud_without_its_projection(loaded: AlignedReport) -> None:
    state = theirs.random_state(theirs.cloud_shapes(prefix="transformer_q.", masks=False), seed=3)
    extra = {"transformer_k.cls_token": torch.zeros(1, 1, 4), "transformer_q.cls_head.0.weight": torch.zeros(2, 2)}
    extra |= {"transformer_q.lm_head.weight": torch.zeros(32, 4), "transformer_q.lm_head.bias": torch.zeros(32)}
    model = AlignedModel(loaded.model.config)
    report = load_ulip({"base_model": {f"module.{name}": value for name, value in {**state, **extra}.items()}}, model)
    assert str(report).startswith("Point-BERT: cloud; ")
    assert set(report.transfer.taken) == set(state)
    assert set(report.transfer.unused) == set(extra)


def test_unusable_weights_are_explained(state: theirs.State, loaded: AlignedReport, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be of ULIP, Cross-MoST or Point-BERT, got the state dict with conv1"):
        load_ulip({"conv1.weight": torch.zeros(2)})
    without = {name: value for name, value in state.items() if name != "point_encoder.blocks.blocks.1.mlp.fc2.bias"}
    with pytest.raises(
        ValueError, match=r"must be complete, got none named point_encoder.blocks.blocks.1.mlp.fc2.bias"
    ):
        load_ulip(without)
    with pytest.raises(ValueError, match=r"tell the network's sizes, got none named visual.positional_embedding"):
        load_ulip({name: value for name, value in state.items() if name != "visual.positional_embedding"})
    with pytest.raises(ValueError, match=r"unless a model is given that has the rest, got no image and no text"):
        load_ulip({name: value for name, value in state.items() if name.startswith(("point_encoder", "pc_proj"))})
    other = AlignedModel(AlignedConfig(embedding=24))
    with pytest.raises(ValueError, match=r"must have the sizes of the model, got point_encoder.encoder.first_conv.0"):
        load_ulip(state, other)
    coloured = {**theirs.random_state(theirs.token_shapes()), "encoder.first_conv.0.weight": torch.zeros(8, 6, 1)}
    with pytest.raises(ValueError, match=r"encoder.first_conv.0.weight \(8, 6\) for \(8, 3\)"):
        load_dvae(coloured, loaded.model)
    with pytest.raises(ValueError, match=r"must be of Point-BERT's dVAE, got the state dict with visual.conv1.weight"):
        load_dvae(state, loaded.model)
    with pytest.raises(FileNotFoundError, match="got no file"):
        load_ulip(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(ValueError, match=r"complete file of torch.save"):
        load_ulip(tmp_path / "text.pt")


def slip_state(state: theirs.State) -> theirs.State:
    """ULIP's first release: SLIP's transformer of images, and nothing for masks."""
    masks = {name for name, _ in theirs.whole_shapes()} - {name for name, _ in theirs.whole_shapes(masks=False)}
    rest = {name: value for name, value in state.items() if not name.startswith("visual.") and name not in masks}
    return {**rest, **theirs.random_state(theirs.vit_shapes(), seed=4)}


@torch.no_grad()
def test_the_first_release_of_ulip_has_the_transformer_of_slip(
    state: theirs.State, loaded: AlignedReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slip = slip_state(state)
    report = load_ulip(slip, groups=GROUPS, group_size=GROUP_SIZE)
    model = report.model.eval()
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.image(images).feature, theirs.vit_rendition(images, slip), rtol=1e-4, atol=2e-5)
    assert model.image.mean == (0.485, 0.456, 0.406)
    assert set(report.transfer.taken) == set(slip) - {"visual.patch_embed.proj.bias"}  # which is in the positions
    assert not report.transfer.unused
    # Their images, texts and clouds go together, and not with CLIP's.
    with pytest.raises(ValueError, match="must be of the family of the weights, vit, got clip"):
        load_ulip(slip, loaded.model)
    foreign = {name: value for name, value in slip.items() if not name.startswith("visual.patch_embed")}
    with pytest.raises(ValueError, match=r"must be CLIP's or SLIP's, got another one \(visual.cls_token\)"):
        load_ulip(foreign)
    torch.save(slip, tmp_path / "ulip.pt")
    assert main(["info", str(tmp_path / "ulip.pt")]) == 0
    assert "cloud, image, text" in capsys.readouterr().out


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP as transformers saves it, with a tokenizer of few merges."""
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(letter + "</w>" for letter in letters), "ch", "air</w>", "chair</w>", "ai", "r</w>"]
    words = list(dict.fromkeys(words))
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    merges = ["c h", "a i", "ai r</w>", "ch air</w>"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    size = len(vocabulary)
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={
            **{"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
            **{"vocab_size": size, "max_position_embeddings": 10, "projection_dim": 12},
            **{"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1},
        },
        vision_config={
            **{"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
            **{"image_size": 16, "patch_size": 8, "projection_dim": 12},
        },
        projection_dim=12,
    )
    CLIPModel(config).save_pretrained(folder)
    return folder


@torch.no_grad()
def test_clip_of_transformers(clip_folder: Path) -> None:
    report = load_clip(str(clip_folder), cloud=CloudConfig(groups=GROUPS, group_size=GROUP_SIZE))
    ours, clip = report.model.eval(), CLIPModel.from_pretrained(clip_folder).eval()
    assert set(report.transfer.taken) == set(clip.state_dict())
    images = torch.randn(2, 3, 16, 16)
    texts = ["chair", "a chair and a table"]
    tokens = ours.tokenizer(texts, 10)
    assert len(set(tokens[0].tolist())) == 3  # start, one word, end: merges were applied
    reference = clip(input_ids=tokens, pixel_values=images)
    torch.testing.assert_close(ours.image(images).feature, reference.image_embeds)
    torch.testing.assert_close(ours.encode_text(texts), reference.text_embeds)
    torch.testing.assert_close(ours.logit_scale, clip.logit_scale)
    with pytest.raises(OSError, match=r"must hold a CLIP that can be loaded, got none"):
        load_clip(str(clip_folder / "absent"))


def test_clip_without_a_tokenizer_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((clip_folder / name).read_bytes())
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "clip"
    with pytest.raises(OSError, match=r"must hold (CLIP's tokenizer|the tokenizer of its \d+ tokens), got"):
        load_clip(str(tmp_path))
