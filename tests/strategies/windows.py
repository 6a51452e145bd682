"""Cases of what slides a window."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.models import one_node
from tests.strategies.drawing import case_of, numbers, shapes


def some(draw, count: int, least: int, most: int) -> list[int]:
    return [draw(st.integers(least, most)) for _ in range(count)]


def spans(kernel, dilations) -> list[int]:
    return [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel)]


WEIGHTS = st.sampled_from([(0,), (0,), (0, 1), (0, 2), None])
"""Which inputs of a layer are fed; mostly not its weights."""


@case_of("Conv")
def conv(draw, op):
    rank = draw(st.integers(1, 2))
    rows, channels, filters = draw(st.integers(0, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 20))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    strides, dilations = ([draw(st.integers(1, 3)) for _ in range(rank)] for _ in range(2))
    valid = draw(st.booleans())
    pads = None if valid else [draw(st.integers(0, 2)) for _ in range(2 * rank)]
    spans = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel)]
    inputs = [
        numbers(draw, (rows, channels, *(span + draw(st.integers(0, 5)) for span in spans))),
        numbers(draw, (filters, channels, *kernel)),
    ]
    if draw(st.booleans()):
        inputs.append(numbers(draw, (filters,)))
    return one_node(
        op, inputs, fed=draw(WEIGHTS), strides=strides, dilations=dilations, pads=pads,
        auto_pad=draw(st.sampled_from(["VALID", "NOTSET"])) if valid else None,
        kernel_shape=draw(st.sampled_from([None, kernel])),
    )  # fmt: skip


def padding(draw, kernel) -> dict:
    """Pads or auto_pad; onnxruntime wants pads smaller than the kernel."""
    kind = draw(st.sampled_from(["pads", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if kind != "pads":
        return {"auto_pad": kind}
    return {"pads": [draw(st.integers(0, size - 1)) for size in kernel * 2]}


@case_of("Conv: any")
def conv_in_groups(draw, op):
    rank, group = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    kernel, strides = some(draw, rank, 1, 3), some(draw, rank, 1, 3)
    dilations = some(draw, rank, 1, 2)
    given = padding(draw, kernel)
    if given.get("auto_pad", "").startswith("SAME"):
        dilations = [1] * rank
    inner, filters = draw(st.integers(1, 3)), group * draw(st.integers(1, 3))
    sizes = [span + draw(st.integers(0, 4)) for span in spans(kernel, dilations)]
    inputs = [numbers(draw, (2, group * inner, *sizes)), numbers(draw, (filters, inner, *kernel))]
    if draw(st.booleans()):
        inputs.append(numbers(draw, (filters,)))
    settings = {"group": group, "strides": strides, "dilations": dilations, **given}
    return one_node(op, inputs, fed=draw(WEIGHTS), **settings)


@case_of("Conv: depthwise")
def conv_depthwise(draw, op):
    """A kernel for each channel, for few channels and for more than a panel of them."""
    rank, channels = draw(st.integers(1, 2)), draw(st.sampled_from([2, 3, 16, 21, 33]))
    kernel, strides, dilations = some(draw, rank, 1, 3), some(draw, rank, 1, 2), some(draw, rank, 1, 2)
    sizes = [span + draw(st.integers(0, 3)) for span in spans(kernel, dilations)]
    inputs = [numbers(draw, (2, channels, *sizes)), numbers(draw, (channels, 1, *kernel))]
    if draw(st.booleans()):
        inputs.append(numbers(draw, (channels,)))
    pads = [draw(st.integers(0, size - 1)) for size in kernel * 2]
    settings = {"group": channels, "strides": strides, "dilations": dilations, "pads": pads}
    return one_node(op, inputs, fed=draw(WEIGHTS), **settings)


@case_of("ConvTranspose: depthwise")
def conv_transpose_depthwise(draw, op):
    rank, channels = draw(st.integers(1, 2)), draw(st.sampled_from([2, 3, 16, 21, 33]))
    kernel, strides, sizes = some(draw, rank, 1, 3), some(draw, rank, 1, 2), some(draw, rank, 1, 4)
    inputs = [numbers(draw, (2, channels, *sizes)), numbers(draw, (channels, 1, *kernel))]
    if draw(st.booleans()):
        inputs.append(numbers(draw, (channels,)))
    return one_node(op, inputs, fed=draw(WEIGHTS), group=channels, strides=strides)


@case_of("ConvTranspose")
def conv_transpose(draw, op):
    rank, group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel, strides, dilations = some(draw, rank, 1, 3), some(draw, rank, 1, 3), some(draw, rank, 1, 2)
    sizes = some(draw, rank, 1, 4)
    extra = [draw(st.integers(0, stride - 1)) for stride in strides]
    full = [
        stride * (size - 1) + more + span
        for size, stride, more, span in zip(sizes, strides, extra, spans(kernel, dilations))
    ]
    kind = draw(st.sampled_from(["pads", "shape", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    given = {} if kind in ("pads", "shape") else {"auto_pad": kind}
    if kind.startswith("SAME"):
        # Of steps beyond the kernel, onnxruntime leaves out what the specification fills with zeros.
        strides, extra = list(map(min, strides, spans(kernel, dilations))), [0] * rank
    if kind == "pads":
        given["pads"] = [draw(st.integers(0, (total - 1) // 2)) for total in full * 2]
    if kind == "shape":
        given["output_shape"] = [draw(st.integers(max(1, total - 3), total)) for total in full]
    inner, filters = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    inputs = [numbers(draw, (2, group * inner, *sizes)), numbers(draw, (group * inner, filters, *kernel))]
    if draw(st.booleans()):
        inputs.append(numbers(draw, (group * filters,)))
    return one_node(
        op, inputs, fed=draw(WEIGHTS), group=group, strides=strides, dilations=dilations,
        output_padding=extra if any(extra) else None, **given,
    )  # fmt: skip


@case_of("MaxPool", "AveragePool")
def pool(draw, op):
    rank = draw(st.integers(1, 2))
    kernel, strides, dilations = some(draw, rank, 1, 3), some(draw, rank, 1, 3), some(draw, rank, 1, 2)
    given = padding(draw, kernel)
    if given.get("auto_pad", "").startswith("SAME"):
        dilations, strides = [1] * rank, list(map(min, strides, kernel))
    dtype = (
        draw(st.sampled_from([np.float32, np.float32, np.int8, np.uint8])) if op == "MaxPool" else np.float32
    )
    x = numbers(draw, (2, 3, *(span + draw(st.integers(0, 5)) for span in spans(kernel, dilations))), dtype)
    settings = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, **given}
    settings["ceil_mode"] = draw(st.sampled_from([None, 0, 1]))
    if op == "AveragePool":
        return one_node(op, [x], opset=19, count_include_pad=draw(st.sampled_from([None, 0, 1])), **settings)
    if draw(st.booleans()):
        return one_node(op, [x], opset=12, dtype=dtype, **settings)
    order = draw(st.sampled_from([None, 0, 1]))
    return one_node(
        op, [x], opset=12, outputs=["y", "indices"], dtype=[dtype, np.int64], storage_order=order,
        **settings,
    )  # fmt: skip


@case_of("LpPool")
def lp_pool(draw, op):
    rank = draw(st.integers(1, 2))
    kernel, strides = some(draw, rank, 1, 3), some(draw, rank, 1, 3)
    given = padding(draw, kernel)
    if given.get("auto_pad", "").startswith("SAME"):
        strides = list(map(min, strides, kernel))
    x = numbers(draw, (2, 3, *(size + draw(st.integers(0, 5)) for size in kernel)))
    degree = draw(st.sampled_from([None, 1, 2, 3]))
    return one_node(op, [x], opset=11, kernel_shape=kernel, strides=strides, p=degree, **given)


@case_of("GlobalAveragePool", "GlobalMaxPool")
def global_pool(draw, op):
    return one_node(op, [numbers(draw, draw(shapes(3, 4, least=1)))])
