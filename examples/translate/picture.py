"""The picture of an attention: where a translation looks as each of its pieces is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import picture

INCHES = 0.42
"""Of a piece."""


def draw(source: list[str], target: list[str], attention: np.ndarray) -> Any:
    """A figure of the attention, float32 [target, source]: the darker, the more."""
    size = (1.9 + INCHES * len(source), 1.4 + INCHES * len(target))
    figure = picture.figure(size, dpi=80)
    axes = figure.subplots()
    axes.imshow(attention, cmap="Oranges", vmin=0, vmax=1, aspect="equal")
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(source)), source, rotation=60, ha="left", parse_math=False)
    axes.set_yticks(range(len(target)), target, parse_math=False)
    axes.tick_params(length=0, colors=picture.INK, labelsize=10)
    axes.spines[:].set_visible(False)
    return figure
