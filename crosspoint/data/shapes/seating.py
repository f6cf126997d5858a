"""Chairs, stools, benches, sofas and beds."""

import math

import numpy as np

from crosspoint.data.mesh import Array
from crosspoint.data.shapes.builder import Builder, ShapeClass
from crosspoint.data.shapes.primitives import (
    arc,
    beam,
    box,
    ellipsoid,
    grid,
    lathe,
    plate,
    rod,
    tube,
)
from crosspoint.data.shapes.supports import SUPPORTS, row, slab, support


def curved_sheet(width: float, height: float, bulge: float, lean: float, segments: int = 8) -> Array:
    """Grid (2, segments + 1, 3) of a sheet standing on y = 0, bulging to -z in the middle and leaning to -z."""
    across = np.linspace(-0.5, 0.5, segments + 1)
    points = np.empty((2, segments + 1, 3))
    points[..., 0] = across * width
    points[0, :, 1], points[1, :, 1] = 0.0, height
    points[..., 2] = -bulge * (1.0 - 4.0 * across**2)
    points[1, :, 2] -= lean
    return points


def back(b: Builder, part: str, width: float, height: float, level: float, z: float, thick: float) -> None:
    """A backrest whose lower edge is at y = `level` and z: a panel, slats, spindles, a frame or a curved sheet."""
    lean = height * b.between(0.0, 0.3)
    style = b.count(0, 4)
    if style == 0:
        gap = height * b.between(0.0, 0.3)
        b.add(part, beam((0, level + gap, z), (0, level + height, z - lean), width, thick))
        if gap > 0:
            for x in (-width * 0.35, width * 0.35):
                b.add(part, rod((x, level, z), (x, level + gap, z), thick / 2, segments=6))
    elif style == 4:
        sheet = curved_sheet(width, height, width * b.between(0.08, 0.3), lean)
        b.add(part, grid(sheet).moved(y=level, z=z), grid(sheet).moved(y=level, z=z - thick))
    else:
        post = thick * b.between(0.6, 1.2)
        for x in (-width / 2 + post / 2, width / 2 - post / 2):
            b.add(part, beam((x, level, z), (x, level + height, z - lean), post, post))
        if style == 1:
            slats = b.count(2, 5)
            tall = height / slats * b.between(0.25, 0.6)
            for share in row(slats, 0.3 if slats < 4 else 0.15, 0.95):
                b.add(part, box((0, level + share * height, z - share * lean), (width, tall, thick * 0.5)))
        elif style == 2:
            b.add(part, box((0, level + height, z - lean), (width, height * b.between(0.08, 0.2), post)))
            count = b.count(3, 8)
            for x in row(count, -width * 0.38, width * 0.38):
                b.add(part, rod((x, level, z), (x, level + height, z - lean), thick * 0.25, segments=5))
        else:
            low = b.between(0.1, 0.5)
            b.add(part, beam((0, level + low * height, z - low * lean), (0, level + height, z - lean), width, thick))


def arms(b: Builder, part: str, width: float, depth: float, level: float, rise: float, thick: float) -> None:
    """Two armrests above a seat at y = `level`: bars on posts, panels or loops."""
    style = b.count(0, 2)
    length = depth * b.between(0.6, 1.0)
    for side in (-1.0, 1.0):
        x = side * (width / 2 + thick * 0.2)
        front = -depth / 2 + length
        if style == 0:
            b.add(part, box((x, level + rise, -depth / 2 + length / 2), (thick, thick * 0.6, length)))
            b.add(part, beam((x, level, front - thick), (x, level + rise, front - thick), thick * 0.6, thick * 0.6))
        elif style == 1:
            b.add(part, box((x, level + rise / 2, -depth / 2 + length / 2), (thick, rise, length)))
        else:
            loop = arc((x, level, -depth / 2 + length / 2), (length / 2, rise), 0.0, math.pi, "zy")
            b.add(part, tube(loop, thick * 0.35, (1, 0, 0)))


