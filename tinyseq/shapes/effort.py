"""Efforts: how much an op computes, from shapes.

``rule(attributes, shapes, y)`` gives the multiplications of its sums of products, by the shapes of the inputs
and of the first output. Rules of one argument, the inputs' shapes, give the turns of the reference's loops in
Python, which take more than all that NumPy does in them.
"""

from __future__ import annotations

from math import prod

from tinyseq.shapes.common import Attributes, Shape
from tinyseq.shapes.einsum import equation


def product(attributes: Attributes, shapes: list[Shape], y: Shape) -> int:
    return prod(y) * shapes[0][-1]


def product_turned(attributes: Attributes, shapes: list[Shape], y: Shape) -> int:
    return prod(y) * shapes[0][0 if attributes["transA"] else 1]


def product_fused(attributes: Attributes, shapes: list[Shape], y: Shape) -> int:
    return prod(y) * shapes[0][-2 if attributes["transA"] and len(shapes[0]) > 1 else -1]


def sums(attributes: Attributes, shapes: list[Shape], y: Shape) -> int:
    """As many as the equation has combinations of indices, for each further input."""
    sizes = equation(attributes["equation"], tuple(map(len, shapes))).sizes(shapes)
    return prod(sizes.values()) * max(len(shapes) - 1, 1)


def convolution(attributes: Attributes, shapes: list[Shape], y: Shape) -> int:
    """Each number of the result is a sum over a window of the group's channels."""
    return prod(y) * prod(shapes[1][1:])


def spread(attributes: Attributes, shapes: list[Shape], y: Shape) -> int:
    """Each number given is spread over a window of the group's filters."""
    return prod(shapes[0]) * prod(shapes[1][1:])


def recurrent(attributes: Attributes, shapes: list[Shape], y: Shape) -> int:
    """Of frames and of states, with r [directions, gates * hidden, state]."""
    x, w, r = shapes[:3]
    return prod(x[:2]) * w[0] * (x[2] + r[2]) * r[1]


def recurrent_turned(attributes: Attributes, shapes: list[Shape], y: Shape) -> int:
    """``recurrent``, with r [directions, state, gates * hidden]."""
    x, w, r = shapes[:3]
    return prod(x[:2]) * w[0] * (x[2] + r[1]) * r[2]


def turns_of_frames(shapes: list[Shape]) -> int:
    return 16 * prod(shapes[0][:2])


def turns_of_indices(shapes: list[Shape]) -> int:
    return prod(shapes[1])


def turns_of_places(shapes: list[Shape]) -> int:
    """Of indices that are places along several axes."""
    return prod(shapes[1][:-1])
