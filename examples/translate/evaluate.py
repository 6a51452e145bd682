"""BLEU on held-out sentences: ``python -m examples.translate.evaluate``. Needs sacrebleu; fetches pairs."""

from __future__ import annotations

from collections.abc import Iterator
from operator import eq
from time import process_time

from ..packages import package
from ..report import table
from . import data
from .languages import LANGUAGES
from .run import Translator


def main() -> None:
    """Prints the tables."""
    parts, translator = data.split(), Translator()
    print(f"{len(parts.train):,} pairs to train on; {data.HELD_OUT} sources a table")
    for title, pairs in (("with no near-duplicate read", parts.test), ("split by source alone", parts.plain)):
        print("", *table((title, "BLEU", "exact", "CPU ms a sentence"), _rows(translator, pairs)), sep="\n")


def _rows(translator: Translator, pairs: list[data.Pair]) -> Iterator[tuple[str, ...]]:
    bleu = package("sacrebleu", "examples").corpus_bleu
    for language, name in LANGUAGES.items():
        sources, targets = zip(*(pair[1:] for pair in pairs if pair.language == language), strict=True)
        for beams in (1, 5):
            begin = process_time()
            found = translator(list(sources), language, beams)
            milliseconds = (process_time() - begin) * 1000 / len(sources)
            texts = [translator.text(given, best) for given, (best, *_) in zip(sources, found, strict=True)]
            exact = sum(map(eq, texts, targets)) / len(targets)
            how = f"beam {beams}" if beams > 1 else "greedy"
            score = bleu(texts, [targets]).score
            yield f"{name}, {how}", f"{score:.1f}", f"{100 * exact:.1f} %", f"{milliseconds:.2f}"


if __name__ == "__main__":
    main()
