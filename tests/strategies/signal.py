"""Cases of what resamples and transforms signals."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.models import one_node
from tests.strategies.drawing import axis_in, case_of, ints, numbers, shapes

COORDINATES = [None, "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]


@case_of("Resize")
def resize(draw, op):
    """Of two spatial axes, as onnxruntime takes all modes of these; by scales that are halves, which no
    rounding meets, or by sizes."""
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    x = numbers(draw, (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *draw(shapes(2, 2, least=2))))
    settings = {
        "mode": mode,
        "coordinate_transformation_mode": draw(
            st.sampled_from(
                [None, "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
            )
        ),
    }
    if mode == "nearest":
        settings["nearest_mode"] = draw(st.sampled_from([None, "floor", "ceil", "round_prefer_ceil"]))
    if mode == "cubic":
        settings["cubic_coeff_a"] = draw(st.sampled_from([None, -0.5]))
        settings["exclude_outside"] = draw(st.sampled_from([None, 1]))
    if draw(st.booleans()):
        sizes = ints([*x.shape[:2], *draw(st.tuples(*[st.integers(1, 9)] * 2))])
        return one_node(op, [x, None, None, sizes], fed=(0,), opset=19, **settings)
    scales = np.float32([1, 1, *draw(st.tuples(*[st.sampled_from([0.5, 1, 1.5, 2, 3])] * 2))])
    return one_node(op, [x, None, scales], fed=(0,), opset=19, **settings)


@case_of("Resize: antialias")
def resize_antialias(draw, op):
    mode = draw(st.sampled_from(["linear", "cubic"]))
    x = numbers(draw, (1, draw(st.integers(1, 3)), *draw(shapes(2, 2, least=3, most=9))))
    sizes = ints([*x.shape[:2], *draw(st.tuples(*[st.integers(1, 4)] * 2))])
    return one_node(op, [x, None, None, sizes], fed=(0,), opset=19, mode=mode, antialias=1)


@case_of("Resize: upsample")
def upsample(draw, op):
    """Before opset 9 the scales were an attribute, before opset 11 an input beside x alone."""
    x = numbers(draw, (1, draw(st.integers(1, 3)), *draw(shapes(2, 2, least=1))))
    scales = np.float32([1, 1, *draw(st.tuples(*[st.integers(1, 3)] * 2))])
    mode, opset = draw(st.sampled_from(["nearest", "linear"])), draw(st.sampled_from([7, 9]))
    if opset == 7:
        return one_node(op, [x], opset=7, name="Upsample", mode=mode, scales=scales.tolist())
    return one_node(op, [x, scales], fed=(0,), opset=9, name="Upsample", mode=mode)


@case_of("DFT")
def dft(draw, op):
    *rest, last = draw(shapes(2, 4, least=2, most=6))
    half, inverse = draw(st.booleans()), draw(st.booleans())
    parts = (2 if inverse else 1) if half else draw(st.integers(1, 2))
    # onnxruntime goes back to real numbers by another rule.
    half = half and not inverse
    x = numbers(draw, (*rest, last, parts))
    axis = draw(st.integers(0, len(rest)))
    length = draw(st.sampled_from([None, np.int64(4), np.int64(7)]))
    return one_node(
        op, [x, length, np.int64(axis)], fed=(0,), opset=20, onesided=int(half), inverse=int(inverse)
    )


@case_of("STFT")
def stft(draw, op):
    """The step is fed, as it would be a convolution if it were known."""
    length, parts, half = draw(st.integers(2, 6)), draw(st.integers(1, 2)), draw(st.booleans())
    x = numbers(draw, (draw(st.integers(1, 2)), length + draw(st.integers(0, 8)), parts))
    window = numbers(draw, (length,)) if draw(st.booleans()) else None
    step = np.int64(draw(st.integers(1, 4)))
    half = int(half and parts == 1)
    return one_node(op, [x, step, window, np.int64(length)], fed=(0, 1), opset=17, onesided=half)


@case_of("Conv: of STFT")
def stft_of_known_frames(draw, op):
    length = draw(st.integers(2, 6))
    x = numbers(draw, (draw(st.integers(1, 2)), length + draw(st.integers(0, 8)), 1))
    window, step = numbers(draw, (length,)), np.int64(draw(st.integers(1, 4)))
    given = [x, step, window, draw(st.sampled_from([None, np.int64(length)]))]
    return one_node("STFT", given, fed=(0,), opset=17)


@case_of("Compress")
def compress(draw, op):
    x = numbers(draw, draw(shapes(1, 3, least=1)))
    axis = draw(st.none() | st.just(axis_in(draw, x.ndim)))
    size = x.size if axis is None else x.shape[axis]
    condition = np.array(draw(st.lists(st.booleans(), min_size=1, max_size=size)))
    return one_node(op, [x, condition], fed=(0,), opset=11, axis=axis)
