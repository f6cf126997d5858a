"""Text, classes, and the whole model with its file."""

import copy
import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from crosspoint.checkpoints.aligned import (
    aligned_state,
    is_aligned,
    load_aligned,
    restore_aligned,
    save_aligned,
)
from crosspoint.config.aligned import AlignedConfig, CloudConfig, ImageConfig, TextConfig
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.prompts import TEMPLATES
from crosspoint.models.text import class_embeddings
from crosspoint.models.tokenizer import TextTokenizer

CONFIG = AlignedConfig(
    embedding=12,
    image=ImageConfig(image_size=16, patch_size=8, width=16, layers=1, heads=2),
    cloud=CloudConfig(groups=4, group_size=3, token_widths=(4, 6, 6, 8), width=16, layers=1, heads=2),
    text=TextConfig(width=16, layers=1, heads=2, context=40),
)
NAMES = ("chair", "flower_pot", "night stand")


@pytest.fixture
def model() -> AlignedModel:
    torch.manual_seed(0)
    return AlignedModel(CONFIG)


def test_tokens_are_those_of_clip_without_merges(tmp_path: Path) -> None:
    ours = TextTokenizer.of_bytes()
    assert (ours.vocabulary, ours.end) == (514, 513)
    words = TextTokenizer.of_bytes()._tokenizer.get_vocab()
    (tmp_path / "vocab.json").write_text(json.dumps(words))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    clip = AutoTokenizer.from_pretrained(tmp_path)
    texts = ["A photo of a flower_pot.", "It's 3D:  naïve café №42!", "", "日本 🪑", "new\n\tline"]
    tokens = ours(texts, 77)
    assert tokens.dtype == torch.int64
    for row, text in zip(tokens.tolist(), texts, strict=True):
        expected = clip(text)["input_ids"]
        assert row[: len(expected)] == expected
        assert set(row[len(expected) :]) <= {ours.end}
    assert max(len(clip(text)["input_ids"]) for text in texts) == tokens.shape[1]
    assert ours(["ab c"], 77).tolist() == [[512, 64, 65 + 256, 66 + 256, 513]]  # CLIP's own numbers of these bytes
    assert ours(["abcdef"], 4).tolist() == [[512, 64, 65, 513]]
    assert torch.equal(TextTokenizer.from_json(ours.to_json())(texts, 77), tokens)
    with pytest.raises(ValueError, match="at least 1 text to encode, got 0"):
        ours([], 77)


@torch.no_grad()
def test_texts_do_not_depend_on_their_neighbours_in_the_batch(model: AlignedModel) -> None:
    texts = ["a", "a much longer text"]
    together = model.eval().encode_text(texts)
    torch.testing.assert_close(together, torch.cat([model.encode_text([text]) for text in texts]))
    torch.testing.assert_close(together.norm(dim=1), torch.ones(2))


def test_a_class_is_the_mean_of_its_prompts(model: AlignedModel) -> None:
    assert model.text is not None
    templates = ("a {}.", "one {} of many {}s")
    found = class_embeddings(model.text, model.tokenizer, NAMES, templates)
    for name, direction in zip(NAMES, found, strict=True):
        prompts = model.encode_text([template.replace("{}", name) for template in templates]).detach()
        mean = prompts.mean(dim=0)
        torch.testing.assert_close(direction, mean / mean.norm())
    assert not found.requires_grad
    for bad, message in (((), "at least 1 class and 1 template, got 3 and 0"), (("a chair",), "must have {} where")):
        with pytest.raises(ValueError, match=message):
            class_embeddings(model.text, model.tokenizer, NAMES, bad)
    assert [len(set(TEMPLATES[name])) for name in ("plain", "modelnet")] == [1, 64]
    assert all(template.count("{}") == 1 for templates in TEMPLATES.values() for template in templates)


