"""The picture of a text: each piece on a ground that is the darker, the less the model foresaw it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import picture

COLUMNS, ROWS = 80, 24
"""Characters of a line, and lines at most."""
MOST = 12.0
"""Bits from which on the ground is darkest."""


def draw(pieces: list[str], surprise: np.ndarray) -> Any:
    """A figure of the first lines of a text, given its pieces and the bits of each."""
    text, bits = "".join(pieces), np.repeat(surprise, [len(piece) for piece in pieces])
    lines = list(_lines(text))[:ROWS]
    ground = np.full((len(lines), COLUMNS), np.nan)
    figure = picture.figure((0.104 * COLUMNS, 0.5 + 0.21 * len(lines)), dpi=90)
    axes = figure.subplots()
    for row, (start, end) in enumerate(lines):
        ground[row, : end - start] = bits[start:end]
        for column, character in enumerate(text[start:end]):
            ink = "white" if bits[start + column] > MOST / 2 else picture.INK
            axes.text(column, row, character, family="monospace", size=9, ha="center", va="center", color=ink)
    shown = axes.imshow(ground, cmap="Oranges", vmin=0, vmax=MOST, aspect="auto")
    axes.set_axis_off()
    bar = figure.colorbar(shown, ax=axes, location="bottom", shrink=0.4, pad=0.02, aspect=40)
    bar.set_label("bits: how little the model foresaw a piece", color=picture.INK, fontsize=8)
    bar.ax.tick_params(labelsize=8, colors=picture.INK)
    return figure


def _lines(text: str) -> list[tuple[int, int]]:
    """Where lines begin and end: at line ends, and before the word that would cross the border."""
    found, at = [], 0
    while at < len(text):
        end = text.find("\n", at, at + COLUMNS + 1)
        if end < 0 and len(text) - at > COLUMNS:
            end = text.rfind(" ", at + 1, at + COLUMNS + 1)
            end = at + COLUMNS if end < 0 else end
        end = len(text) if end < 0 else end
        found.append((at, end))
        at = end + (text[end : end + 1] in ("\n", " "))
    return found
