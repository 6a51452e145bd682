"""The picture: what came, and what the model drew."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..picture import INK, figure


def draw(films: np.ndarray, drawn: np.ndarray, seen: int) -> Any:
    """Films and the ends that the model drew, as a figure of matplotlib.

    Args:
        films: [films, frames, size, size], what came.
        drawn: [films, frames - seen, size, size], the model's in place of what came.
        seen: the frames that the model saw.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    count, frames = films.shape[:2]
    made = figure((0.62 * frames + 1.2, 1.4 * count + 0.3), 100)
    axes = made.subplots(2 * count, frames, gridspec_kw={"wspace": 0.05, "hspace": 0.05})
    for film in range(count):
        came, own = axes[2 * film], axes[2 * film + 1]
        for at in range(frames):
            _frame(came[at], films[film, at])
            _frame(own[at], drawn[film, at - seen] if at >= seen else None)
        for row, words in ((came, "what came"), (own, "drawn ahead")):
            row[0].set_ylabel(words, color=INK, fontsize=8, rotation=0, ha="right", va="center")
    for at in range(frames):
        axes[0, at].set_title(f"{at + 1 - seen:+d}" if at >= seen else "seen", color=INK, fontsize=8)
    return made


def _frame(axes: Any, frame: np.ndarray | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    if frame is None:
        axes.spines[:].set_visible(False)
    else:
        axes.imshow(frame, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
