"""A trigram model of the grammar, as an ARPA file: interpolated, by Witten and Bell (1991)."""

from __future__ import annotations

import gzip
import math
import random
from collections import Counter, defaultdict
from pathlib import Path

from .grammar import WORDS, phrase

ORDER = 3
BEGIN, END = "<s>", "</s>"


def counted(phrases: int, seed: int) -> list[Counter]:
    """How often each n-gram is in so many phrases of the grammar, for n from 1 to ORDER."""
    draw, counts = random.Random(seed), [Counter() for _ in range(ORDER)]
    for _ in range(phrases):
        words = [BEGIN, *phrase(draw), END]
        for order, count in enumerate(counts, start=1):
            count.update(tuple(words[at : at + order]) for at in range(len(words) - order + 1))
    return counts


def estimated(counts: list[Counter], least: int) -> list[dict[tuple[str, ...], tuple[float, float]]]:
    """Of each n-gram that was there ``least`` times, and of all words: the probability of its last word, and
    the weight of shorter n-grams behind it."""
    words = [*WORDS, END]
    probabilities: list[dict[tuple[str, ...], float]] = [{}]
    total = sum(counts[0][word,] for word in words)
    for word in words:
        probabilities[0][word,] = (counts[0][word,] + 1) / (total + len(words))
    for order in range(2, ORDER + 1):
        heard, kinds = Counter(), Counter()
        for gram, count in counts[order - 1].items():
            heard[gram[:-1]] += count
            kinds[gram[:-1]] += 1
        found = {}
        for gram, count in counts[order - 1].items():
            if count >= least:
                history = gram[:-1]
                shorter = _probability(probabilities, gram[1:])
                found[gram] = (count + kinds[history] * shorter) / (heard[history] + kinds[history])
        probabilities.append(found)
    return _with_weights(probabilities)


def _probability(probabilities: list[dict], gram: tuple[str, ...]) -> float:
    """Of an n-gram or, where it is not there, of the longest one that it ends with."""
    while gram not in probabilities[len(gram) - 1]:
        gram = gram[1:]
    return probabilities[len(gram) - 1][gram]


def _with_weights(probabilities: list[dict]) -> list[dict[tuple[str, ...], tuple[float, float]]]:
    """Weights such that behind each history the probabilities of all words add up to 1."""
    weights: dict[tuple[str, ...], float] = {}
    for order in range(2, ORDER + 1):
        kept, lower = defaultdict(float), defaultdict(float)
        for gram, probability in probabilities[order - 1].items():
            kept[gram[:-1]] += probability
            lower[gram[:-1]] += _probability(probabilities, gram[1:])
        for history in kept:
            weights[history] = max(1 - kept[history], 1e-9) / max(1 - lower[history], 1e-9)
    estimates = [{gram: (p, weights.get(gram, 1.0)) for gram, p in found.items()} for found in probabilities]
    estimates[0][BEGIN,] = (1e-99, weights.get((BEGIN,), 1.0))
    return estimates


def write(path: Path, phrases: int = 60_000, seed: int = 0, least: int = 3) -> None:
    """Writes the model, compressed by gzip."""
    estimates = estimated(counted(phrases, seed), least)
    lines = ["\\data\\", *(f"ngram {n}={len(found)}" for n, found in enumerate(estimates, start=1))]
    for order, found in enumerate(estimates, start=1):
        lines += ["", f"\\{order}-grams:"]
        for gram, (probability, weight) in sorted(found.items()):
            back = f"\t{math.log10(weight):.3f}" if order < ORDER and weight != 1 else ""
            lines.append(f"{max(math.log10(probability), -99):.3f}\t{' '.join(gram)}{back}")
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write("\n".join([*lines, "", "\\end\\", ""]).encode())
