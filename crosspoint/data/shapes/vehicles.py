"""Airplanes, cars and rockets."""

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


def _wing(root: float, tip: float, span: float, sweep: float, thick: float) -> Facets:
    """Wing from the origin along +x, its leading edge at the root at z = root / 2."""
    outline = ((0.0, -root / 2), (span, -root / 2 - sweep), (span, -root / 2 - sweep + tip), (0.0, root / 2))
    return plate(outline, thick).turned("x", math.pi / 2)


def _pair(facets: Facets) -> tuple[Facets, Facets]:
    """The facets and their mirror image in x = 0."""
    mirror = np.array((-1.0, 1.0, 1.0))
    return facets, Facets(facets.corners * mirror, facets.normals * mirror)


def _streamline(b: Builder, length: float, radius: float) -> Array:
    """Profile (10, 2) of a body of revolution from tail (low) to nose."""
    share = np.linspace(0.0, 1.0, 10)
    nose, tail = b.between(0.1, 0.3), b.between(0.2, 0.45)
    shape = np.minimum(
        np.minimum(1.0, share / tail) ** b.between(0.5, 0.9), np.minimum(1.0, (1.0 - share) / nose) ** 0.5
    )
    return np.stack((radius * np.maximum(shape, 0.0), length * (share - 0.5)), axis=1)


def airplane(b: Builder) -> None:
    length, radius = b.between(1.2, 2.2), b.between(0.06, 0.17)
    body = lathe(_streamline(b, length, radius)).turned("x", math.pi / 2)
    b.add("body", body.flattened(y=b.between(0.85, 1.3)))
    span, root = length * b.between(0.28, 0.6), length * b.between(0.12, 0.34)
    tip, sweep = root * b.between(0.15, 0.95), span * b.between(-0.05, 0.8)
    delta = b.chance(0.15)
    if delta:
        root, tip, sweep = length * 0.55, length * 0.03, length * b.between(0.05, 0.15)
    level = b.between(-0.7, 0.9) * radius
    at = length * b.between(-0.05, 0.12) if not delta else -length * 0.15
    tilt = b.between(-0.02, 0.14)
    decks = (level,) if not b.chance(0.12) else (-radius, radius + b.between(0.1, 0.25))
    for deck in decks:
        wing = _wing(root, tip, span, sweep, 0.03).turned("z", tilt).moved(y=deck, z=at)
        b.add("wing", *_pair(wing))
    if len(decks) == 2:
        for x in (-span * 0.7, span * 0.7):
            b.add("wing", rod((x, decks[0], at - sweep * 0.7), (x, decks[1], at - sweep * 0.7), 0.015, segments=5))
    tail = -length * b.between(0.4, 0.47)
    fin_height = length * b.between(0.1, 0.22)
    fin = _wing(length * 0.14, length * b.between(0.05, 0.12), fin_height, length * b.between(0.02, 0.12), 0.025)
    twin = b.chance(0.15)
    for x in (-radius * 1.2, radius * 1.2) if twin else (0.0,):
        b.add("tail", fin.turned("z", math.pi / 2).moved(x=x, y=radius * 0.3, z=tail))
    if not delta:
        low = fin_height if b.chance(0.25) else radius * 0.3
        flat = _wing(length * 0.11, length * 0.06, span * b.between(0.25, 0.45), length * b.between(0.0, 0.1), 0.02)
        b.add("tail", *_pair(flat.moved(y=low, z=tail)))
    engines = b.count(0, 3)
    size = radius * b.between(0.35, 0.6)
    if engines == 3:
        b.add("engine", rod((0, 0, length * 0.48), (0, 0, length * 0.52), size * 0.5))
        blade = length * b.between(0.1, 0.16)
        for angle in row(b.count(2, 3), 0.0, math.pi * 0.6):
            b.add("engine", box((0, 0, 0), (0.04, 2 * blade, 0.015)).turned("z", angle).moved(z=length * 0.52))
    else:
        for i in range(engines):
            x = span * (0.35 + 0.3 * i)
            z = at - sweep * x / span
            pod = rod(
                (x, decks[0] - size * 0.9, z - size), (x, decks[0] - size * 0.9, z + 2.5 * size), size * 0.8, size
            )
            b.add("engine", *_pair(pod))
    if b.chance(0.2):
        b.add("engine", *_pair(rod((radius * 1.5, 0, tail * 0.8), (radius * 1.5, 0, tail * 0.5), size)))