def chair(b: Builder) -> None:
    width, depth = b.between(0.36, 0.66), b.between(0.36, 0.62)
    height, thick = b.between(0.3, 0.66), b.between(0.025, 0.13)
    rest = b.between(0.14, 0.75)
    b.add("seat", slab(b, width, depth, height, thick))
    support(b, "leg", width, depth, height, SUPPORTS)
    level = height + thick
    back(b, "back", width * b.between(0.7, 1.0), rest, level, -depth / 2 + 0.02, b.between(0.02, 0.08))
    if b.chance(0.4):
        arms(b, "arm", width, depth, level, min(rest, b.between(0.12, 0.28)), b.between(0.03, 0.09))


def stool(b: Builder) -> None:
    width = b.between(0.28, 0.5)
    depth = width * b.between(0.7, 1.1)
    height, thick = b.between(0.28, 0.85), b.between(0.02, 0.16)
    b.add("seat", slab(b, width, depth, height, thick, round_=0.55))
    if b.chance(0.2):
        b.add("seat", ellipsoid((0, height + thick, 0), (width / 2, thick * 0.6, depth / 2)))
    support(b, "leg", width, depth, height, SUPPORTS)
    if b.chance(0.35):
        radius, level = min(width, depth) * b.between(0.3, 0.5), height * b.between(0.2, 0.5)
        ring = arc((0, level, 0), (radius, radius), 0, 2 * math.pi, "xz", 13)
        b.add("ring", tube(ring, 0.012, (0, 1, 0), 5))
    if b.chance(0.12):
        back(b, "back", width * 0.9, b.between(0.06, 0.16), height + thick, -depth / 2 + 0.02, 0.02)


def bench(b: Builder) -> None:
    width, depth = b.between(0.75, 1.7), b.between(0.26, 0.5)
    height, thick = b.between(0.32, 0.52), b.between(0.02, 0.1)
    if b.chance(0.4):
        slats = b.count(2, 5)
        wide = depth / slats * b.between(0.6, 0.9)
        for z in row(slats, -depth / 2 + wide / 2, depth / 2 - wide / 2):
            b.add("seat", box((0, height + thick / 2, z), (width, thick, wide)))
    else:
        b.add("seat", slab(b, width, depth, height, thick, round_=0.1))
    styles = ("round legs", "square legs", "panels", "sled", "trestle", "crossed")
    support(b, "leg", width, depth, height, styles)
    if b.chance(0.45):
        back(b, "back", width, b.between(0.2, 0.5), height + thick, -depth / 2 + 0.02, b.between(0.02, 0.06))
        if b.chance(0.5):
            arms(b, "arm", width, depth, height + thick, b.between(0.12, 0.25), b.between(0.03, 0.07))


def sofa(b: Builder) -> None:
    width, depth = b.between(0.8, 2.2), b.between(0.6, 1.0)
    base, lift = b.between(0.14, 0.32), b.between(0.02, 0.14)
    cushion, arm = b.between(0.06, 0.18), b.between(0.07, 0.24)
    seats = max(1, round(width / b.between(0.5, 0.8)))
    rest = b.between(0.25, 0.5)
    rest_thick = b.between(0.1, 0.25)
    top = lift + base
    b.add("base", box((0, lift + base / 2, 0), (width, base, depth)))
    for x in row(seats, -width / 2 * (1 - 1 / seats), width / 2 * (1 - 1 / seats)):
        wide = width / seats * 0.96
        front = depth - rest_thick
        b.add("cushion", box((x, top + cushion / 2, rest_thick / 2), (wide, cushion, front)))
        if b.chance(0.7):
            soft = beam(
                (x, top + cushion, -depth / 2 + rest_thick), (x, top + rest, -depth / 2 + rest_thick / 2), wide, 0.1
            )
            b.add("cushion", soft)
    b.add("back", box((0, top + rest / 2, -depth / 2 + rest_thick / 2), (width, rest, rest_thick)))
    if b.chance(0.8):
        rise = b.between(0.08, 0.32)
        rolled = b.chance(0.35)
        for side in (-1.0, 1.0)[: 1 if b.chance(0.15) else 2]:
            x = side * (width / 2 + arm / 2)
            b.add("arm", box((x, (lift + top + rise) / 2, 0), (arm, base + rise, depth)))
            if rolled:
                b.add("arm", rod((x, top + rise, -depth / 2), (x, top + rise, depth / 2), arm * 0.62, segments=10))
    if b.chance(0.2):
        side = 1.0 if b.chance(0.5) else -1.0
        long = b.between(0.4, 0.9)
        b.add(
            "base",
            box(
                (side * width * 0.3, top / 2 + cushion / 2, depth / 2 + long / 2),
                (width * 0.4, top + cushion - lift, long),
            ),
        )
    support(b, "leg", width * 0.95, depth * 0.95, lift, ("round legs", "square legs", "panels"))


