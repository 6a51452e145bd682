"""BLEU on held-out sentences: ``python -m examples.translate.evaluate``. Needs sacrebleu; fetches pairs."""

from __future__ import annotations

from time import perf_counter

from ..packages import package
from ..report import table
from . import data
from .run import LANGUAGES, Translator


def main() -> None:
    """Prints the table."""
    bleu = package("sacrebleu").corpus_bleu
    parts, translator = data.split(), Translator()
    rows = []
    for language, name in LANGUAGES.items():
        pairs = [pair for pair in parts.test if pair.language == language]
        for beams in (1, 5):
            begin = perf_counter()
            found = translator([pair.source for pair in pairs], language, beams)
            milliseconds = (perf_counter() - begin) * 1000 / len(pairs)
            texts = [translator.text(best) for (best, *_) in found]
            exact = sum(text == pair.target for text, pair in zip(texts, pairs, strict=True)) / len(pairs)
            score = bleu(texts, [[pair.target for pair in pairs]]).score
            how = f"beam {beams}" if beams > 1 else "greedy"
            rows.append((f"{name}, {how}", f"{score:.1f}", f"{100 * exact:.1f} %", f"{milliseconds:.2f}"))
    print(f"{len(parts.train):,} pairs to train on; {len(pairs)} held-out sources a language")
    print(*table(("", "BLEU", "exact", "ms a sentence"), rows), sep="\n")


if __name__ == "__main__":
    main()
