"""Tables, desks, shelves, cabinets and stairs."""

import itertools
import math

from crosspoint.data.shapes.builder import Builder, ShapeClass
from crosspoint.data.shapes.primitives import box, ellipsoid, rod
from crosspoint.data.shapes.supports import SUPPORTS, row, slab, support


def table(b: Builder) -> None:
    if b.chance(0.5):
        width, depth = b.between(0.4, 1.0), b.between(0.4, 0.8)
    else:
        width, depth = b.between(0.9, 2.0), b.between(0.5, 1.0)
    height, thick = b.between(0.3, 0.85), b.between(0.02, 0.1)
    b.add("top", slab(b, width, depth, height, thick, round_=0.45))
    support(b, "leg", width, depth, height, SUPPORTS)
    if b.chance(0.25):
        b.add("shelf", slab(b, width * 0.8, depth * 0.8, height * b.between(0.15, 0.5), thick * 0.7, round_=0.2))
    if b.chance(0.25):
        rim = b.between(0.05, 0.14)
        b.add("shelf", box((0, height - rim / 2, 0), (width * 0.85, rim, depth * 0.85)))


def desk(b: Builder) -> None:
    width, depth = b.between(0.9, 1.8), b.between(0.45, 0.85)
    height, thick = b.between(0.6, 0.82), b.between(0.02, 0.07)
    b.add("top", box((0, height + thick / 2, 0), (width, thick, depth)))
    pedestals = b.count(0, 2)
    sides = (-1.0, 1.0) if pedestals == 2 else ((-1.0,) if b.chance(0.5) else (1.0,))
    if pedestals:
        wide, lift = width * b.between(0.18, 0.32), b.between(0.0, 0.15)
        for side in sides:
            x = side * (width / 2 - wide / 2)
            _drawers(b, x, wide, lift, height, depth * 0.9, b.count(2, 4))
        if lift > 0.04 or pedestals == 1:
            support(b, "leg", width * 0.97, depth * 0.95, height, ("round legs", "square legs", "panels", "sled"))
    else:
        support(b, "leg", width, depth, height, ("square legs", "panels", "sled", "trestle"))
        if b.chance(0.6):
            tall = b.between(0.08, 0.18)
            b.add("drawer", box((0, height - tall / 2, 0), (width * b.between(0.4, 0.95), tall, depth * 0.9)))
    if b.chance(0.3):
        tall = height * b.between(0.3, 0.8)
        b.add("panel", box((0, height - tall / 2, -depth * 0.45), (width * 0.95, tall, 0.02)))
    if b.chance(0.35):
        rise, deep = b.between(0.2, 0.6), depth * b.between(0.25, 0.45)
        level, z = height + thick, -depth / 2 + deep / 2
        for x in row(b.count(2, 4), -width / 2 + 0.01, width / 2 - 0.01):
            b.add("panel", box((x, level + rise / 2, z), (0.025, rise, deep)))
        b.add("panel", box((0, level + rise, z), (width, 0.025, deep)))


def _drawers(b: Builder, x: float, wide: float, low: float, high: float, depth: float, count: int) -> None:
    """A stack of drawers with knobs or bars, its front at z = depth / 2."""
    b.add("drawer", box((x, (low + high) / 2, 0), (wide, high - low, depth)))
    tall = (high - low) / count
    knob = b.chance(0.5)
    for i in range(count):
        y = low + (i + 0.5) * tall
        b.add("drawer", box((x, y, depth / 2 + 0.01), (wide * 0.92, tall * 0.85, 0.02)))
        if knob:
            b.add("handle", ellipsoid((x, y, depth / 2 + 0.04), (0.025, 0.025, 0.025), 4, 6))
        else:
            b.add("handle", rod((x - wide * 0.25, y, depth / 2 + 0.04), (x + wide * 0.25, y, depth / 2 + 0.04), 0.012))


def bookshelf(b: Builder) -> None:
    width, depth = b.between(0.45, 1.5), b.between(0.18, 0.5)
    height, thick = b.between(0.7, 2.1), b.between(0.015, 0.05)
    lift = b.between(0.0, 0.12) if b.chance(0.6) else 0.0
    boards = b.count(3, 7)
    levels = row(boards, lift + thick / 2, height - thick / 2)
    for level in levels:
        b.add("board", box((0, level, 0), (width, thick, depth)))
    open_frame = b.chance(0.25)
    for x in (-width / 2, width / 2):
        if open_frame:
            for z in (-depth / 2, depth / 2):
                b.add("side", rod((x, 0, z), (x, height, z), thick * 0.6, segments=6))
        else:
            b.add("side", box((x, height / 2, 0), (thick, height, depth)))
    if not open_frame and b.chance(0.5):
        for x in row(b.count(3, 5), -width / 2, width / 2)[1:-1]:
            b.add("side", box((x, (lift + height) / 2, 0), (thick, height - lift, depth)))
    if b.chance(0.6):
        b.add("back", box((0, (lift + height) / 2, -depth / 2), (width, height - lift, thick * 0.4)))
    if b.chance(0.6):
        _books(b, width, depth, thick, levels)
    if b.chance(0.2):
        y, tall = lift, (levels[1] - levels[0]) * 0.97
        b.add("door", box((0, y + tall / 2, depth / 2), (width, tall, thick)))


