"""Bits per character of held-out books: ``python -m examples.generate.evaluate``. Fetches the text."""

from __future__ import annotations

import tinyseq

from ..report import table
from ..subwords import Subwords
from . import data
from .characters import numbers
from .ngram import LONGEST, NGrams
from .pieces import VOCABULARY
from .run import MODEL
from .score import surprises


def main() -> None:
    """Prints the table."""
    train, validation, test = data.texts()
    bits = surprises(tinyseq.load(MODEL), Subwords.read(VOCABULARY), test).mean
    rows = [("tinyseq demo generate", f"{bits:.3f}", f"{2**bits:.2f}", f"{MODEL.stat().st_size:,} bytes")]
    known, chosen, measured = (numbers("\n" + text) for text in (train, validation, test))
    models = {order: NGrams(known, order) for order in range(3, LONGEST + 1)}
    best = min(models, key=lambda order: models[order].bits(chosen))
    for order in sorted({3, 5, best}):
        bits = models[order].bits(measured)
        rows.append((f"{order}-grams", f"{bits:.3f}", f"{2**bits:.2f}", f"{models[order].entries:,} counts"))
    print(f"{len(test):,} characters of {', '.join(data.TEST)}; {best}-grams are the best of the validation")
    print(*table(("", "bits per character", "perplexity", "size"), rows), sep="\n")


if __name__ == "__main__":
    main()
