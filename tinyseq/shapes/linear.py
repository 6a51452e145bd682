"""Shape rules of matrix products and normalisations."""

from __future__ import annotations

from tinyseq.shapes.common import Attributes, Mismatch, Shape, axes_of, axis_of, broadcast_shapes


def matmul(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    a, b = shapes[:2]
    if not a or not b:
        raise Mismatch("a scalar has no matrix product")
    left = (1, *a) if len(a) == 1 else a
    right = (*b, 1) if len(b) == 1 else b
    if left[-1] != right[-2]:
        raise Mismatch(f"{list(a)} times {list(b)}: {left[-1]} columns meet {right[-2]} rows")
    result = broadcast_shapes(left[:-2], right[:-2])
    result += () if len(a) == 1 else (left[-2],)
    return (result + (() if len(b) == 1 else (right[-1],)),)


def fused_matmul(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    """``matmul`` of factors whose last two dimensions are exchanged where that is said."""
    turned = [
        (*shape[:-2], shape[-1], shape[-2]) if attributes[name] and len(shape) > 1 else shape
        for shape, name in zip(shapes, ("transA", "transB"))
    ]
    return matmul(attributes, turned, values)


def gemm(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    a, b = shapes[:2]
    if len(a) != 2 or len(b) != 2:
        raise Mismatch(f"Gemm multiplies matrices, not {list(a)} and {list(b)}")
    rows, inner = a[::-1] if attributes["transA"] else a
    other, columns = b[::-1] if attributes["transB"] else b
    if inner != other:
        raise Mismatch(f"{list(a)} times {list(b)}: {inner} columns meet {other} rows")
    if len(shapes) > 2 and shapes[2] is not None:
        if broadcast_shapes((rows, columns), shapes[2]) != (rows, columns):
            raise Mismatch(f"c of {list(shapes[2])} does not broadcast to {[rows, columns]}")
    return ((rows, columns),)


def per_channel(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    """x[N, C, ...] with vectors of C elements."""
    x, *vectors = shapes
    if len(x) < 2:
        raise Mismatch(f"input {list(x)} has no dimension of channels")
    for vector in vectors:
        if vector != (x[1],):
            raise Mismatch(f"{list(vector)} for the {x[1]} channels of {list(x)}")
    return (x,)


def group_normalization(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x, groups = shapes[0], attributes["num_groups"]
    per_channel(attributes, shapes, values)
    if groups < 1 or x[1] % groups:
        raise Mismatch(f"{x[1]} channels in {groups} groups")
    return (x,)


def over_axes(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    """Along the attribute ``axes``."""
    axes_of(attributes["axes"], len(shapes[0]))
    return (shapes[0],)


def rms_normalization(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x, scale = shapes
    if broadcast_shapes(x, scale) != tuple(x):
        raise Mismatch(f"{list(scale)} does not broadcast to {list(x)}")
    return layer_normalization(attributes, shapes, values)[:1]


def layer_normalization(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    """Where x is of size 1 along axes that it is normalised over, scale and bias may be larger, as they may
    where exporters have taken it apart."""
    x = shapes[0]
    axis = axis_of(attributes["axis"], len(x))
    given = [shape for shape in shapes[1:] if shape is not None]
    for shape in given:
        if len(shape) > len(x) or broadcast_shapes(x, shape)[:axis] != tuple(x[:axis]):
            raise Mismatch(f"{list(shape)} does not broadcast to {list(x)}")
    statistics = x[:axis] + (1,) * (len(x) - axis)
    return broadcast_shapes(x, *given), statistics, statistics
