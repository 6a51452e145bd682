"""Cases of trigonometric and hyperbolic functions."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.models import one_node
from tests.strategies.drawing import case_of, numbers, shapes


@case_of("Tan", "Atan", "Sinh", "Cosh", "Asinh")
def of_any_number(draw, op):
    scale = draw(st.sampled_from([1e-3, 0.3, 1, 1, 5]))
    return one_node(op, [np.float32(scale) * numbers(draw, draw(shapes()))], opset=9)


@case_of("Asin", "Acos", "Atanh")
def of_numbers_up_to_one(draw, op):
    scale = draw(st.sampled_from([1e-3, 0.3, 0.9, 0.9]))
    x = np.float32(scale) * np.tanh(numbers(draw, draw(shapes())))
    return one_node(op, [x.astype(np.float32)], opset=9)


@case_of("Acosh")
def of_numbers_from_one(draw, op):
    scale = draw(st.sampled_from([0.3, 1, 100]))
    x = 1 + np.float32(scale) * np.abs(numbers(draw, draw(shapes())))
    return one_node(op, [x.astype(np.float32)], opset=9)