def test_classes_and_logits(model: AlignedModel) -> None:
    feature = torch.nn.functional.normalize(torch.randn(2, 12), dim=1)
    with pytest.raises(ValueError, match="classes must be set before logits"):
        model.logits(feature)
    with pytest.raises(ValueError, match="class names must differ, got 1 repeated"):
        model.set_classes(["chair", "chair"])
    model.set_classes(NAMES, TEMPLATES["plain"])
    assert model.class_names == NAMES
    assert model.classifier is not None
    torch.testing.assert_close(model.classifier.T, model.encode_text([f"a {name}." for name in NAMES]))
    torch.testing.assert_close(model.logits(feature), feature @ model.classifier / 0.07)
    assert math.isclose(model.logit_scale.item(), math.log(1 / 0.07), rel_tol=1e-6)
    model.logits(feature).sum().backward()
    assert model.classifier.grad is not None
    assert model.logit_scale.grad is not None
    model.drop_text()
    with pytest.raises(ValueError, match="the text tower must be there"):
        model.set_classes(NAMES)
    assert "classifier" in model.state_dict()
    assert not any(name.startswith("text.") for name in model.state_dict())
    twin = copy.deepcopy(model)  # what a teacher is
    assert twin.class_names == NAMES
    assert twin.classifier is not model.classifier


def test_a_tokenizer_of_another_vocabulary_is_refused() -> None:
    model = AlignedModel(dataclasses.replace(CONFIG, text=dataclasses.replace(CONFIG.text, vocabulary=600)))
    with pytest.raises(ValueError, match="must have the 600 tokens that the text tower knows, got 514"):
        model.encode_text(["a chair"])


@pytest.mark.parametrize("dropped", [False, True])
def test_a_file_holds_the_whole_model(model: AlignedModel, tmp_path: Path, dropped: bool) -> None:
    path = tmp_path / "aligned.pt"
    if dropped:
        model.set_classes(NAMES)
        model.drop_text()
    save_aligned(path, model)
    assert is_aligned(path)
    loaded = load_aligned(path)
    assert loaded.config == CONFIG
    assert loaded.class_names == model.class_names
    assert (loaded.text is None) == dropped
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    if dropped:
        assert loaded.classifier is not None
        assert loaded.classifier.requires_grad
    else:
        assert torch.equal(loaded.encode_text(["a chair"]), model.encode_text(["a chair"]))


def test_foreign_files_are_refused(model: AlignedModel, tmp_path: Path) -> None:
    path = tmp_path / "aligned.pt"
    with pytest.raises(FileNotFoundError, match="there must be an aligned model at"):
        load_aligned(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="must be a complete aligned model"):
        load_aligned(path)
    torch.save({"weight": torch.zeros(1)}, path)
    assert not is_aligned(path)
    with pytest.raises(ValueError, match="must be an aligned model, got another kind of file"):
        load_aligned(path)
    state = aligned_state(model)
    with pytest.raises(ValueError, match="must be of format 1, got kind aligned model, format 2"):
        restore_aligned({**state, "format": 2})
    with pytest.raises(ValueError, match="settings must be those of this version"):
        restore_aligned({**state, "config": {**state["config"], "sound": {}}})
    with pytest.raises(ValueError, match="weights must fit its settings"):
        restore_aligned({**state, "model": {name: state["model"][name] for name in list(state["model"])[1:]}})


def test_the_sizes_of_the_paper() -> None:
    """Against the numbers of the publications, without making the networks."""
    with torch.device("meta"):
        model = AlignedModel(AlignedConfig.paper())
    assert model.text is not None
    counts = {name: sum(value.numel() for value in part.parameters()) for name, part in model.named_children()}
    added = sum(value.numel() for part in (model.image.decoder, model.image.patch_norm) for value in part.parameters())
    # CLIP ViT-B/16 has 149,620,737 parameters: its image encoder, its text encoder, and the temperature.
    assert counts["image"] - added - 768 == 86_192_640
    assert counts["text"] == 63_428_096
    assert model.cloud.projection.shape == (768, 512)
    assert [len(model.cloud.blocks), model.cloud.blocks[0].attention.heads] == [12, 6]
    assert AlignedConfig.from_plain(dataclasses.asdict(AlignedConfig.paper())) == AlignedConfig.paper()
