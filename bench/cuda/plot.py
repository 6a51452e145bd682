"""A picture: how many times as fast as torch a layer is, over its hidden size and its rows."""

from __future__ import annotations

from io import BytesIO

from bench.cuda.rows import Row
from tinyseq.common.packages import package

INK = "#333333"
RIVAL = "torch float32"
MOST = 4.0
"""Ratios from which on a colour is as strong as it gets."""


def draw(rows: list[Row], title: str) -> bytes:
    """The bytes of a PNG file, a field of squares for each kind of layer and number of frames.

    Raises:
        ValueError: no row has a layer beside torch.
        MissingPackageError: matplotlib is not installed.
    """
    fields = _fields(rows)
    if not fields:
        raise ValueError(f"there is no layer beside {RIVAL}")
    columns = min(2, len(fields))
    lines = -(-len(fields) // columns)
    figure = package("matplotlib.figure", "the picture", "demo").Figure(
        (1.5 + 3.6 * columns, 0.5 + 3.4 * lines), 150, layout="constrained"
    )
    places = figure.subplots(lines, columns, squeeze=False).flat
    for axes, (name, cells) in zip(places, fields.items()):
        image = _draw(axes, name, cells)
    for axes in places[len(fields) :]:
        axes.set_visible(False)
    bar = figure.colorbar(image, ax=figure.axes, ticks=[1 / 4, 1 / 2, 1, 2, 4], shrink=0.6)
    bar.ax.set_yticklabels(["¼ or less", "½", "as fast", "2", "4 or more"], color=INK, fontsize=9)
    bar.minorticks_off()
    bar.outline.set_visible(False)
    figure.suptitle(f"how many times as fast as {RIVAL}: {title}", x=0.01, ha="left", color=INK, fontsize=11)
    png = BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _fields(rows: list[Row]) -> dict[str, dict[tuple[int, int], float]]:
    """The ratio of each hidden size and number of rows, by the layer and its frames."""
    fields: dict[str, dict[tuple[int, int], float]] = {}
    for row in rows:
        if {"H", "N", "T"} <= row.sizes.keys() and RIVAL in row.against:
            name = f"{row.case.split()[0]}, {_frames(row.sizes['T'])}"
            fields.setdefault(name, {})[row.sizes["H"], row.sizes["N"]] = row.ratios[RIVAL]
    return fields


def _frames(count: int) -> str:
    return "one frame" if count == 1 else f"{count} frames"


def _draw(axes, name: str, cells: dict[tuple[int, int], float]):
    hidden, rows = (sorted({place[axis] for place in cells}) for axis in (0, 1))
    table = [[cells.get((h, n), float("nan")) for n in rows] for h in hidden]
    norm = package("matplotlib.colors", "the picture", "demo").LogNorm(1 / MOST, MOST, clip=True)
    image = axes.imshow(table, cmap="RdBu", norm=norm, origin="lower", aspect="auto")
    for (h, n), ratio in cells.items():
        dark = not 1 / 2.5 < ratio < 2.5
        place = rows.index(n), hidden.index(h)
        axes.text(
            *place, f"{ratio:.2g}", ha="center", va="center", color="white" if dark else INK, fontsize=9
        )
    axes.set_xticks(range(len(rows)), rows)
    axes.set_yticks(range(len(hidden)), hidden)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(name, color=INK, fontsize=10)
    axes.set_xlabel("rows N", color=INK)
    axes.set_ylabel("hidden size H", color=INK)
    return image
