"""What the pictures of all demonstrations share: the option, the colours, the axes and the file."""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import Any

from tinyseq.common.files import writable, writing
from tinyseq.errors import PictureError
from tinyseq.tools.console import file_name

from .packages import package

INCHES = (11, 4.8)
DPI = 150
INK, MUTED, ACCENT = "#333333", "#5b7083", "#b3401e"
SHADE, SHADE_INK = "#fae5c0", "#9c6a0a"
"""Of a span that is marked, and of words about it."""


def add_option(parser: argparse.ArgumentParser, default: Path | None, what: str) -> None:
    """Adds ``--plot`` to a demonstration's options; ``what`` is drawn, for the help."""
    usual = "" if default is None else " (default: %(default)s)"
    parser.add_argument(
        "--plot",
        type=file_name,
        default=default,
        metavar="FILE",
        help=f"where to draw {what}, as PNG{usual}",
    )


def check(path: Path | None) -> None:
    """Refuses a name that no picture can be written to, before any work is done.

    Raises:
        PictureError: it does not end in .png, stands for no file, or its folder is missing.
    """
    if path is not None:
        writable(path, PictureError, ".png")


def figure(inches: tuple[float, float] = INCHES, dpi: int = DPI) -> Any:
    """An empty figure of matplotlib, which lays itself out.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    return package("matplotlib.figure").Figure(inches, dpi, layout="constrained")


def plain(axes: Any) -> None:
    """Takes from axes what says nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def png(figure: Any) -> bytes:
    """A figure as the bytes of a PNG file."""
    made = BytesIO()
    figure.savefig(made, format="png")
    return made.getvalue()


def write(path: str | Path, figure: Any) -> None:
    """Writes a figure as PNG.

    Raises:
        PictureError: the name does not end in .png, or the file cannot be written.
    """
    with writing(path, PictureError, ".png") as file:
        file.write(png(figure))