def _books(b: Builder, width: float, depth: float, thick: float, levels: list[float]) -> None:
    for low, high in itertools.pairwise(levels):
        x = -width / 2 + thick
        end = -width / 2 + width * b.between(0.0, 0.95)
        while x < end:
            wide = b.between(0.04, 0.14)
            tall, deep = (high - low - thick) * b.between(0.5, 0.9), depth * b.between(0.5, 0.85)
            b.add(
                "book",
                box((x + wide / 2, low + thick / 2 + tall / 2, depth / 2 - deep / 2 - 0.02), (wide * 0.9, tall, deep)),
            )
            x += wide


def cabinet(b: Builder) -> None:
    width, depth = b.between(0.4, 1.7), b.between(0.3, 0.65)
    height = b.between(0.5, 2.0)
    lift = b.between(0.03, 0.25) if b.chance(0.6) else 0.0
    b.add("body", box((0, (lift + height) / 2, 0), (width, height - lift, depth)))
    if lift:
        support(b, "leg", width * 0.96, depth * 0.96, lift, ("round legs", "square legs", "panels"))
    columns = 1 if width < 0.6 else b.count(1, 3)
    wide = width / columns
    knob = b.chance(0.5)
    split = b.between(0.3, 0.7) if b.chance(0.4) else 0.0
    for column in range(columns):
        x = -width / 2 + (column + 0.5) * wide
        rows = b.count(2, 5) if b.chance(0.5) else 1
        bottom, top = lift + 0.02, lift + (height - lift) * (split or 1.0) - 0.02
        tall = (top - bottom) / rows
        for i in range(rows):
            y = bottom + (i + 0.5) * tall
            b.add("door", box((x, y, depth / 2 + 0.012), (wide * 0.93, tall * 0.92, 0.025)))
            at = x if rows > 1 else x + wide * 0.38 * (1 if column % 2 == 0 else -1)
            if knob:
                b.add("handle", ellipsoid((at, y, depth / 2 + 0.045), (0.03, 0.03, 0.025), 4, 6))
            elif rows > 1:
                b.add(
                    "handle", rod((at - 0.08, y, depth / 2 + 0.05), (at + 0.08, y, depth / 2 + 0.05), 0.012, segments=5)
                )
            else:
                b.add(
                    "handle", rod((at, y - 0.1, depth / 2 + 0.05), (at, y + 0.1, depth / 2 + 0.05), 0.012, segments=5)
                )
    if b.chance(0.3):
        b.add("top", box((0, height + 0.02, 0), (width * 1.08, 0.04, depth * 1.12)))


def stairs(b: Builder) -> None:
    steps = b.count(3, 12)
    width = b.between(0.5, 1.4)
    rise, run = b.between(0.12, 0.22), b.between(0.15, 0.34)
    spiral = b.chance(0.25)
    solid, thick = b.chance(0.4), b.between(0.02, 0.07)
    turn = b.between(0.25, 0.6)
    rail = b.chance(0.45)
    for i in range(steps):
        top = (i + 1) * rise
        bottom = 0.0 if solid else top - thick
        z = -i * run
        if spiral:
            step = box((width / 2, (top + bottom) / 2, 0), (width, top - bottom, run)).turned("y", i * turn)
        else:
            step = box((0, (top + bottom) / 2, z), (width, top - bottom, run * b.between(0.95, 1.1)))
        b.add("step", step)
        if rail and i % 2 == 0:
            post = b.between(0.55, 0.6)
            if spiral:
                at = (width * math.cos(i * turn), -width * math.sin(i * turn))
                b.add("rail", rod((at[0], top, at[1]), (at[0], top + post, at[1]), 0.02, segments=5))
            else:
                for x in (-width / 2, width / 2):
                    b.add("rail", rod((x, top, z), (x, top + post, z), 0.02, segments=5))
    last, height = -(steps - 1) * run, steps * rise
    if spiral:
        b.add("side", rod((0, 0, 0), (0, height + 0.4, 0), b.between(0.03, 0.1), segments=10))
        return
    if rail:
        for x in (-width / 2, width / 2):
            b.add("rail", rod((x, rise + 0.57, 0), (x, height + 0.57, last), 0.03, segments=6))
    if not solid:
        for x in (-width / 2, width / 2) if b.chance(0.7) else (0.0,):
            tilt = math.atan2(rise, run)
            length = steps * math.hypot(rise, run)
            beam = box((0, 0, 0), (0.04, b.between(0.08, 0.2), length)).turned("x", tilt)
            b.add("side", beam.moved(x, height / 2, last / 2))
    if b.chance(0.3):
        deep = b.between(0.4, 1.0)
        b.add("step", box((0, height - thick / 2, last - run / 2 - deep / 2), (width, thick, deep)))


TABLE = ShapeClass("table", ("top", "leg", "shelf"), table)
DESK = ShapeClass("desk", ("top", "leg", "drawer", "handle", "panel"), desk)
BOOKSHELF = ShapeClass("bookshelf", ("board", "side", "back", "book", "door"), bookshelf)
CABINET = ShapeClass("cabinet", ("body", "leg", "door", "handle", "top"), cabinet)
STAIRS = ShapeClass("stairs", ("step", "rail", "side"), stairs)
