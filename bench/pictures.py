"""Pictures of single layers: against the machine's limits, and against the best of the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench import squares
from bench.limits import PEAK, READING
from bench.measures import Row
from bench.squares import INK
from tinyseq.common.packages import package

GRID = "#dddddd"
OURS = ("tinyseq stream", "tinyseq run")
COLOURS = {"tinyseq": "#c03030", "onnxruntime": "#2060a0", "torch": "#d08010", "openvino": "#508030"}
EXACT = ("onnxruntime", "torch", "openvino")
"""The others that compute in float32."""


def roofline(rows: Sequence[Row]) -> bytes:
    """The bytes of a PNG file: operations a second of every layer over operations a byte of weights, below
    the limits of arithmetic and of reading.

    Raises:
        ValueError: the limits or the layers are missing.
        MissingPackageError: matplotlib is not installed.
    """
    limits = {row.case: row.value for row in rows if row.case.startswith("limit")}
    layers = [row for row in rows if row.flops and row.bytes and row.unit == "us"]
    if PEAK not in limits or not layers:
        raise ValueError("a roofline takes the limits of the machine and some layers")
    figure, axes = _figure(8, 5.5)
    most = max(row.flops / row.bytes for row in layers) * 1.5
    places = [0.25 * (most / 0.25) ** (step / 200) for step in range(201)]
    for name, speed in limits.items():
        flat = name == PEAK
        line = [speed if flat else min(limits[PEAK], speed * x) for x in places]
        axes.plot(places, line, color="#999999", linewidth=1, zorder=1)
        what = "arithmetic" if flat else name.removeprefix(READING).strip()
        at = (places[-1], line[-1]) if flat else (places[0], line[0])
        axes.annotate(
            f"{what}, {speed:.0f}", at, (0, 7), textcoords="offset points", fontsize=8, color="#777777",
            ha="right" if flat else "left",
        )  # fmt: skip
    for number, (who, colour) in enumerate(COLOURS.items()):
        own = _best_of(layers, who)
        # Beside one another, since all are at the same places.
        xs = [row.flops / row.bytes * 1.04 ** (number - 1) for row in own]
        ys = [row.flops / row.value / 1e3 for row in own]
        sizes = [3 + 3 * _hidden(row) ** 0.5 for row in own]
        if own:
            axes.scatter(xs, ys, sizes, color=colour, label=who, alpha=0.7, zorder=2, linewidths=0)
    plain = package("matplotlib.ticker", "the picture", "demo").FormatStrFormatter("%g")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(plain)
    axes.set_xticks([2**power for power in range(-2, 8) if 2**power <= most])
    axes.set_xlabel("operations a byte of weights (a larger dot is a larger layer)", color=INK)
    axes.set_ylabel("GFLOP/s", color=INK)
    axes.set_title("Recurrent layers and the limits of one core (GFLOP/s, GB/s)", loc="left", color=INK)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return squares.png(figure)


def _best_of(layers: Sequence[Row], who: str) -> list[Row]:
    """The quickest row of each case whose rival's name begins with a word."""
    best: dict[str, Row] = {}
    for row in layers:
        if row.rival.split()[0] == who and (row.case not in best or row.value < best[row.case].value):
            best[row.case] = row
    return list(best.values())


def _hidden(row: Row) -> int:
    return int(row.case.split()[1][2:])


def ratios(rows: Sequence[Row]) -> bytes:
    """The bytes of a PNG file: how many times as fast as the best of the others each layer is, over its
    hidden size and its frames and rows.

    Raises:
        ValueError: no layer has been computed by others.
        MissingPackageError: matplotlib is not installed.
    """
    fields = cells(rows)
    if not fields:
        raise ValueError("a picture of ratios takes layers that others have computed, too")
    title = "how many times as fast as the best of the others, in float32"
    named = {
        kind: {(hidden, f"{frames} x {of}"): ratio for (hidden, (frames, of)), ratio in found.items()}
        for kind, found in fields.items()
    }
    return squares.draw(named, "frames x rows", title, columns=2)


def cells(rows: Iterable[Row]) -> dict[str, dict[tuple[int, tuple[int, int]], float]]:
    """How many times as fast as the best of the others that compute in float32 ours is, by the kind of layer,
    hidden size, and frames and rows."""
    best: dict[str, dict[bool, float]] = {}
    for row in rows:
        if row.flops is None or row.ratio is None or row.rival not in (*OURS, *EXACT):
            continue
        own = best.setdefault(row.case, {})
        ours = row.rival in OURS
        own[ours] = max(own.get(ours, row.ratio), row.ratio)
    fields: dict[str, dict[tuple[int, tuple[int, int]], float]] = {}
    for case, speeds in best.items():
        if len(speeds) == 2:
            kind, h, t, n = case.split()
            place = int(h[2:]), (int(t[2:]), int(n[2:]))
            fields.setdefault(kind.upper(), {})[place] = speeds[True] / speeds[False]
    return fields


def _figure(width: float, height: float):
    figure = package("matplotlib.figure", "the picture", "demo").Figure(
        (width, height), 150, layout="constrained"
    )
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(color=GRID, linewidth=0.5)
    axes.tick_params(which="minor", length=0, labelbottom=False, labelleft=False)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8)
    axes.spines[:].set_visible(False)
    return figure, axes
