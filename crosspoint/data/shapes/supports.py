"""What holds up a seat or a top: legs, pedestals, panels. Shared by the furniture classes."""

import math
from collections.abc import Callable

from crosspoint.data.mesh import Facets
from crosspoint.data.shapes.builder import Builder
from crosspoint.data.shapes.primitives import (
    beam,
    box,
    disc,
    ellipsoid,
    lathe,
    plate,
    rod,
)

SUPPORTS = ("round legs", "square legs", "three legs", "pedestal", "star", "panels", "sled", "trestle", "crossed")


def support(b: Builder, part: str, width: float, depth: float, height: float, styles: tuple[str, ...]) -> None:
    """Add a support of one of `styles` that fills width (x), depth (z) and y from 0 to `height`."""
    style = styles[b.count(0, len(styles) - 1)]
    _BUILDERS[style](b, part, width, depth, height)


def _corner_legs(b: Builder, part: str, width: float, depth: float, height: float, round_: bool) -> None:
    thick = min(width, depth) * b.between(0.04, 0.13)
    inset = b.between(0.5, 0.98) if b.chance(0.3) else b.between(0.85, 0.98)
    splay = b.between(0.0, 0.22) * height if b.chance(0.4) else 0.0
    taper = b.between(0.35, 1.0)
    half_x, half_z = width / 2 * inset - thick / 2, depth / 2 * inset - thick / 2
    for sx in (-1.0, 1.0):
        for sz in (-1.0, 1.0):
            top = (sx * half_x, height, sz * half_z)
            foot = (sx * (half_x + splay), 0.0, sz * (half_z + splay))
            if round_:
                b.add(part, rod(foot, top, thick / 2 * taper, thick / 2))
            else:
                b.add(part, beam(foot, top, thick, thick))
    if b.chance(0.3):
        level = b.between(0.15, 0.5) * height
        reach = splay * (1 - level / height)
        x, z = half_x + reach, half_z + reach
        bar = thick * b.between(0.3, 0.6)
        sides = (((-x, -z), (-x, z)), ((x, -z), (x, z)), ((-x, -z), (x, -z)), ((-x, z), (x, z)))
        for (x0, z0), (x1, z1) in sides[: 2 if b.chance(0.4) else 4]:
            b.add(part, rod((x0, level, z0), (x1, level, z1), bar / 2, segments=6))


def _round_legs(b: Builder, part: str, width: float, depth: float, height: float) -> None:
    _corner_legs(b, part, width, depth, height, round_=True)


def _square_legs(b: Builder, part: str, width: float, depth: float, height: float) -> None:
    _corner_legs(b, part, width, depth, height, round_=False)


def _three_legs(b: Builder, part: str, width: float, depth: float, height: float) -> None:
    thick = min(width, depth) * b.between(0.04, 0.1)
    top, foot = b.between(0.2, 0.45), b.between(0.42, 0.62)
    turn = b.between(0.0, 2.0)
    for leg in range(3):
        angle = turn + leg * 2 * math.pi / 3
        x, z = math.sin(angle), math.cos(angle)
        b.add(part, rod((foot * width * x, 0, foot * depth * z), (top * width * x, height, top * depth * z), thick / 2))


def _column(b: Builder, part: str, span: float, height: float, start: float) -> None:
    slim = span * b.between(0.03, 0.1)
    if b.chance(0.4):  # a turned column with a belly
        belly = slim * b.between(1.3, 2.4)
        at = start + (height - start) * b.between(0.25, 0.7)
        b.add(part, lathe(((slim, start), (belly, at), (slim, height)), 10))
    else:
        b.add(part, rod((0, start, 0), (0, height, 0), slim, slim * b.between(0.6, 1.0), segments=10))


def _pedestal(b: Builder, part: str, width: float, depth: float, height: float) -> None:
    span = min(width, depth)
    foot = disc(span * b.between(0.28, 0.46), 0.0, height * b.between(0.02, 0.08))
    b.add(part, foot.flattened(x=width / span if b.chance(0.5) else 1.0))
    _column(b, part, span, height, 0.0)


def _star(b: Builder, part: str, width: float, depth: float, height: float) -> None:
    span = min(width, depth)
    reach, low = span * b.between(0.42, 0.6), height * b.between(0.08, 0.2)
    spokes, thick = b.count(3, 6), span * b.between(0.025, 0.05)
    wheels = b.chance(0.5)
    turn = b.between(0.0, 2.0)
    for spoke in range(spokes):
        angle = turn + 2 * math.pi * spoke / spokes
        x, z = reach * math.sin(angle), reach * math.cos(angle)
        tip = 2 * thick if wheels else thick
        b.add(part, rod((x, tip, z), (0, low, 0), thick * 0.8, thick, segments=6))
        if wheels:
            b.add(part, ellipsoid((x, thick, z), (thick, thick, thick), 4, 6))
    _column(b, part, span, height, low * 0.6)


