"""The formulas of Cross-MoST in Python floats, one term at a time."""

import math
from collections.abc import Sequence

Row = Sequence[float]
Rows = Sequence[Row]


def softmax(row: Row) -> list[float]:
    largest = max(row)
    powers = [math.exp(x - largest) for x in row]
    return [power / sum(powers) for power in powers]


def unit(row: Row) -> list[float]:
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def dot(first: Row, second: Row) -> float:
    return sum(x * y for x, y in zip(first, second, strict=True))


def joint_labels(image: Rows, cloud: Rows, threshold: float, weight: float) -> list[tuple[int, bool]]:
    answers = []
    for image_row, cloud_row in zip(image, cloud, strict=True):
        image_q, cloud_q = softmax(image_row), softmax(cloud_row)
        image_score, cloud_score = max(image_q), weight * max(cloud_q)
        label = cloud_q.index(max(cloud_q)) if cloud_score >= image_score else image_q.index(max(image_q))
        answers.append((label, max(image_score, cloud_score) > threshold))
    return answers


def self_training(logits: Rows, labels: Sequence[int], mask: Sequence[bool]) -> float:
    terms = [-math.log(softmax(row)[label]) for row, label, use in zip(logits, labels, mask, strict=True) if use]
    return sum(terms) / len(terms) if terms else 0.0


def fairness(logits: Rows) -> float:
    probabilities = [softmax(row) for row in logits]
    classes = range(len(logits[0]))
    means = [sum(row[k] for row in probabilities) / len(probabilities) for k in classes]
    return -sum(math.log(mean) for mean in means) / len(means)


def masked_pixels(reconstruction: Sequence[Sequence[Rows]], images: Sequence[Sequence[Rows]], mask: Sequence[Sequence[Sequence[bool]]], divisor: float) -> float:  # fmt: skip # noqa: E501
    error, masked = 0.0, 0
    for guessed, image, patches in zip(reconstruction, images, mask, strict=True):
        side = len(image[0]) // len(patches)
        for y in range(len(image[0])):
            for x in range(len(image[0][0])):
                if patches[y // side][x // side]:
                    masked += 1
                    error += sum(abs(guessed[c][y][x] - image[c][y][x]) for c in range(3))
    return error / masked / divisor


def masked_tokens(reconstruction: Sequence[Rows], target: Sequence[Rows], mask: Sequence[Sequence[bool]]) -> float:
    error, masked = 0.0, 0
    for guessed, tokens, flags in zip(reconstruction, target, mask, strict=True):
        for i, flag in enumerate(flags):
            if flag:
                masked += 1
                error += sum(abs(x - y) for x, y in zip(guessed[i], tokens[i], strict=True))
    return error / masked / len(target)


def global_local(summary: Rows, tokens: Sequence[Rows], mask: Sequence[Sequence[bool]]) -> float:
    distances = []
    for whole, parts, flags in zip(summary, tokens, mask, strict=True):
        for part, flag in zip(parts, flags, strict=True):
            if flag:
                distances.append(sum((x - y) ** 2 for x, y in zip(unit(part), unit(whole), strict=True)))
    return sum(distances) / len(distances)


def one_way(first: Rows, second: Rows, scale: float) -> float:
    rows = [softmax([scale * dot(a, b) for b in second]) for a in first]
    return -sum(math.log(row[i]) for i, row in enumerate(rows)) / len(rows)


def alignment(first: Rows, second: Rows, scale: float) -> float:
    return one_way(first, second, scale) + one_way(second, first, scale)
