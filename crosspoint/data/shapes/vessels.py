"""Mugs, bottles and vases."""

import itertools
import math

import numpy as np

from crosspoint.data.mesh import Array, Facets
from crosspoint.data.shapes.builder import Builder, ShapeClass
from crosspoint.data.shapes.primitives import (
    arc,
    disc,
    ellipsoid,
    lathe,
    rod,
    tube,
)


def smooth_profile(b: Builder, height: float, radii: tuple[float, ...], wobble: float = 0.0) -> Array:
    """Smooth outline (13, 2) through radii at even heights, each changed by up to the share `wobble`."""
    nodes = np.array([radius * (1 + b.between(-wobble, wobble)) for radius in radii])
    share = np.linspace(0.0, 1.0, len(nodes))
    fine = np.linspace(0.0, 1.0, 13)
    # Cosine interpolation between the nodes: smooth, and never below the smaller neighbour.
    cell = np.minimum((fine * (len(nodes) - 1)).astype(int), len(nodes) - 2)
    blend = (1 - np.cos(np.pi * (fine - share[cell]) * (len(nodes) - 1))) / 2
    return np.stack((nodes[cell] * (1 - blend) + nodes[cell + 1] * blend, fine * height), axis=1)


def hollow(outside: Array, thick: float, floor: float) -> Facets:
    """Vessel open at the top: outside, rim, inside and bottom."""
    inside = np.stack((np.maximum(outside[:, 0] - thick, 0.0), np.maximum(outside[:, 1], floor)), axis=1)[::-1]
    return lathe(np.concatenate((((0.0, outside[0, 1]),), outside, inside, ((0.0, floor),))))


def _handle(b: Builder, part: str, x: float, y: float, reach: float, tall: float, thick: float) -> None:
    turn = b.between(-0.6, 0.6)
    low, high = y - tall / 2, y + tall / 2
    if b.chance(0.25):  # angular
        corners = ((x, low, 0), (x + reach, low, 0), (x + reach, high, 0), (x, high, 0))
        for start, end in itertools.pairwise(corners):
            b.add(part, rod(start, end, thick).turned("y", turn))
    else:
        loop = arc((x, y, 0), (reach, tall / 2), -math.pi / 2, math.pi / 2)
        b.add(part, tube(loop, thick, (0, 0, 1)).turned("y", turn))


def mug(b: Builder) -> None:
    height, radius = b.between(0.55, 1.5), b.between(0.32, 0.6)
    outline = smooth_profile(b, height, (radius * b.between(0.6, 1.05), radius, radius), 0.12)
    b.add("body", hollow(outline, radius * b.between(0.05, 0.14), height * 0.05))
    if b.chance(0.88):
        tall = height * b.between(0.35, 0.75)
        _handle(
            b,
            "handle",
            radius * 0.95,
            height * b.between(0.42, 0.6),
            radius * b.between(0.3, 0.75),
            tall,
            radius * b.between(0.05, 0.12),
        )
    if b.chance(0.15):
        b.add("lid", disc(radius * 1.03, height, height * 0.05))
        b.add("lid", ellipsoid((0, height * 1.08, 0), (radius * 0.15, height * 0.05, radius * 0.15), 4, 8))
    if b.chance(0.15):
        b.add("saucer", lathe(((0, 0), (radius * b.between(1.3, 1.9), height * 0.1))))


def bottle(b: Builder) -> None:
    height, radius = b.between(1.0, 2.2), b.between(0.25, 0.5)
    neck, shoulder = radius * b.between(0.25, 0.7), b.between(0.45, 0.82)
    waist = b.between(0.75, 1.0) if b.chance(0.3) else 1.0
    body = smooth_profile(b, height * shoulder, (radius, radius * waist, radius), 0.06)
    mouth = smooth_profile(b, height * (1 - shoulder), (float(body[-1, 0]), neck, neck), 0.0)
    outline = np.concatenate((((0.0, 0.0),), body, mouth + np.array((0.0, height * shoulder)), ((0.0, height),)))
    bottle_body = lathe(outline, 4 if b.chance(0.12) else 14)
    b.add("body", bottle_body)
    if b.chance(0.6):
        cap = b.between(0.04, 0.14) * height
        b.add("cap", disc(neck * b.between(1.0, 1.3), height * 0.98, cap, 12))
    if b.chance(0.15):
        _handle(b, "handle", neck * 0.9, height * 0.75, radius * 0.8, height * 0.35, radius * 0.08)
    if b.chance(0.1):
        b.add("cap", rod((0, height, 0), (radius * 0.9, height * 1.08, 0), neck * 0.3))


def vase(b: Builder) -> None:
    height, radius = b.between(0.7, 2.0), b.between(0.3, 0.6)
    nodes = tuple(radius * b.between(0.35, 1.0) for _ in range(b.count(3, 5)))
    outline = smooth_profile(b, height, nodes)
    body = hollow(outline, radius * b.between(0.04, 0.1), height * 0.04)
    b.add("body", body.flattened(z=b.between(0.5, 1.0)) if b.chance(0.2) else body)
    if b.chance(0.25):
        for side in (-1.0, 1.0):
            loop = arc(
                (side * nodes[-2] * 0.95, height * 0.62, 0),
                (side * radius * 0.45, height * 0.2),
                -math.pi / 2,
                math.pi / 2,
            )
            b.add("handle", tube(loop, radius * 0.06, (0, 0, 1)))
    if b.chance(0.25):
        b.add("foot", disc(radius * b.between(0.6, 1.1), -height * 0.05, height * 0.05))
    if b.chance(0.2):
        for _ in range(b.count(1, 5)):
            x, z = b.between(-0.3, 0.3), b.between(-0.3, 0.3)
            top = height * b.between(1.2, 1.7)
            b.add("flower", rod((0, height * 0.7, 0), (x, top, z), 0.015, segments=5))
            b.add("flower", ellipsoid((x, top, z), (0.09, 0.07, 0.09), 4, 7))


MUG = ShapeClass("mug", ("body", "handle", "lid", "saucer"), mug)
BOTTLE = ShapeClass("bottle", ("body", "cap", "handle"), bottle)
VASE = ShapeClass("vase", ("body", "handle", "foot", "flower"), vase)