def _panels(b: Builder, part: str, width: float, depth: float, height: float) -> None:
    thick = width * b.between(0.02, 0.07)
    x = width / 2 * b.between(0.75, 1.0) - thick / 2
    deep = depth * b.between(0.6, 1.0)
    for side in (-x, x):
        b.add(part, box((side, height / 2, 0), (thick, height, deep)))
    if b.chance(0.5):
        tall = height * b.between(0.2, 0.9)
        b.add(part, box((0, height - tall / 2, -depth * b.between(0.0, 0.4)), (2 * x, tall, thick)))


def _sled(b: Builder, part: str, width: float, depth: float, height: float) -> None:
    thick = min(width, depth) * b.between(0.03, 0.07)
    x, z = width / 2 * b.between(0.8, 0.98), depth / 2 * b.between(0.75, 1.0)
    cantilever = b.chance(0.4)
    for side in (-x, x):
        low, high = thick / 2, height
        runs: list[tuple[tuple[float, float, float], tuple[float, float, float]]] = [
            ((side, low, -z), (side, low, z)),
            ((side, low, z), (side, high, z)),
        ]
        if not cantilever:
            runs.append(((side, low, -z), (side, high, -z)))
        for start, end in runs:
            b.add(part, rod(start, end, thick / 2, segments=6))
    b.add(part, rod((-x, thick / 2, -z), (x, thick / 2, -z), thick / 2, segments=6))


def _trestle(b: Builder, part: str, width: float, depth: float, height: float) -> None:
    thick = min(width, depth) * b.between(0.05, 0.1)
    x, z = width / 2 * b.between(0.55, 0.9), depth / 2 * b.between(0.7, 1.0)
    spread = b.between(0.0, 1.0)
    for side in (-x, x):
        for way in (-1.0, 1.0):
            b.add(part, beam((side, 0, way * z), (side, height, way * z * (1 - spread)), thick * 0.6, thick))
    level = height * b.between(0.2, 0.6)
    b.add(part, beam((-x, level, 0), (x, level, 0), thick * 0.6, thick * 0.6))


def _crossed(b: Builder, part: str, width: float, depth: float, height: float) -> None:
    thick = min(width, depth) * b.between(0.04, 0.08)
    along_x = b.chance(0.5)
    x, z = width / 2 * b.between(0.75, 0.95), depth / 2 * b.between(0.75, 0.95)
    for side in (-1.0, 1.0):
        for way in (-1.0, 1.0):
            if along_x:
                b.add(part, beam((way * x, 0, side * z), (-way * x, height, side * z), thick, thick))
            else:
                b.add(part, beam((side * x, 0, way * z), (side * x, height, -way * z), thick, thick))


_BUILDERS: dict[str, Callable[[Builder, str, float, float, float], None]] = {
    "round legs": _round_legs,
    "square legs": _square_legs,
    "three legs": _three_legs,
    "pedestal": _pedestal,
    "star": _star,
    "panels": _panels,
    "sled": _sled,
    "trestle": _trestle,
    "crossed": _crossed,
}


def slab(b: Builder, width: float, depth: float, bottom: float, thick: float, round_: float = 0.3) -> Facets:
    """A top or seat: a box, or with probability `round_` an ellipse or a plate with cut corners."""
    if not b.chance(round_):
        return box((0, bottom + thick / 2, 0), (width, thick, depth))
    if b.chance(0.7):
        return disc(0.5, bottom, thick, 18).flattened(x=width, z=depth)
    x, z, cut = width / 2, depth / 2, min(width, depth) * b.between(0.1, 0.3)
    outline = (
        (x, -z + cut),
        (x, z - cut),
        (x - cut, z),
        (-x + cut, z),
        (-x, z - cut),
        (-x, -z + cut),
        (-x + cut, -z),
        (x - cut, -z),
    )
    return plate(outline, thick).turned("x", -math.pi / 2).moved(y=bottom + thick / 2)


def row(count: int, low: float, high: float) -> list[float]:
    """`count` positions evenly spread from `low` to `high`; one position lies in the middle."""
    if count == 1:
        return [(low + high) / 2]
    return [low + (high - low) * i / (count - 1) for i in range(count)]
