"""What the page says about each task's results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from crosspoint.reporting.markup import fold, paragraph, picture, table
from crosspoint.reporting.published import Published, published

_DIRECTIONS = ("image to cloud", "cloud to image")

Entry = Mapping[str, Any]
"""One dataset's result of a task, as its JSON file holds it."""


def percent(share: float) -> str:
    """A share as a number of percent, without the sign."""
    return f"{100 * share:.1f}"


def headline(task: str, entry: Entry) -> list[tuple[str, tuple[str, ...]]]:
    """The numbers of a task that stand in the overview: their names, and the keys that lead to them in an encoder's."""
    some = next(iter(entry["encoders"].values()))
    if task == "linear":
        return [("accuracy", ("accuracy",))]
    if task == "few-shot":
        return [(name, ("settings", name, "mean")) for name in some["settings"]]
    if task == "finetune":
        shares = sorted(some["fractions"], key=float)
        return [
            (f"accuracy with {100 * float(share):g} % of labels", ("fractions", share, "accuracy")) for share in shares
        ]
    if task == "part-seg":
        return [("mean IoU of instances", ("instance_miou",)), ("mean IoU of categories", ("category_miou",))]
    if task == "retrieval":
        first = next(iter(entry["chance"]))
        return [(f"recall@{first}, {direction}", (direction, first)) for direction in _DIRECTIONS]
    if task == "robustness":
        return [("accuracy, clean clouds", ("clean",)), ("accuracy, mean of changed clouds", ("mean_changed",))]
    return []


def value_at(scores: Entry, keys: Sequence[str]) -> float:
    """The number that some keys lead to."""
    found: Any = scores
    for key in keys:
        found = found[key]
    return float(found)


def describe(task: str, dataset: str, entry: Entry, folder: Path) -> str:
    """Tables and pictures of one result.

    Args:
        task: The task, as on the command line.
        dataset: The entry's name: the dataset, and the protocol if it is not the honest one.
        entry: The result.
        folder: Where its pictures are.
    """
    content = [paragraph(_conditions(task, entry), "faint"), _TABLES[task](entry)]
    if entry.get("official"):
        best = percent(entry["official"]["accuracy"])
        content.append(paragraph(f"Official protocol: {best} %, the best of all C and checkpoints on the test split."))
    if entry.get("selected_on"):
        content.append(paragraph(f"Official protocol: the epoch was chosen on {entry['selected_on']}."))
    if entry.get("seen_in_pretraining"):
        content.append(paragraph("These objects were pre-trained on; unseen ones may fare worse."))
    for name, file in entry.get("figures", {}).items():
        path = folder / Path(file).name
        if path.is_file():
            description, chart, wide = _PICTURES.get(name, (name, True, False))
            content.append(picture(path, description, chart=chart, wide=wide))
    content.append(_beside(published(task, dataset.removesuffix("-official"))))
    return "\n".join(part for part in content if part)


_PICTURES = {
    "embedding": ("Features of the test clouds in two dimensions (t-SNE), coloured by class.", True, True),
    "confusion": ("Confusion matrix of the linear SVM on the test clouds; rows are true classes.", True, True),
    "segmentation": ("Parts of test objects drawn at random: the truth above, predictions below.", False, True),
    "retrieval": ("Random queries and their nearest neighbours; green frames: the object itself.", False, False),
    "robustness": ("Accuracy on changed test clouds, for each kind of change and its strength.", True, False),
}


def _conditions(task: str, entry: Entry) -> str:
    settings = entry["settings"]
    data = settings["data"]
    parts = [f"From {data['root']}"] if data["root"] else []
    if "train_clouds" in entry:
        parts.append(f"{entry['train_clouds']} training clouds")
    if "test_clouds" in entry:
        parts.append(f"{entry['test_clouds']} test clouds")
    if "objects" in entry:
        parts.append(f"{entry['objects']} objects")
    if data.get("num_points"):
        parts.append(f"{data['num_points']} points each")
    if "training" in settings:
        parts.append(f"{settings['training']['epochs']} epochs")
    if "runs" in settings:
        parts.append(f"{settings['runs']} draws, queries from the {entry['queries_from']} split")
    threads = "1 thread" if entry["threads"] == 1 else f"{entry['threads']} threads"
    where = f"{entry['device']}, {threads}, torch {entry['torch']}, {entry['when'][:10]}"
    return f"{', '.join(parts)}. Measured on {where}."


