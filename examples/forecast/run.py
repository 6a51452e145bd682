"""``tinyseq demo forecast``."""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

import tinyseq
from tinyseq.errors import FeedError, OptionError
from tinyseq.tools.console import JSON_HELP, file_name, say, say_json

from .. import picture
from ..report import shown, table
from .data import QUANTILES, SERIES, Series, read_csv, shipped
from .forecaster import FOLDER, Forecaster
from .picture import Drawn, draw
from .scores import MEDIAN, Scores, scores


class Run(NamedTuple):
    """A series, and what was forecast after each of its values."""

    series: Series
    values: np.ndarray
    quantiles: np.ndarray
    """float64[values, horizon, QUANTILES]"""
    value_us: np.ndarray
    """Microseconds that each value took."""
    first: int
    """The value from which on forecasts are judged."""


def main(arguments: list[str]) -> int:
    """Runs the demonstration and gives the exit status, 0.

    Raises:
        TinyseqError: a file cannot be read, the picture not written, or a package is missing.
    """
    args = _parser().parse_args(arguments)
    picture.check(args.plot)
    if args.csv is None and (args.column or args.model or args.season is not None):
        raise OptionError("--column, --season and --model are of a series of yours; give --csv FILE too")
    own, runs = args.csv is not None, []
    for run in [_own(args)] if own else map(_shipped, args.name or SERIES):
        runs.append(run)
        if not args.json:
            say(*_text(run), "", *([*_ahead(run), *_hint(args, run)] if own else []))
    picture.write(args.plot, draw([_drawn(run, own) for run in runs]))
    if args.json:
        say_json({"series": [_report(run, own) for run in runs], "picture": shown(args.plot)}, indent=2)
    else:
        say(f"picture: {shown(args.plot)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinyseq demo forecast",
        description="Forecasts series as their values come, with intervals, and compares with what came.",
    )
    parser.add_argument(
        "name", nargs="*", type=_name, metavar="NAME", help=f"{', '.join(SERIES)} (default: all)"
    )
    parser.add_argument(
        "--csv",
        type=file_name,
        metavar="FILE",
        help="a series of yours, a value a line, none of them empty; the first may name columns",
    )
    parser.add_argument("--column", metavar="NAME", help="its column (default: the last)")
    parser.add_argument(
        "--season",
        type=_steps,
        metavar="STEPS",
        help="steps after which it looks alike, such as 24 for hours (default: 1, none)",
    )
    parser.add_argument(
        "--model",
        type=file_name,
        metavar="FILE",
        help="a model of python -m examples.forecast.train (default: that of the shipped series whose season "
        "is nearest)",
    )
    picture.add_option(parser, Path("forecast.png"), "the values and the forecasts")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def _name(text: str) -> str:
    """The name of a series that ships, for argparse."""
    if text not in SERIES:
        raise argparse.ArgumentTypeError(f"there is no series {text!r}; there are {', '.join(SERIES)}")
    return text


def _steps(text: str) -> int:
    """A whole number from 1 to a million, for argparse."""
    number = int(text)
    if not 1 <= number <= 1_000_000:
        raise ValueError(text)
    return number


def _shipped(name: str) -> Run:
    values, first = shipped(name)
    return _run(SERIES[name], values, FOLDER / f"{name}.tinyseq", first)


