"""Plants, trees, lamps and umbrellas: tall things that share their outlines."""

import math

import numpy as np

from crosspoint.data.mesh import Facets
from crosspoint.data.shapes.builder import Builder, ShapeClass
from crosspoint.data.shapes.primitives import (
    arc,
    box,
    disc,
    ellipsoid,
    grid,
    lathe,
    rod,
    tapered_box,
    tube,
)
from crosspoint.data.shapes.vessels import hollow, smooth_profile


def _leaf(b: Builder, length: float, width: float, lift: float, droop: float) -> Facets:
    """Leaf from the origin along +z, rising by `lift` and bending down by `droop` towards its tip."""
    along = np.linspace(0.0, 1.0, 6)
    half = width / 2 * np.sin(np.pi * np.clip(along * 0.9 + 0.1, 0.0, 1.0))
    points = np.empty((2, 6, 3))
    points[0, :, 0], points[1, :, 0] = -half, half
    points[..., 1] = lift * along - droop * along**2
    points[..., 2] = length * along
    return grid(points)


def plant(b: Builder) -> None:
    height, radius = b.between(0.25, 0.8), b.between(0.2, 0.5)
    if b.chance(0.75):
        outline = smooth_profile(b, height, (radius * b.between(0.5, 1.0), radius * 0.95, radius), 0.1)
        b.add("pot", hollow(outline, radius * 0.08, height * 0.85))
    else:
        low = 2 * radius * b.between(0.7, 1.0)
        b.add("pot", tapered_box((low, low), (2 * radius, 2 * radius), height))
    style = b.count(0, 2)
    spread = b.between(0.35, 1.0)
    if style == 0:  # leaves from the pot
        for i in range(b.count(6, 18)):
            leaf = _leaf(
                b, spread * b.between(0.6, 1.1), b.between(0.08, 0.26), b.between(0.2, 1.3), b.between(0.0, 0.8)
            )
            b.add("leaf", leaf.turned("y", 2.4 * i + b.between(0, 0.8)).moved(y=height * 0.85))
    elif style == 1:  # a stem with leaves
        tall = height + b.between(0.5, 1.5)
        b.add("stem", rod((0, height * 0.8, 0), (0, tall, 0), 0.03, 0.015, segments=6))
        for i in range(b.count(8, 20)):
            leaf = _leaf(
                b, spread * b.between(0.4, 0.8), b.between(0.08, 0.22), b.between(0.0, 0.4), b.between(0.0, 0.5)
            )
            b.add("leaf", leaf.turned("y", 2.4 * i).moved(y=height + (tall - height) * b.between(0.1, 1.0)))
    else:  # a little tree
        tall = height + b.between(0.2, 0.9)
        b.add("stem", rod((0, height * 0.8, 0), (0, tall, 0), 0.04, segments=6))
        for _ in range(b.count(1, 4)):
            size = spread * b.between(0.35, 0.7)
            center = (b.between(-0.2, 0.2), tall + size * b.between(0.4, 0.9), b.between(-0.2, 0.2))
            b.add("leaf", ellipsoid(center, (size, size * b.between(0.6, 1.1), size)))


def tree(b: Builder) -> None:
    height = b.between(0.35, 1.2)
    trunk = b.between(0.03, 0.11)
    b.add("trunk", rod((0, 0, 0), (0, height * 1.3, 0), trunk * b.between(1.0, 1.7), trunk * 0.6))
    style = b.count(0, 3)
    radius = b.between(0.3, 0.75)
    if style == 0:  # conifer: stacked cones
        layers, tall = b.count(1, 5), b.between(0.7, 1.7)
        for i in range(layers):
            wide = radius * (1 - 0.65 * i / layers)
            low = height + tall * i / layers
            b.add("crown", lathe(((0.0, low), (wide, low), (0.0, low + tall / layers * b.between(1.1, 1.6)))))
    elif style == 1:  # round crowns on branches
        for i in range(b.count(2, 7)):
            size = radius * b.between(0.35, 0.8)
            angle, out = 2.4 * i, radius * b.between(0.1, 0.8)
            x, y, z = out * math.sin(angle), height * 1.1 + b.between(0.1, 0.7), out * math.cos(angle)
            b.add("branch", rod((0, height, 0), (x, y, z), trunk * 0.5, trunk * 0.25, segments=6))
            b.add("crown", ellipsoid((x, y, z), (size, size * b.between(0.6, 1.0), size)))
    elif style == 2:  # palm
        top = height * 1.3
        for i in range(b.count(6, 14)):
            leaf = _leaf(
                b, radius * b.between(0.9, 1.3), b.between(0.1, 0.25), b.between(0.2, 0.6), b.between(0.4, 1.1)
            )
            b.add("crown", leaf.turned("y", 2.4 * i + b.between(0, 0.4)).moved(y=top))
    else:  # bare
        for i in range(b.count(5, 12)):
            low = height * b.between(0.5, 1.25)
            angle, out, up = 2.4 * i, radius * b.between(0.5, 1.1), b.between(0.2, 0.9)
            tip = (out * math.sin(angle), low + up, out * math.cos(angle))
            b.add("branch", rod((0, low, 0), tip, trunk * 0.5, trunk * 0.1, segments=6))
            for way in (-0.8, 0.8):
                twig = (tip[0] + 0.3 * math.sin(angle + way), tip[1] + 0.15, tip[2] + 0.3 * math.cos(angle + way))
                middle = (tip[0] * 0.6, low + up * 0.6, tip[2] * 0.6)
                b.add("branch", rod(middle, twig, trunk * 0.25, trunk * 0.08, segments=5))