def bed(b: Builder) -> None:
    width, length = b.between(0.8, 1.9), b.between(1.7, 2.2)
    frame, mattress, lift = b.between(0.05, 0.3), b.between(0.1, 0.3), b.between(0.03, 0.35)
    top = lift + frame + mattress
    b.add("frame", box((0, lift + frame / 2, 0), (width, frame, length)))
    b.add("mattress", box((0, lift + frame + mattress / 2, 0), (width * 0.96, mattress, length * 0.97)))
    if b.chance(0.85):
        pillows = 1 if width < 1.1 else b.count(1, 3)
        for x in row(pillows, -width / 2 * (1 - 1 / pillows), width / 2 * (1 - 1 / pillows)):
            size = (width / pillows * b.between(0.35, 0.46), b.between(0.05, 0.1), b.between(0.15, 0.24))
            b.add("pillow", ellipsoid((x, top + 0.03, -length / 2 + 0.28), size))
    if b.chance(0.85):
        rise = b.between(0.15, 0.8)
        if b.chance(0.5):
            outline = [
                (-width / 2, 0),
                (width / 2, 0),
                *((p[0], p[1]) for p in _arch(width, rise, b.between(0.0, 0.4))),
            ]
            panel = plate(outline, b.between(0.04, 0.12)).moved(y=lift + frame, z=-length / 2)
            b.add("headboard", panel)
        else:
            back(b, "headboard", width, rise, lift + frame, -length / 2, b.between(0.03, 0.08))
    if b.chance(0.4):
        tall = b.between(0.1, 0.5)
        b.add("footboard", box((0, lift + frame + tall / 2, length / 2), (width, tall, b.between(0.03, 0.08))))
    if b.chance(0.12):
        for x in (-width / 2, width / 2):
            for z in (-length / 2, length / 2):
                b.add("leg", lathe(((0.04, 0), (0.03, 1.7), (0, 1.75)), 8).moved(x=x, z=z))
    support(b, "leg", width, length, lift, ("round legs", "square legs", "panels"))
    if b.chance(0.1):
        upper = top + b.between(0.7, 1.0)
        b.add("frame", box((0, upper, 0), (width, 0.08, length)))
        b.add("mattress", box((0, upper + 0.1, 0), (width * 0.96, 0.14, length * 0.97)))
        for x in (-width / 2, width / 2):
            for z in (-length / 2, length / 2):
                b.add("leg", box((x, (upper + 0.3) / 2, z), (0.06, upper + 0.3, 0.06)))


def _arch(width: float, height: float, curve: float) -> list[tuple[float, float]]:
    """Top edge of a headboard from right to left, its middle raised by `curve` times the height."""
    return [
        (x * width / 2, height * (1 - curve) + height * curve * math.cos(x * math.pi / 2)) for x in row(7, 1.0, -1.0)
    ]


CHAIR = ShapeClass("chair", ("seat", "back", "leg", "arm"), chair)
STOOL = ShapeClass("stool", ("seat", "back", "leg", "ring"), stool)
BENCH = ShapeClass("bench", ("seat", "back", "leg", "arm"), bench)
SOFA = ShapeClass("sofa", ("base", "cushion", "back", "arm", "leg"), sofa)
BED = ShapeClass("bed", ("frame", "mattress", "pillow", "headboard", "footboard", "leg"), bed)
