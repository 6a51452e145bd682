"""Measures tinyseq against the other runtimes that are installed, one thread each but where threads are said.

Figures are medians; the number in brackets tells how many times as good as onnxruntime (above 1:
faster), the median of the ratios in each interleaved round; where rows are decoded, as the fastest other
decoder; of chunks of streams, as their share of a whole run; of precisions, as float32; of threads, as
one. Nothing is timed whose outputs differ from onnxruntime's, or are less probable than another decoder's.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from bench import (
    decoding,
    limits,
    measures,
    memory,
    pictures,
    precisions,
    report,
    streaming,
    threads,
    transducing,
)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    efforts = {"quick": measures.QUICK, "minute": measures.MINUTE}
    effort = next((effort for name, effort in efforts.items() if getattr(options, name)), measures.Effort())
    effort = replace(effort, steps=1_000_000) if options.long else effort
    tasks = [measures.Task("limits", limits.limits)]
    tasks += [*measures.tasks(effort), *decoding.tasks(effort), *transducing.tasks(effort)]
    tasks += [*streaming.tasks(effort), *precisions.tasks(effort.rounds), *memory.tasks()]
    tasks += threads.tasks(effort.rounds)
    tasks = [task for task in tasks if options.filter in task.name]
    if options.minute:
        tasks = [task for task in tasks if task.name.startswith(measures.MINUTES)]
    if not tasks:
        parser.error(f"nothing has {options.filter!r} in its name")
    rows: list[measures.Row] = []
    with ExitStack() as stack:
        file = stack.enter_context(options.json.open("w")) if options.json else None
        environment = report.environment()
        if file:
            print(report.line(environment), file=file)
        progress = tqdm(tasks, disable=not sys.stderr.isatty())
        for task in progress:
            progress.set_description(task.name)
            for row in task.measure():
                rows.append(row)
                if file:
                    print(report.line(row), file=file, flush=True)
    print(report.line(environment), report.tables(rows), sep="\n\n")
    if options.plot:
        _draw(options.plot, rows)


def _draw(folder: Path, rows: list[measures.Row]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in {"roofline": pictures.roofline, "ratios": pictures.ratios}.items():
        path = folder / f"{name}.png"
        try:
            path.write_bytes(draw(rows))
            print(path)
        except ValueError as error:
            print(f"no {path.name}: {error}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds, for a first look")
    parser.add_argument(
        "--minute", action="store_true", help="what a minute is enough for: layers and chunks"
    )
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="also draw roofline.png and ratios.png")
    parser.add_argument("--long", action="store_true", help="a million steps where memory could grow")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only what has TEXT in its name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write JSON lines")
    return parser


if __name__ == "__main__":
    main()
