"""CTC search by enumeration: every alignment, and what is added as its definition says. For tiny inputs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

LN10 = math.log(10)
Tokens = tuple[int, ...]


def enumerate_alignments(
    logp: np.ndarray, blank: int, added: Callable[[Tokens], float] = lambda tokens: 0.0
) -> list[tuple[float, Tokens, list[int]]]:
    """(score, tokens, frames) of every token sequence of finite score, best first.

    ``added``: what is added to a sequence's ln p. Frames are those of the most probable alignment, for each
    run of a token the strongest.
    """
    frames, size = logp.shape
    totals: dict[Tokens, float] = {}
    best: dict[Tokens, tuple[float, list[int]]] = {}
    for alignment in itertools.product(range(size), repeat=frames):
        score = sum(float(logp[t, token]) for t, token in enumerate(alignment))
        tokens, places = collapsed(alignment, logp, blank)
        totals[tokens] = np.logaddexp(totals.get(tokens, -np.inf), score)
        if tokens not in best or score > best[tokens][0]:
            best[tokens] = score, places
    scored = [(total + added(tokens), tokens, best[tokens][1]) for tokens, total in totals.items()]
    return sorted((row for row in scored if row[0] > -np.inf), reverse=True)


def collapsed(alignment: Sequence[int], logp: np.ndarray, blank: int) -> tuple[Tokens, list[int]]:
    """The tokens of an alignment and, for each run, its strongest frame."""
    tokens, places, last = [], [], blank
    for t, token in enumerate(alignment):
        if token != blank:
            if token != last:
                tokens.append(token)
                places.append(t)
            elif logp[t, token] > logp[places[-1], token]:
                places[-1] = t
        last = token
    return tuple(tokens), places


def plain_beam_search(
    logp: np.ndarray,
    width: int,
    prune: float = -np.inf,
    least: float = -np.inf,
    limit: int | None = None,
    added: Callable[[Tokens], float] = lambda tokens: 0.0,
    blank: int = 0,
) -> list[tuple[Tokens, float]]:
    """Prefix beam search as it is told: (tokens, score), best first; of no use where scores are equal.

    ``added``: what is added to the score of a prefix, by which it is ranked.
    """
    beam = {(): (0.0, -np.inf)}
    for row in logp.astype(float):
        ranked = sorted(range(len(row)), key=lambda token: (-row[token], token))[:limit]
        taken = [token for token in ranked if row[token] >= min(np.float32(least), row.max())]
        following: dict[Tokens, list[float]] = {}

        def add(tokens: Tokens, kind: int, score: float, following=following) -> None:
            entry = following.setdefault(tokens, [-np.inf, -np.inf])
            entry[kind] = np.logaddexp(entry[kind], score)

        for tokens, (silent, spoken) in beam.items():
            for token in taken:
                if token == blank:
                    add(tokens, 0, np.logaddexp(silent, spoken) + row[token])
                elif tokens[-1:] == (token,):
                    add(tokens, 1, spoken + row[token])
                    add((*tokens, token), 1, silent + row[token])
                else:
                    add((*tokens, token), 1, np.logaddexp(silent, spoken) + row[token])
        scores = ((np.logaddexp(*pair) + added(tokens), tokens) for tokens, pair in following.items())
        scored = sorted(scores, reverse=True)
        kept = [entry for entry in scored if entry[0] >= scored[0][0] + prune and entry[0] > -np.inf][:width]
        beam = {tokens: tuple(following[tokens]) for _, tokens in kept}
    return [(tokens, np.logaddexp(*pair) + added(tokens)) for tokens, pair in beam.items()]


class NaiveNgrams:
    """An n-gram model as a table from n-grams to (log10 p, log10 back-off)."""

    def __init__(self, table: Mapping[tuple[str, ...], tuple[float, float]]) -> None:
        self.table = dict(table)
        self.order = max(map(len, table))

    @classmethod
    def random(cls, words: Sequence[str], order: int, rng: np.random.Generator) -> NaiveNgrams:
        """Numbers at random; every n-gram's history is an n-gram, not every n-gram's end is."""
        begin, end, unknown = "<s>", "</s>", "<unk>"
        level = [(word,) for word in [*words, begin, end, unknown]]
        table = {}
        for _ in range(order):
            table |= {gram: (-3 * rng.random(), rng.normal(0, 0.5)) for gram in level}
            longer = [(*g, w) for g in level if g[-1] != end for w in [*words, end, unknown]]
            level = [gram for gram in longer if rng.random() < 0.4]
        return cls(table)

    def proper(self) -> NaiveNgrams:
        """The like, in which no word is more than certain."""
        return NaiveNgrams({gram: (logp, -abs(back)) for gram, (logp, back) in self.table.items()})

    def write(self, path: Path) -> Path:
        """As an ARPA file."""
        by_length = {n: [g for g in self.table if len(g) == n] for n in range(1, self.order + 1)}
        lines = ["", "\\data\\", *(f"ngram {n}={len(grams)}" for n, grams in by_length.items())]
        for n, grams in by_length.items():
            lines += ["", f"\\{n}-grams:"]
            for gram in grams:
                logp, back = self.table[gram]
                lines.append(f"{logp!r}\t{' '.join(gram)}" + (f"\t{back!r}" if n < self.order else ""))
        path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
        return path

    def logp(self, word: str, history: tuple[str, ...]) -> float:
        """ln p(word | history), by the definition of back-off."""
        history = history[-(self.order - 1) :] if self.order > 1 else ()
        gram = (*history, word)
        if gram in self.table:
            return self.table[gram][0] * LN10
        _, back = self.table.get(history, (0.0, 0.0))
        return back * LN10 + self.logp(word, history[1:])

    def knows(self, word: str) -> bool:
        """Whether a word is in the model."""
        return (word,) in self.table

    def beginning(self, units: Sequence[str]) -> float:
        """ln p of a sentence that goes on."""
        words = ["<s>", *(unit if self.knows(unit) else "<unk>" for unit in units)]
        return sum(self.logp(words[i], tuple(words[:i])) for i in range(1, len(words)))

    def sentence(self, units: Sequence[str]) -> float:
        """ln p of a whole sentence."""
        return self.beginning([*units, "</s>"])


def occurrences(pattern: str | Sequence[int], within: str | Sequence[int]) -> int:
    """How often a pattern occurs, overlapping ones counted."""
    length = len(pattern)
    return sum(within[i : i + length] == pattern for i in range(len(within) - length + 1))


def granted(hotwords: Mapping[str, float], text: str) -> float:
    """What the hotword that a text ends within is granted in advance."""
    for read in range(len(text), 0, -1):
        begun = {word: weight for word, weight in hotwords.items() if word.startswith(text[-read:])}
        if begun:
            shares = (weight * read / len(word) for word, weight in begun.items() if len(word) > read)
            return max(shares, key=abs, default=0.0)
    return 0.0
