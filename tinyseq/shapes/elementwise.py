"""Shape rules of ops that compute element by element."""

from __future__ import annotations

from tinyseq.shapes.common import Attributes, Mismatch, Shape, broadcast_shapes


def same(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return (shapes[0],)


def clip(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    for shape in shapes[1:]:
        if shape is not None and (len(shape) > len(shapes[0]) or any(size != 1 for size in shape)):
            raise Mismatch(f"a bound of {list(shape)} where one number is needed")
    return (shapes[0],)


def dropout(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return shapes[0], shapes[0]


def broadcast(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return (broadcast_shapes(*shapes),)


def onto_first(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    """The other inputs broadcast to the first."""
    for shape in shapes[1:]:
        if shape is not None and broadcast_shapes(shapes[0], shape) != tuple(shapes[0]):
            raise Mismatch(f"{list(shape)} does not broadcast to {list(shapes[0])}")
    return (shapes[0],)
