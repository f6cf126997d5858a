"""Cross-MoST's training step written down from its formulas, on a dictionary of weights.

Nothing of crosspoint is used: networks, losses, optimiser, schedule and teacher are all here, as the authors' code has
them (the image transformer of CLIP, the cloud transformer of Point-BERT). The only liberty is that names of weights are
those of `AlignedModel`.
"""

import math
import re
from dataclasses import dataclass, field

import torch
from torch import Tensor

Weights = dict[str, Tensor]


@dataclass
class Batch:
    """Teacher's and student's views of B objects."""

    weak_images: Tensor
    strong_images: Tensor
    image_mask: Tensor
    weak_centers: Tensor
    weak_neighborhoods: Tensor
    strong_centers: Tensor
    strong_neighborhoods: Tensor
    cloud_mask: Tensor


@dataclass
class Labels:
    """Of B objects: classes, whose they are, and the objects that are confident."""

    classes: list[int] = field(default_factory=list)
    from_cloud: list[bool] = field(default_factory=list)
    confident: list[int] = field(default_factory=list)


@dataclass
class Plain:
    """Student, teacher and optimiser, and the step they are at."""

    student: Weights
    frozen: str
    patch: int
    heads: int
    learning_rate: float
    last_rate: float
    warmup_steps: int
    total_steps: int
    teacher: Weights = field(default_factory=dict)
    first_moment: Weights = field(default_factory=dict)
    second_moment: Weights = field(default_factory=dict)
    step: int = 0

    def __post_init__(self) -> None:
        self.student = {name: value.detach().clone() for name, value in self.student.items()}
        self.teacher = {name: value.clone() for name, value in self.student.items()}

    def trained(self) -> list[str]:
        return [name for name in self.student if not name.startswith(self.frozen)]

    def advance(self, batch: Batch) -> dict[str, float]:
        """One step; returns the loss and its terms."""
        leaves = {name: self.student[name].requires_grad_() for name in self.trained()}
        parts = losses(self, batch)
        weights = {"image_global_local": 0.2, "cloud_global_local": 0.2}
        total = sum(weights.get(name, 1.0) * part for name, part in parts.items())
        assert isinstance(total, Tensor)
        gradients = torch.autograd.grad(total, list(leaves.values()))
        with torch.no_grad():
            for (name, weight), gradient in zip(leaves.items(), gradients, strict=True):
                adamw(self, name, weight, gradient)
            for name in self.student:
                self.student[name] = self.student[name].detach()
            follow(self)
        self.step += 1
        return {name: part.item() for name, part in {"total": total, **parts}.items()}


# ---------------------------------------------------------------------------------------------------------- networks