def lamp(b: Builder) -> None:
    height = b.between(0.5, 1.9)
    radius = b.between(0.12, 0.36)
    low, high = radius * b.between(0.9, 1.6), radius * b.between(0.3, 1.1)
    tall = b.between(0.18, 0.55)
    shade = lathe(((low, 0.0), (high, tall))) if b.chance(0.75) else ellipsoid((0, tall / 2, 0), (low, tall / 2, low))
    style = b.count(0, 3)
    if style != 3:
        if b.chance(0.7):
            b.add("base", disc(b.between(0.14, 0.34), 0, b.between(0.02, 0.07)))
        else:
            size = b.between(0.25, 0.55)
            b.add("base", box((0, 0.03, 0), (size, 0.06, size)))
    if style == 0:  # upright
        if b.chance(0.5):
            b.add("pole", rod((0, 0, 0), (0, height, 0), b.between(0.015, 0.05)))
        else:
            outline = smooth_profile(b, height, tuple(b.between(0.04, 0.2) for _ in range(4)))
            b.add("pole", lathe(outline, 10))
        b.add("shade", shade.moved(y=height - tall * b.between(0.1, 0.6)))
    elif style == 1:  # jointed arm
        reach, rear = b.between(0.2, 0.6), b.between(0.0, 0.25)
        elbow, head = (-rear, height * 0.6, 0), (reach, height, 0)
        b.add("pole", rod((0, 0, 0), elbow, 0.025), rod(elbow, head, 0.025))
        b.add("shade", shade.moved(y=-tall).turned("z", b.between(0.0, 0.9)).moved(reach, height + 0.05))
    elif style == 2:  # arched
        reach = b.between(0.3, 0.8)
        curve = arc((reach, height * 0.7, 0), (reach, height * 0.3), math.pi, math.pi * b.between(0.0, 0.3))
        b.add("pole", rod((0, 0, 0), (0, height * 0.7, 0), 0.025), tube(curve, 0.025, (0, 0, 1)))
        tip = curve[-1]
        b.add("shade", shade.moved(y=-tall).moved(float(tip[0]), float(tip[1])))
    else:  # three legs
        for leg in range(3):
            angle = leg * 2 * math.pi / 3
            b.add("base", rod((0.35 * math.sin(angle), 0, 0.35 * math.cos(angle)), (0, height, 0), 0.025))
        b.add("shade", shade.moved(y=height - tall * 0.3))


def umbrella(b: Builder) -> None:
    height, radius = b.between(0.8, 1.5), b.between(0.3, 1.0)
    depth, ribs = radius * b.between(0.15, 0.65), b.count(6, 10)
    share = np.linspace(0.02, 1.0, 6)
    outline = np.stack((radius * share, height - depth * share**2), axis=1)[::-1]
    if b.chance(0.25):  # closed
        radius, depth = b.between(0.05, 0.12), height * b.between(0.55, 0.75)
        outline = np.array(((radius * 0.7, height - depth), (radius, height - depth * 0.8), (0.02, height)))
    b.add("canopy", lathe(outline, ribs))
    thick = b.between(0.012, 0.03)
    b.add("pole", rod((0, 0, 0), (0, height * 1.05, 0), thick))
    handle = b.count(0, 2)
    if handle == 0:
        hook = arc((0.09, 0, 0), (0.09, 0.1), math.pi, 2 * math.pi)
        b.add("handle", tube(hook, thick * 1.4, (0, 0, 1)))
    elif handle == 1:
        b.add("handle", rod((0, -0.05, 0), (0, 0.12, 0), thick * 2))
    else:
        b.add("handle", disc(b.between(0.15, 0.3), -0.05, 0.06))


PLANT = ShapeClass("plant", ("pot", "stem", "leaf"), plant)
TREE = ShapeClass("tree", ("trunk", "branch", "crown"), tree)
LAMP = ShapeClass("lamp", ("base", "pole", "shade"), lamp)
UMBRELLA = ShapeClass("umbrella", ("canopy", "pole", "handle"), umbrella)
