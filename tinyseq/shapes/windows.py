"""Shape rules of what slides a window: convolutions and pools."""

from typing import NamedTuple

from tinyseq.shapes.common import Attributes, Mismatch, Shape


class Geometry(NamedTuple):
    """Windows over the spatial axes: one entry per axis in each field."""

    kernel: Shape
    strides: Shape
    dilations: Shape
    before: Shape
    after: Shape


def _spread(attributes: Attributes, name: str, count: int, default: int, least: int) -> Shape:
    """A list of ``count`` integers, all ``default`` where it is absent."""
    given = attributes.get(name)
    values = (default,) * count if given is None else tuple(given)
    if len(values) != count:
        raise Mismatch(f"{name} {list(values)} where {count} numbers are needed")
    if min(values, default=least) < least:
        raise Mismatch(f"{name} {list(values)} holds a number below {least}")
    return values


def _halves(totals, upper: bool) -> tuple[Shape, Shape]:
    """Padding split in two; the odd one goes to the end if ``upper``."""
    before = tuple(total // 2 if upper else total - total // 2 for total in totals)
    return before, tuple(total - half for total, half in zip(totals, before))


def _window(attributes: Attributes, x: Shape, kernel: Shape) -> Geometry:
    """The geometry of windows over x[N, C, ...]."""
    rank = len(x) - 2
    if rank < 1 or len(kernel) != rank:
        raise Mismatch(f"input {list(x)} and a kernel {list(kernel)}")
    if min(kernel) < 1:
        raise Mismatch(f"a kernel {list(kernel)} holds a number below 1")
    strides = _spread(attributes, "strides", rank, 1, 1)
    dilations = _spread(attributes, "dilations", rank, 1, 1)
    pads = _spread(attributes, "pads", 2 * rank, 0, 0)
    if attributes["auto_pad"] == "NOTSET":
        return Geometry(kernel, strides, dilations, pads[:rank], pads[rank:])
    if any(pads):
        raise Mismatch(f"pads {list(pads)} beside auto_pad {attributes['auto_pad']}")
    if attributes["auto_pad"] == "VALID":
        return Geometry(kernel, strides, dilations, pads[:rank], pads[rank:])
    totals = [
        max(0, (-(-size // stride) - 1) * stride + dilation * (taps - 1) + 1 - size)
        for size, taps, stride, dilation in zip(x[2:], kernel, strides, dilations)
    ]
    return Geometry(kernel, strides, dilations, *_halves(totals, attributes["auto_pad"] == "SAME_UPPER"))


def _slid(x: Shape, geometry: Geometry, ceil: int = 0) -> list[int]:
    """How many windows fit along each axis; with ``ceil`` one more may reach beyond the end padding.

    None fit along an axis without elements, such as that of frames while a stream waits for more.
    """
    counts = []
    for size, kernel, stride, dilation, before, after in zip(x[2:], *geometry):
        reach = dilation * (kernel - 1) + 1
        span = size + before + after - reach
        if span < 0 and size == 0:
            counts.append(0)
            continue
        if span < 0:
            raise Mismatch(f"a kernel spanning {reach} over {size + before + after} elements")
        count = (-(-span // stride) if ceil else span // stride) + 1
        # A window must begin before the end padding does.
        counts.append(count - 1 if ceil and (count - 1) * stride >= size + before else count)
    return counts


def _check_kernel(attributes: Attributes, w: Shape) -> None:
    if attributes["kernel_shape"] is not None and tuple(attributes["kernel_shape"]) != w[2:]:
        raise Mismatch(f"kernel_shape {list(attributes['kernel_shape'])} but weights {list(w)}")


def _check_bias(shapes, filters: int) -> None:
    if len(shapes) > 2 and shapes[2] is not None and shapes[2] != (filters,):
        raise Mismatch(f"bias {list(shapes[2])} for {filters} output channels")


def conv_geometry(attributes: Attributes, x: Shape, w: Shape) -> Geometry:
    """The windows of a convolution, padding of ``auto_pad`` worked out."""
    if len(w) != len(x):
        raise Mismatch(f"input {list(x)} and weights {list(w)} are not of one rank above 2")
    _check_kernel(attributes, w)
    return _window(attributes, x, w[2:])


def _filtered(attributes: Attributes, x: Shape, w: Shape) -> Shape:
    geometry = conv_geometry(attributes, x, w)
    groups = attributes["group"]
    if groups < 1 or w[0] % groups:
        raise Mismatch(f"{w[0]} output channels in {groups} groups")
    if x[1] != w[1] * groups:
        raise Mismatch(f"input {list(x)} has {x[1]} channels, weights {list(w)} want {w[1] * groups}")
    return (x[0], w[0], *_slid(x, geometry))


def conv(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x, w = shapes[:2]
    y = _filtered(attributes, x, w)
    _check_bias(shapes, w[0])
    return (y,)


def conv_transpose_geometry(attributes: Attributes, x: Shape, w: Shape) -> tuple[Geometry, Shape]:
    """The windows that a transposed convolution writes, and its output's spatial sizes."""
    rank = len(x) - 2
    if rank < 1 or len(w) != len(x) or min(w[2:]) < 1:
        raise Mismatch(f"input {list(x)} and weights {list(w)} are not of one rank above 2")
    _check_kernel(attributes, w)
    kernel = w[2:]
    strides = _spread(attributes, "strides", rank, 1, 1)
    dilations = _spread(attributes, "dilations", rank, 1, 1)
    extra = _spread(attributes, "output_padding", rank, 0, 0)
    pads = _spread(attributes, "pads", 2 * rank, 0, 0)
    if attributes["auto_pad"] == "VALID":
        pads = (0,) * (2 * rank)
    full = [
        stride * (size - 1) + more + (taps - 1) * dilation + 1
        for size, taps, stride, dilation, more in zip(x[2:], kernel, strides, dilations, extra)
    ]
    wanted = attributes["output_shape"]
    same = attributes["auto_pad"] in ("SAME_UPPER", "SAME_LOWER")
    if wanted is None and same:
        wanted = [size * stride for size, stride in zip(x[2:], strides)]
    if wanted is None:
        sizes = [total - before - after for total, before, after in zip(full, pads, pads[rank:])]
        geometry = Geometry(kernel, strides, dilations, pads[:rank], pads[rank:])
    else:
        sizes = _spread({"output_shape": wanted}, "output_shape", rank, 0, 0)
        totals = [max(0, total - size) for total, size in zip(full, sizes)]
        halves = _halves(totals, attributes["auto_pad"] == "SAME_UPPER")
        geometry = Geometry(kernel, strides, dilations, *halves)
    if min(sizes) < 0:
        raise Mismatch(f"pads {list(pads)} crop more than the {full} elements there are")
    return geometry, tuple(sizes)


def conv_transpose(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x, w = shapes[:2]
    _, sizes = conv_transpose_geometry(attributes, x, w)
    groups = attributes["group"]
    if groups < 1 or x[1] % groups:
        raise Mismatch(f"{x[1]} channels in {groups} groups")
    if x[1] != w[0]:
        raise Mismatch(f"input {list(x)} has {x[1]} channels, weights {list(w)} want {w[0]}")
    _check_bias(shapes, w[1] * groups)
    return ((x[0], w[1] * groups, *sizes),)


def pool_geometry(attributes: Attributes, x: Shape) -> Geometry:
    """The windows of a pool, padding of ``auto_pad`` worked out."""
    return _window(attributes, x, tuple(attributes["kernel_shape"]))


def pool(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x = shapes[0]
    y = (*x[:2], *_slid(x, pool_geometry(attributes, x), attributes["ceil_mode"]))
    return y, y


def check_degree(attributes: Attributes) -> None:
    """Refuses a power that has no root."""
    if attributes["p"] < 1:
        raise Mismatch(f"p={attributes['p']}; it is 1 at the least")


def global_pool(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x = shapes[0]
    if len(x) < 3:
        raise Mismatch(f"input {list(x)} has no spatial dimensions")
    return (x[:2] + (1,) * (len(x) - 2),)