def car(b: Builder) -> None:
    length, width = b.between(1.5, 2.6), b.between(0.7, 1.0)
    wheel = b.between(0.13, 0.26)
    base, belt = wheel * b.between(0.5, 1.1), b.between(0.25, 0.45)
    b.add("body", box((0, base + belt / 2, 0), (width, belt, length)))
    top = base + belt
    style = b.count(0, 4)
    rise = b.between(0.22, 0.5)
    if style == 0:  # saloon
        cabin, z = length * b.between(0.45, 0.6), length * b.between(-0.1, 0.02)
        roof = (width * b.between(0.7, 0.92), cabin * b.between(0.45, 0.75))
        b.add("cabin", tapered_box((width * 0.97, cabin), roof, rise).moved(y=top, z=z))
    elif style == 1:  # estate or hatchback
        cabin = length * b.between(0.55, 0.75)
        roof = (width * b.between(0.75, 0.95), cabin * b.between(0.7, 0.9))
        shift = (cabin - roof[1]) / 2
        moved = tapered_box((width * 0.97, cabin), roof, rise, (0.0, -shift)).moved(y=top, z=-(length - cabin) / 2)
        b.add("cabin", moved)
    elif style == 2:  # van or bus
        cabin = length * b.between(0.8, 1.0)
        tall = b.between(0.4, 0.9)
        moved = tapered_box((width, cabin), (width * 0.95, cabin * b.between(0.88, 1.0)), tall)
        b.add("cabin", moved.moved(y=top, z=-(length - cabin) / 2))
    elif style == 3:  # pick-up or lorry
        cabin = length * b.between(0.25, 0.4)
        z = length / 2 - cabin / 2 - length * b.between(0.0, 0.22)
        b.add("cabin", tapered_box((width * 0.97, cabin), (width * 0.9, cabin * 0.75), rise * 1.2).moved(y=top, z=z))
        bed, wall = z - cabin / 2 + length / 2, b.between(0.05, 0.8)
        if wall > 0.4:
            b.add("body", box((0, top + wall / 2, -length / 2 + bed / 2), (width, wall, bed * 0.95)))
        else:
            for x in (-width / 2, width / 2):
                b.add("body", box((x, top + wall / 2, -length / 2 + bed / 2), (0.04, wall, bed)))
    else:  # open
        b.add("cabin", box((0, top + 0.1, length * 0.12), (width * 0.9, 0.2, 0.03)).turned("x", -0.1))
        for x in (-width * 0.22, width * 0.22):
            b.add("cabin", box((x, top + 0.08, -length * 0.1), (width * 0.32, 0.3, 0.1)))
    thick = wheel * b.between(0.4, 0.7)
    tyre = disc(wheel, -thick / 2, thick, 12).turned("z", math.pi / 2)
    axles = 3 if style == 3 and b.chance(0.4) else 2
    for z in row(axles, -length * b.between(0.28, 0.36), length * b.between(0.28, 0.36)):
        for x in (-width / 2, width / 2):
            b.add("wheel", tyre.moved(x, wheel, z))
    if b.chance(0.12):
        b.add("body", box((0, top + rise * 0.8, -length * 0.45), (width * 0.9, 0.03, 0.16)))


def rocket(b: Builder) -> None:
    height, radius = b.between(1.2, 2.6), b.between(0.1, 0.3)
    nose = height * b.between(0.12, 0.4)
    share = np.linspace(0.0, 1.0, 7)
    bulge = radius * b.between(0.8, 1.25)
    tip = np.stack((radius * (1 - share ** b.between(1.0, 2.5)), height + nose * share), axis=1)
    body = np.array(((0.0, 0.0), (radius * b.between(0.6, 1.0), 0.0), (bulge, height * 0.45), (radius, height)))
    b.add("body", lathe(body))
    b.add("nose", lathe(tip))
    fins = b.count(3, 4) if b.chance(0.85) else 0
    reach, root = radius * b.between(0.5, 2.2), height * b.between(0.12, 0.35)
    fin = plate(((0, 0), (reach, -root * b.between(-0.3, 0.5)), (reach, root * b.between(0.3, 0.6)), (0, root)), 0.03)
    for i in range(fins):
        b.add("fin", fin.moved(x=radius * 0.8).turned("y", 2 * math.pi * i / fins))
    if b.chance(0.6):
        wide = radius * b.between(0.5, 0.95)
        b.add("nozzle", lathe(((wide, -height * b.between(0.05, 0.12)), (wide * 0.5, 0.0))))
    boosters = b.count(2, 4) if b.chance(0.3) else 0
    size, tall = radius * b.between(0.3, 0.6), height * b.between(0.35, 0.7)
    for i in range(boosters):
        pod = lathe(((0, 0), (size, 0), (size, tall), (0, tall + 2 * size)), 10).moved(x=radius + size)
        b.add("booster", pod.turned("y", 2 * math.pi * (i + 0.5) / boosters))
    if b.chance(0.15):
        b.add("nose", ellipsoid((0, height * 0.8, bulge), (radius * 0.4, radius * 0.4, radius * 0.2)))


AIRPLANE = ShapeClass("airplane", ("body", "wing", "tail", "engine"), airplane)
CAR = ShapeClass("car", ("body", "cabin", "wheel"), car)
ROCKET = ShapeClass("rocket", ("body", "nose", "fin", "nozzle", "booster"), rocket)
