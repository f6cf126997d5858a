"""Guitars, knives, laptops and monitors."""

import math

import numpy as np

from crosspoint.data.mesh import Array, Facets
from crosspoint.data.shapes.builder import Builder, ShapeClass
from crosspoint.data.shapes.primitives import (
    box,
    disc,
    ellipsoid,
    lathe,
    plate,
    rod,
    tapered_box,
)
from crosspoint.data.shapes.supports import row


def _guitar_outline(b: Builder, length: float, width: float) -> Array:
    """Body outline (24, 2), anticlockwise about the origin, long in y: two bouts and a waist."""
    angle = np.linspace(0.0, 2 * math.pi, 24, endpoint=False)
    waist, upper = b.between(0.1, 0.35), b.between(0.0, 0.25)
    y = np.sin(angle)
    half = (
        width
        / 2
        * (1 - waist * np.exp(-((y - 0.15) ** 2) / 0.06) - upper * (y > 0.15) * np.minimum(1.0, (y - 0.15) * 3))
    )
    return np.stack((half * np.cos(angle), y * length / 2), axis=1)


def guitar(b: Builder) -> None:
    length, width = b.between(0.4, 0.62), b.between(0.25, 0.5)
    thick, neck = b.between(0.04, 0.16), b.between(0.4, 0.75)
    style = b.count(0, 3)
    if style == 3:  # a V or a slab
        wing = b.between(0.2, 0.6) * length
        outline = np.array(((0, -length / 2 + wing), (width / 2, -length / 2), (width * 0.15, length / 2)))
        outline = np.concatenate((outline, outline[::-1][:2] * np.array((-1.0, 1.0))))
    elif style == 2:  # banjo or mandolin
        angle = np.linspace(0, 2 * math.pi, 18, endpoint=False)
        outline = np.stack((width / 2 * np.cos(angle), length / 2 * b.between(0.7, 1.0) * np.sin(angle)), axis=1)
    else:
        outline = _guitar_outline(b, length, width)
    lean, turn = b.between(-0.25, 0.25), b.between(-0.3, 0.3)

    def put(part: str, piece: Facets) -> None:
        b.add(part, piece.turned("x", lean).turned("z", turn))

    put("body", plate(outline, thick))
    face = thick / 2
    wide = b.between(0.035, 0.07)
    end = length * 0.4 + neck
    put("neck", box((0, (length * 0.2 + end) / 2, face + 0.01), (wide, end - length * 0.2, 0.04)))
    put(
        "head", tapered_box((wide, 0.03), (wide * b.between(1.0, 2.0), 0.025), b.between(0.1, 0.2)).moved(y=end, z=face)
    )
    if b.chance(0.6):
        for x in (-wide, wide):
            for y in row(3, end + 0.03, end + 0.1):
                put("head", rod((x, y, face), (x * 1.5, y, face), 0.01, segments=5))
    put("bridge", box((0, -length * b.between(0.15, 0.3), face + 0.01), (width * 0.35, 0.03, 0.03)))
    if b.chance(0.4):
        put("bridge", disc(width * 0.15, 0, 0.01).turned("x", math.pi / 2).moved(z=face))


def knife(b: Builder) -> None:
    blade, wide = b.between(0.35, 1.2), b.between(0.04, 0.2)
    handle, grip = b.between(0.2, 0.45), b.between(0.02, 0.06)
    thick = b.between(0.008, 0.03)
    style = b.count(0, 3)
    bend = b.between(0.0, 0.25) * blade
    if style == 0:  # one edge
        outline = [(-wide / 2, 0), (wide * 0.35, 0), (wide * 0.45, blade * 0.65), (-wide / 2, blade)]
    elif style == 1:  # two edges
        outline = [(-wide / 2, 0), (wide / 2, 0), (wide * 0.4, blade * 0.85), (0, blade), (-wide * 0.4, blade * 0.85)]
    elif style == 2:  # cleaver
        wide *= 1.8
        outline = [(-wide / 2, 0), (wide / 2, 0), (wide / 2, blade * 0.7), (-wide / 2, blade * 0.7)]
    else:  # curved
        right = [(wide / 2 - bend * y**2, blade * y) for y in row(5, 0.0, 0.9)]
        left = [(-wide / 2 - bend * y**2, blade * y) for y in row(5, 0.9, 0.0)]
        outline = [*right, (-bend * 1.1, blade), *left]
    up = b.chance(0.3)
    lean = b.between(-0.3, 0.3) if up else math.pi / 2 + b.between(-0.1, 0.1)
    pieces = [("blade", plate(outline, thick))]
    round_grip = b.chance(0.5)
    if round_grip:
        belly = grip * b.between(0.9, 1.6)
        profile = ((0, -handle), (grip, -handle), (belly, -handle / 2), (grip * 0.8, 0))
        pieces.append(("handle", lathe(profile, 10).flattened(z=b.between(0.5, 1.0))))
    else:
        pieces.append(("handle", box((0, -handle / 2, 0), (grip * 2, handle, grip * b.between(0.7, 1.5)))))
    if b.chance(0.45):
        reach = wide * b.between(0.8, 2.2) + grip
        pieces.append(("guard", box((0, 0, 0), (reach, grip * 0.8, grip * 1.3))))
    if b.chance(0.3):
        pieces.append(("guard", ellipsoid((0, -handle, 0), (grip * 1.4, grip * 1.4, grip * 1.4), 5, 8)))
    for part, piece in pieces:
        b.add(part, piece.turned("z", lean))


