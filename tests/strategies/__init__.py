"""Random models for every op of the table, in the forms of several opsets, with inputs that fit."""

from tests.strategies import (
    control,
    elementwise,
    indexing,
    linear,
    movement,
    quantized,
    recurrent,
    reduction,
    trigonometry,
    windows,
)
from tests.strategies.chains import chains
from tests.strategies.cut import at, cut
from tests.strategies.drawing import CASES, op_of
from tests.strategies.recurrent import LAYERS, SIZES, layers, layers_of_any_kind

FAMILIES = (
    control, elementwise, indexing, linear, movement, quantized, recurrent, reduction, trigonometry, windows,
)  # fmt: skip
"""The modules that fill ``CASES``."""

__all__ = [
    "CASES",
    "FAMILIES",
    "LAYERS",
    "SIZES",
    "at",
    "chains",
    "cut",
    "layers",
    "layers_of_any_kind",
    "op_of",
]