def _own(args: argparse.Namespace) -> Run:
    if args.name:
        raise OptionError(f"--csv is a series of yours, and {args.name[0]} one that ships; give one of them")
    values, season = read_csv(args.csv, args.column), args.season or 1
    nearest = min(SERIES, key=lambda name: abs(np.log(SERIES[name].season / season)))
    path = args.model or FOLDER / f"{nearest}.tinyseq"
    series = Series(shown(args.csv.name), args.column or "value", "step", season, 0, 0.25)
    return _run(series, values, path, max(len(values) * 3 // 4, season))


def _run(series: Series, values: np.ndarray, path: Path, first: int) -> Run:
    forecaster = Forecaster(tinyseq.load(path), series.season)
    series = series._replace(horizon=forecaster.horizon)
    least = series.season + 2 * series.horizon
    if len(values) <= least:
        raise FeedError(
            f"{series.title} has {len(values)} values; {least + 1} are needed: a season and two times the "
            f"{series.horizon} steps that are forecast"
        )
    quantiles = np.full((len(values), series.horizon, len(QUANTILES)), np.nan)
    times = []
    for at, value in enumerate(values):
        begin = perf_counter_ns()
        found = forecaster.push(value)
        times.append((perf_counter_ns() - begin) / 1000)
        if found is not None:
            quantiles[at] = found
    return Run(series, values, quantiles, np.array(times), first)


def _drawn(run: Run, ahead: bool) -> Drawn:
    series = run.series
    return Drawn(series.title, series.unit, series.step, series.season, run.values, run.quantiles, ahead)


def _scores(run: Run) -> Scores:
    first = min(run.first, len(run.values) - run.series.horizon - 1)
    return scores(run.values, run.quantiles, run.series.season, first)


def _report(run: Run, ahead: bool) -> dict:
    found = _scores(run)
    return {
        "title": run.series.title,
        "unit": run.series.unit,
        "values": len(run.values),
        "tested": len(run.values) - run.first,
        "season": run.series.season,
        "horizon": run.series.horizon,
        "mean_absolute_error": float(found.model.mean()),
        "mean_absolute_error_by_step": found.model.tolist(),
        "seasonal_naive_error": float(found.season.mean()),
        "last_value_error": float(found.last.mean()),
        "held_by_50": found.inner,
        "held_by_90": found.outer,
        "value_p50_us": float(np.percentile(run.value_us, 50)),
        "ahead": run.quantiles[-1].tolist() if ahead else None,
        "quantiles": QUANTILES,
    }


def _text(run: Run) -> list[str]:
    series, found = run.series, _scores(run)
    tested = len(run.values) - run.first
    shown_steps = sorted({0, series.horizon // 4 - 1, series.horizon // 2 - 1, series.horizon - 1} - {-1})
    rows = [
        (name, *(_number(errors[at]) for at in shown_steps), _number(errors.mean()))
        for name, errors in (
            ("this model", found.model),
            ("a season before" if series.season > 1 else "the value before", found.season),
            *([("the last value", found.last)] if series.season > 1 else []),
        )
    ]
    naive = min(found.season.mean(), found.last.mean())
    lines = [
        f"{series.title}: the last {tested} of {len(run.values)} values, each forecast up to "
        f"{series.horizon} {series.step}s ahead",
        *table((f"mean error ({series.unit})", *(f"{at + 1} ahead" for at in shown_steps), "all"), rows),
        f"intervals of 50 % held {found.inner:.0%} of the values, those of 90 % {found.outer:.0%}",
        f"a value took {np.percentile(run.value_us, 50):.0f} us (p50)",
    ]
    if found.model.mean() >= naive:
        lines.append("the naive forecast is as good or better here; what the model adds are the intervals")
    return lines


def _number(value: float) -> str:
    """Four digits that count."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _ahead(run: Run) -> list[str]:
    """The forecast past the end."""
    steps = np.unique(np.linspace(1, run.series.horizon, min(10, run.series.horizon)).round().astype(int))
    rows = [
        (f"{step} ahead", *(_number(run.quantiles[-1, step - 1, at]) for at in (0, MEDIAN, 4)))
        for step in steps
    ]
    return [*table(("after the last value", "5 %", "median", "95 %"), rows), ""]


def _hint(args: argparse.Namespace, run: Run) -> list[str]:
    found = _scores(run)
    if args.model is not None or found.model.mean() < min(found.season.mean(), found.last.mean()):
        return []
    column = f" --column {args.column}" if args.column else ""
    return [
        "this model was made for another series; in a checkout, this makes one for yours:",
        f"  python -m examples.forecast.train --csv {shown(args.csv)}{column} --season {run.series.season} "
        f"--horizon {run.series.horizon} --output own.tinyseq",
        "",
    ]