def layer_norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / (variance + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    results = []
    for q, k, v in zip(query.chunk(heads, -1), key.chunk(heads, -1), value.chunk(heads, -1), strict=True):
        results.append(((q @ k.transpose(1, 2)) / math.sqrt(q.shape[-1])).softmax(-1) @ v)
    return torch.cat(results, -1)


def blocks(weights: Weights, pattern: str) -> int:
    return 1 + max(int(match[1]) for name in weights if (match := re.match(pattern, name)))


def unit(x: Tensor) -> Tensor:
    return x / (x**2).sum(-1, keepdim=True).sqrt()


def image_network(weights: Weights, images: Tensor, mask: Tensor | None, patch: int, heads: int) -> dict[str, Tensor]:
    inside = "image.clip.vision_model."
    kernel = weights[f"{inside}embeddings.patch_embedding.weight"].flatten(1)
    batch, grid = len(images), images.shape[-1] // patch
    cells = images.view(batch, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5).reshape(batch, grid**2, -1)
    x = cells @ kernel.T
    if mask is not None:
        w = mask.flatten(1).unsqueeze(2).to(x.dtype)
        x = x * (1 - w) + weights["image.mask_token"] * w
    start = weights[f"{inside}embeddings.class_embedding"].expand(batch, 1, -1)
    x = torch.cat([start, x], 1) + weights[f"{inside}embeddings.position_embedding.weight"]
    x = layer_norm(weights, f"{inside}pre_layrnorm", x)
    for i in range(blocks(weights, re.escape(inside) + r"encoder\.layers\.(\d+)\.")):
        block = f"{inside}encoder.layers.{i}."
        y = layer_norm(weights, f"{block}layer_norm1", x)
        q, k, v = (linear(weights, f"{block}self_attn.{name}_proj", y) for name in "qkv")
        x = x + linear(weights, f"{block}self_attn.out_proj", attention(q, k, v, heads))
        y = linear(weights, f"{block}mlp.fc1", layer_norm(weights, f"{block}layer_norm2", x))
        x = x + linear(weights, f"{block}mlp.fc2", y * torch.sigmoid(1.702 * y))
    projection = weights["image.clip.visual_projection.weight"].T
    class_token = layer_norm(weights, f"{inside}post_layernorm", x[:, 0])
    patches = layer_norm(weights, "image.patch_norm", x[:, 1:])
    pixels = linear(weights, "image.decoder", patches).view(batch, grid, grid, 3, patch, patch)
    return {
        "feature": unit(class_token @ projection),
        "tokens": unit(patches @ projection),
        "pixels": pixels.permute(0, 3, 1, 4, 2, 5).reshape(images.shape),
        "length": torch.tensor(x.shape[1]),
    }


def batch_norm(weights: Weights, name: str, x: Tensor, training: bool) -> Tensor:
    if training:
        rows = x.flatten(0, -2)
        mean, variance = rows.mean(0), rows.var(0, unbiased=False)
        for kept, seen in (("mean", mean), ("var", rows.var(0))):
            running = f"{name}.running_{kept}"
            weights[running] = 0.9 * weights[running] + 0.1 * seen.detach()
        weights[f"{name}.num_batches_tracked"] = weights[f"{name}.num_batches_tracked"] + 1
    else:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    return (x - mean) / (variance + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def cloud_network(
    weights: Weights, centers: Tensor, neighborhoods: Tensor, mask: Tensor | None, heads: int, training: bool
) -> dict[str, Tensor]:
    inside = "cloud.tokens."
    x = batch_norm(weights, f"{inside}first.norm", linear(weights, f"{inside}first.linear", neighborhoods), training)
    x = linear(weights, f"{inside}second", x.relu())
    x = torch.cat([x.amax(2, keepdim=True).expand_as(x), x], -1)
    x = batch_norm(weights, f"{inside}third.norm", linear(weights, f"{inside}third.linear", x), training)
    x = linear(weights, "cloud.embed", linear(weights, f"{inside}fourth", x.relu()).amax(2))
    if mask is not None:
        w = mask.unsqueeze(2).to(x.dtype)
        x = x * (1 - w) + weights["cloud.mask_token"] * w
    masked_tokens = x
    x = torch.cat([weights["cloud.class_token"].expand(len(x), 1, -1), x], 1)
    position = linear(weights, "cloud.position.0", centers)
    position = linear(weights, "cloud.position.2", position * 0.5 * (1 + torch.erf(position / math.sqrt(2))))
    position = torch.cat([weights["cloud.class_position"].expand(len(x), 1, -1), position], 1)
    for i in range(blocks(weights, r"cloud\.blocks\.(\d+)\.")):
        block = f"cloud.blocks.{i}."
        x = x + position
        y = layer_norm(weights, f"{block}attention_norm", x) @ weights[f"{block}attention.qkv.weight"].T
        x = x + linear(weights, f"{block}attention.project", attention(*y.chunk(3, -1), heads))
        y = linear(weights, f"{block}perceptron.0", layer_norm(weights, f"{block}perceptron_norm", x))
        x = x + linear(weights, f"{block}perceptron.2", y * 0.5 * (1 + torch.erf(y / math.sqrt(2))))
    x = layer_norm(weights, "cloud.norm", x)
    return {
        "feature": unit(torch.cat([x[:, 0], x[:, 1:].amax(1)], -1) @ weights["cloud.projection"]),
        "class_token": unit(x[:, 0] @ weights["cloud.compare"]),
        "tokens": unit(x[:, 1:] @ weights["cloud.compare"]),
        "predicted": linear(weights, "cloud.predict", x[:, 1:]),
        "target": masked_tokens,
    }


# ------------------------------------------------------------------------------------------------------------ losses


def pseudo_labels(image: Tensor, cloud: Tensor) -> Labels:
    """The label of each object, and which objects are confident."""
    labels = Labels()
    for i, (q_image, q_cloud) in enumerate(zip(image.softmax(-1).tolist(), cloud.softmax(-1).tolist(), strict=True)):
        score_image, score_cloud = max(q_image), 0.9 * max(q_cloud)
        labels.from_cloud.append(score_cloud >= score_image)
        q = q_cloud if score_cloud >= score_image else q_image
        labels.classes.append(q.index(max(q)))
        if max(score_image, score_cloud) > 0.84:
            labels.confident.append(i)
    return labels


@torch.no_grad()
def teacher_labels(state: Plain, batch: Batch) -> Labels:
    """What the teacher says of a batch."""
    weights, heads = state.teacher, state.heads
    image = image_network(weights, batch.weak_images, None, state.patch, heads)["feature"]
    cloud = cloud_network(weights, batch.weak_centers, batch.weak_neighborhoods, None, heads, training=False)["feature"]
    scale = weights["logit_scale"].exp()
    return pseudo_labels(scale * image @ weights["classifier"], scale * cloud @ weights["classifier"])


def losses(state: Plain, batch: Batch) -> dict[str, Tensor]:
    """The terms of the loss, in the order of the sum."""
    labels = teacher_labels(state, batch)
    weights = state.student
    v = image_network(weights, batch.strong_images, batch.image_mask, state.patch, state.heads)
    p = cloud_network(
        weights, batch.strong_centers, batch.strong_neighborhoods, batch.cloud_mask, state.heads, training=True
    )
    parts = {}
    for name, features in (("image", v), ("cloud", p)):
        chances = (weights["logit_scale"].exp() * features["feature"] @ weights["classifier"]).softmax(-1)
        entropies = [-chances[i, labels.classes[i]].log() for i in labels.confident]
        parts[f"{name}_self_training"] = torch.stack(entropies).mean()
        parts[f"{name}_fairness"] = -chances.mean(0).log().mean()
        if name == "image":
            side = batch.image_mask.shape[1]
            pixels = batch.image_mask.repeat_interleave(state.patch, 1).repeat_interleave(state.patch, 2)
            error = ((v["pixels"] - batch.strong_images).abs() * pixels.unsqueeze(1)).sum()
            parts["image_modelling"] = error / pixels.sum() / v["length"]
            distance = ((v["tokens"] - v["feature"].unsqueeze(1)) ** 2).sum(-1)
            parts["image_global_local"] = distance[batch.image_mask.view(-1, side * side)].mean()
        else:
            w = batch.cloud_mask.unsqueeze(2)
            error = (p["predicted"] * w - p["target"] * w).abs().sum()
            parts["cloud_modelling"] = error / w.sum() / len(w)
            distance = ((p["tokens"] - p["class_token"].unsqueeze(1)) ** 2).sum(-1)
            parts["cloud_global_local"] = distance[batch.cloud_mask].mean()
    similarity = p["feature"] @ v["feature"].T
    own = similarity.diagonal()
    parts["alignment"] = (similarity.logsumexp(1) - own).mean() + (similarity.logsumexp(0) - own).mean()
    return parts


# ------------------------------------------------------------------------------------------- optimiser and teacher


def scheduled_rate(state: Plain) -> float:
    if state.step < state.warmup_steps:
        return state.learning_rate * state.step / (state.warmup_steps - 1)
    done = (state.step - state.warmup_steps) / (state.total_steps - state.warmup_steps)
    return state.last_rate + 0.5 * (state.learning_rate - state.last_rate) * (1 + math.cos(math.pi * done))


def layer_share(state: Plain, name: str) -> float:
    depth = blocks(state.student, r"image\.clip\.vision_model\.encoder\.layers\.(\d+)\.")
    if match := re.match(r"image\.clip\.vision_model\.encoder\.layers\.(\d+)\.", name):
        return 0.65 ** (depth - int(match[1]))
    if name == "image.mask_token" or re.match(r"image\.clip\.vision_model\.(embeddings|pre_layrnorm)\.", name):
        return 0.65 ** (depth + 1)
    return 1.0


def adamw(state: Plain, name: str, weight: Tensor, gradient: Tensor) -> None:
    rate = scheduled_rate(state) * layer_share(state, name)
    decay = 0.0 if weight.dim() == 1 else 0.05  # the temperature has no dimension, and decays
    first = 0.9 * state.first_moment.get(name, torch.zeros_like(weight)) + 0.1 * gradient
    second = 0.999 * state.second_moment.get(name, torch.zeros_like(weight)) + 0.001 * gradient**2
    state.first_moment[name], state.second_moment[name] = first, second
    t = state.step + 1
    change = first / (1 - 0.9**t) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
    state.student[name] = weight * (1 - rate * decay) - rate * change


def follow(state: Plain) -> None:
    momentum = 0.99 + (0.9998 - 0.99) * min(1.0, state.step / 400)
    for name, value in state.student.items():
        if value.is_floating_point():
            state.teacher[name] = momentum * state.teacher[name] + (1 - momentum) * value
        else:
            state.teacher[name] = value