def _keys(b: Builder, width: float, depth: float, level: float, z: float) -> None:
    """Rows of key bars on a keyboard, `level` high."""
    rows = b.count(3, 5)
    for at in row(rows, z - depth / 2, z + depth / 2):
        b.add("keys", box((0, level, at), (width, 0.012, depth / rows * 0.7)))


def laptop(b: Builder) -> None:
    width, depth = b.between(0.6, 1.0), b.between(0.4, 0.7)
    thick, lid = b.between(0.02, 0.08), b.between(0.012, 0.04)
    tall = depth * b.between(0.85, 1.05)
    opening = b.between(-0.35, 1.0)
    b.add("base", box((0, thick / 2, 0), (width, thick, depth)))
    panel = box((0, tall / 2, 0), (width, tall, lid)).turned("x", -opening)
    b.add("screen", panel.moved(y=thick, z=-depth / 2))
    if b.chance(0.85):
        _keys(b, width * 0.88, depth * 0.42, thick + 0.006, -depth * 0.12)
    if b.chance(0.6):
        b.add("pad", box((0, thick + 0.004, depth * 0.33), (width * b.between(0.2, 0.35), 0.01, depth * 0.2)))
    if b.chance(0.5):
        b.add("hinge", rod((-width * 0.4, thick, -depth / 2), (width * 0.4, thick, -depth / 2), thick * 0.5))


def monitor(b: Builder) -> None:
    width, height = b.between(0.6, 1.3), b.between(0.38, 0.8)
    thick = b.between(0.02, 0.1)
    lift, tilt = b.between(0.03, 0.4), b.between(-0.05, 0.3)
    if b.chance(0.1):
        width, height = height, width
    middle = (0.0, lift + height / 2, 0.0)
    b.add("screen", box((0, 0, 0), (width, height, thick)).turned("x", -tilt).moved(*middle))
    if b.chance(0.5):
        rim = b.between(0.02, 0.06)
        for side in (-1.0, 1.0):
            bar = box((side * (width / 2 - rim / 2), 0, thick / 2), (rim, height, 0.02))
            b.add("frame", bar.turned("x", -tilt).moved(*middle))
            bar = box((0, side * (height / 2 - rim / 2), thick / 2), (width, rim, 0.02))
            b.add("frame", bar.turned("x", -tilt).moved(*middle))
    if b.chance(0.3):  # a tube behind the screen
        deep = b.between(0.15, 0.6)
        housing = tapered_box((width * 0.95, height * 0.95), (width * 0.55, height * 0.55), deep)
        b.add("screen", housing.turned("x", -math.pi / 2).moved(*middle))
    style = b.count(0, 3)
    reach = width * b.between(0.18, 0.38)
    if style == 0:
        b.add("stand", disc(reach, 0, 0.03).flattened(z=b.between(0.6, 1.0)))
    elif style == 1:
        b.add("stand", box((0, 0.015, 0), (2 * reach, 0.03, reach * b.between(0.8, 1.6))))
    elif style == 2:
        for x in (-width * 0.35, width * 0.35):
            for z in (-0.14, 0.14):
                b.add("stand", rod((x, 0, z), (x, lift + 0.02, 0), 0.015, segments=6))
    else:
        for side in (-1.0, 1.0):
            b.add("stand", rod((side * reach, 0.01, reach * 0.8), (0, 0.03, -0.05), 0.02, segments=6))
    if style != 2:
        rear = b.between(0.03, 0.1)
        b.add(
            "stand",
            box((0, (lift + height * 0.4) / 2, -rear), (width * b.between(0.05, 0.2), lift + height * 0.4, 0.03)),
        )
    if b.chance(0.15):
        wide = b.between(0.35, 0.6)
        b.add("keys", box((0, 0.012, 0.35), (wide, 0.024, 0.16)))
        _keys(b, wide * 0.9, 0.1, 0.03, 0.35)


GUITAR = ShapeClass("guitar", ("body", "neck", "head", "bridge"), guitar)
KNIFE = ShapeClass("knife", ("blade", "handle", "guard"), knife)
LAPTOP = ShapeClass("laptop", ("base", "screen", "keys", "pad", "hinge"), laptop)
MONITOR = ShapeClass("monitor", ("screen", "frame", "stand", "keys"), monitor)