def _beside_each_other(entry: Entry, rows: Mapping[str, Callable[[Entry], str]], caption: str, what: str = "") -> str:
    """A row for each number and a column for each encoder, which fits a narrow screen."""
    encoders = list(entry["encoders"].values())
    cells = [[name, *(text(scores) for scores in encoders)] for name, text in rows.items()]
    return table([what, *(scores["label"] for scores in encoders)], cells, caption=caption)


def _linear(entry: Entry) -> str:
    rows: dict[str, Callable[[Entry], str]] = {
        "C chosen on held-back training clouds": lambda scores: f"{percent(scores['accuracy'])} (C = {scores['c']:g})"
    }
    for value in entry["settings"]["fixed"]:
        rows[f"C = {value:g}"] = partial(_percent_at, keys=("by_c", f"{value:g}"))
    return _beside_each_other(entry, rows, "Accuracy (%)")


def _percent_at(scores: Entry, keys: Sequence[str]) -> str:
    return percent(value_at(scores, keys))


def _few_shot(entry: Entry) -> str:
    def text(scores: Entry, name: str) -> str:
        found = scores["settings"][name]
        return f"{percent(found['mean'])} ± {percent(found['deviation'])}"

    names = next(iter(entry["encoders"].values()))["settings"]
    rows: dict[str, Callable[[Entry], str]] = {name: partial(text, name=name) for name in names}
    return _beside_each_other(entry, rows, "Accuracy (%), mean ± standard deviation of the draws")


def _finetune(entry: Entry) -> str:
    shares = next(iter(entry["encoders"].values()))["fractions"]
    rows: dict[str, Callable[[Entry], str]] = {
        f"{100 * float(share):g} % ({shares[share]['labelled_clouds']} clouds)": partial(
            _percent_at, keys=("fractions", share, "accuracy")
        )
        for share in sorted(shares, key=float)
    }
    return _beside_each_other(entry, rows, "Accuracy (%)", "labels")


def _part_seg(entry: Entry) -> str:
    encoders = list(entry["encoders"].values())
    header = ["", *(scores["label"] for scores in encoders)]
    means = [
        [name, *(percent(scores[key]) for scores in encoders)]
        for name, key in (("mean of instances", "instance_miou"), ("mean of categories", "category_miou"))
    ]
    categories = [
        [name, *(percent(scores["categories"][name]) for scores in encoders)] for name in encoders[0]["categories"]
    ]
    return table(header, means, caption="Mean IoU (%)") + fold("Each category", table(header, categories))


def _retrieval(entry: Entry) -> str:
    chance = entry["chance"]
    rows = [
        [direction, scores["label"], *(percent(scores[direction][k]) for k in chance)]
        for direction in _DIRECTIONS
        for scores in entry["encoders"].values()
    ]
    rows.append(["either", "chance", *(percent(value) for value in chance.values())])
    return table(["direction", "network", *(f"R@{k}" for k in chance)], rows, caption="Recall (%)", text_columns=2)


def _robustness(entry: Entry) -> str:
    rows = [
        [kind, scores["label"], *(percent(value) for value in scores["accuracies"][kind])]
        for kind in entry["parameters"]
        for scores in entry["encoders"].values()
    ]
    strengths = len(next(iter(entry["parameters"].values())))
    header = ["change", "encoder", "clean", *(str(number + 1) for number in range(strengths))]
    return fold("All numbers", table(header, rows, caption="Accuracy (%) by strength", text_columns=2))


def _beside(numbers: Sequence[Published]) -> str:
    if not numbers:
        return ""
    rows = [[number.method, number.measure, number.source, f"{number.value:g}"] for number in numbers]
    content = table(["method", "measure", "source", "%"], rows, text_columns=3)
    note = "Published elsewhere, with full training on the full data; not measured here."
    return fold("Published numbers on this dataset", paragraph(note, "faint") + content)


_TABLES: dict[str, Callable[[Entry], str]] = {
    "linear": _linear,
    "few-shot": _few_shot,
    "finetune": _finetune,
    "part-seg": _part_seg,
    "retrieval": _retrieval,
    "robustness": _robustness,
}
TASKS = {
    "linear": "Linear SVM on frozen features",
    "few-shot": "Few-shot classification",
    "finetune": "Fine-tuned classification",
    "part-seg": "Part segmentation",
    "retrieval": "Retrieval between images and clouds",
    "robustness": "Robustness",
}
"""Tasks in the order of the page, and their titles."""
