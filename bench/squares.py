"""Fields of coloured squares: how many times as fast as another something is, over two sizes of it."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

from tinyseq.common.packages import package

INK = "#333333"
MOST = 4.0
"""Ratios from which on a colour is as strong as it gets."""

Field = Mapping[tuple[int, str], float]
"""Ratios by a hidden size and by what stands along the other axis."""


def draw(fields: Mapping[str, Field], across: str, title: str, columns: int) -> bytes:
    """The bytes of a PNG file.

    Args:
        fields: by the titles of the fields.
        across: what the other axis is.
        title: of them all.
        columns: fields beside each other.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    columns = min(columns, len(fields))
    lines = -(-len(fields) // columns)
    figure = package("matplotlib.figure", "the picture", "demo").Figure(
        (1.6 + 3.8 * columns, 0.5 + 3.5 * lines), 150, layout="constrained"
    )
    places = figure.subplots(lines, columns, squeeze=False).flat
    for axes, (name, field) in zip(places, fields.items()):
        image = _squares(axes, field)
        axes.set_title(name, color=INK, fontsize=10)
        axes.set_xlabel(across, color=INK)
        axes.set_ylabel("hidden size", color=INK)
    for axes in places[len(fields) :]:
        axes.set_visible(False)
    bar = figure.colorbar(image, ax=figure.axes, ticks=[1 / 4, 1 / 2, 1, 2, 4], shrink=0.7)
    bar.ax.set_yticklabels(["1/4 or less", "1/2", "as fast", "2", "4 or more"], color=INK, fontsize=8)
    bar.minorticks_off()
    bar.outline.set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11)
    return png(figure)


def png(figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _squares(axes, field: Field):
    hidden = sorted({place[0] for place in field})
    others = list(dict.fromkeys(place[1] for place in field))
    table = [[field.get((h, other), float("nan")) for other in others] for h in hidden]
    norm = package("matplotlib.colors", "the picture", "demo").LogNorm(1 / MOST, MOST, clip=True)
    image = axes.imshow(table, cmap="RdBu", norm=norm, origin="lower", aspect="auto")
    for (h, other), ratio in field.items():
        light = not 1 / 2.5 < ratio < 2.5
        place, text = (others.index(other), hidden.index(h)), f"{ratio:.2g}"
        axes.text(*place, text, ha="center", va="center", fontsize=8, color="white" if light else INK)
    axes.set_xticks(range(len(others)), others)
    axes.set_yticks(range(len(hidden)), hidden)
    axes.tick_params(colors=INK, labelsize=8, length=0)
    axes.spines[:].set_visible(False)
    return image
