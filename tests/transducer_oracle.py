"""Transducer searches by enumeration and as they are told, over a table in place of models."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tests.ctc_oracle import Tokens
from tinyseq.decode.transducer.requests import TransducerModel, TransducerRows
from tinyseq.kernels.instructions import LOG_PROBABILITIES, LOGITS, PROBABILITIES

STATES = 97


class Table(TransducerModel):
    """A predictor whose output is drawn for each history, and a joiner that adds it to a frame.

    ``kind`` says what of their sum the search is given.
    """

    def __init__(self, tokens: int, seed: int, kind: int = LOGITS, start_tokens: int = 1) -> None:
        self.frame_size = self.vocabulary_size = tokens
        self.kind, self.start_tokens = kind, start_tokens
        self.outputs = np.random.default_rng(seed).normal(0, 2, (STATES, tokens)).astype(np.float32)
        self.first = {"history": np.array(0), "output": self.outputs[0]}
        self.weights = (self.outputs.tobytes(),)

    def rows(self, count: int) -> TableRows:
        return TableRows(self, count)

    def give_back(self, rows: TransducerRows) -> None:
        pass

    def history(self, tokens: Tokens) -> int:
        """The number of a history."""
        number = 0
        for token in tokens:
            number = following(number, token)
        return number


def following(history, token):
    return (history * 31 + token + 1) % STATES


class TableRows(TransducerRows):
    def __init__(self, table: Table, count: int) -> None:
        self._table = table
        self.state = {
            "history": np.zeros(count, np.int64),
            "output": np.zeros((count, table.vocabulary_size), np.float32),
        }

    def join(self, frames: np.ndarray, places: np.ndarray) -> np.ndarray:
        scores = frames + self.state["output"][places]
        if self._table.kind == LOGITS:
            return scores
        logp = scores - np.logaddexp.reduce(scores.astype(float), axis=1, keepdims=True)
        return (logp if self._table.kind == LOG_PROBABILITIES else np.exp(logp)).astype(np.float32)

    def predict(self, tokens: np.ndarray, sources: np.ndarray, targets: np.ndarray) -> None:
        histories = following(self.state["history"][sources], tokens)
        self.state["history"][targets] = histories
        self.state["output"][targets] = self._table.outputs[histories]


class Symbols(NamedTuple):
    """ln p of each symbol, float64, by frame and tokens before it."""

    scores: Callable[[int, Tokens], np.ndarray]
    frames: int
    blank: int = 0

    def logp(self, frame: int, tokens: Tokens) -> np.ndarray:
        return self.scores(frame, tokens)


def symbols(
    table: Table, frames: np.ndarray, blank: int = 0, blank_penalty: float = 0.0, temperature: float = 1.0
) -> Symbols:
    """What a table's probabilities are by the definition of the options."""

    def scores(frame: int, tokens: Tokens) -> np.ndarray:
        x = frames[frame].astype(float) + table.outputs[table.history(tokens)].astype(float)
        if table.kind in (LOG_PROBABILITIES, PROBABILITIES):
            x = x - np.logaddexp.reduce(x)
        x[blank] -= blank_penalty
        x /= temperature
        return x - np.logaddexp.reduce(x)

    return Symbols(scores, len(frames), blank)


def enumerate_alignments(
    given: Symbols, size: int, added: Callable[[Tokens], float] = lambda tokens: 0.0, norm: int = 0
) -> list[tuple[float, Tokens, list[int]]]:
    """(score, tokens, frames) of every token sequence of finite score, best first: at most a token a frame.

    Frames are those of the most probable alignment. With ``norm`` scores are shares of so many tokens more.
    """
    totals: dict[Tokens, float] = {}
    best: dict[Tokens, tuple[float, list[int]]] = {}
    for alignment in itertools.product(range(size), repeat=given.frames):
        score, tokens, places = 0.0, (), []
        for frame, symbol in enumerate(alignment):
            score += given.logp(frame, tokens)[symbol]
            if symbol != given.blank:
                tokens, places = (*tokens, symbol), [*places, frame]
        totals[tokens] = np.logaddexp(totals.get(tokens, -np.inf), score)
        if tokens not in best or score > best[tokens][0]:
            best[tokens] = score, places
    scored = [
        ((total + added(tokens)) / (len(tokens) + norm or 1 if norm else 1), tokens, best[tokens][1])
        for tokens, total in totals.items()
    ]
    return sorted((row for row in scored if row[0] > -np.inf), reverse=True)


def plain_beam_search(
    given: Symbols,
    width: int,
    prune: float = -np.inf,
    added: Callable[[Tokens], float] = lambda tokens: 0.0,
) -> list[tuple[Tokens, float]]:
    """Modified beam search as icefall tells it: (tokens, score), best first.

    The ``width`` best pairs of a hypothesis and a symbol are taken, then equal tokens are put together.
    ``added`` is what is added to the score of a prefix, by which it is ranked.
    """
    beam: dict[Tokens, float] = {(): 0.0}
    for frame in range(given.frames):
        pairs = []
        for tokens, score in beam.items():
            for symbol, logp in enumerate(given.logp(frame, tokens)):
                longer = tokens if symbol == given.blank else (*tokens, symbol)
                pairs.append((score + logp + added(longer), score + logp, longer))
        pairs.sort(reverse=True)
        taken = [pair for pair in pairs[:width] if pair[0] >= pairs[0][0] + prune and pair[0] > -np.inf]
        beam = {}
        for _, score, tokens in taken:
            beam[tokens] = np.logaddexp(beam.get(tokens, -np.inf), score)
        ranked = sorted(beam.items(), key=lambda item: -(item[1] + added(item[0])))
        beam = dict(ranked)
    return [(tokens, score + added(tokens)) for tokens, score in beam.items()]


def plain_greedy(given: Symbols, most: int) -> tuple[list[int], float, list[int]]:
    """Tokens, score and frames of the likeliest symbols, one stream, symbol by symbol."""
    tokens, places, total, frame, here = (), [], 0.0, 0, 0
    while frame < given.frames:
        logp = given.logp(frame, tokens)
        symbol = int(logp.argmax())
        total += logp[symbol]
        if symbol != given.blank:
            tokens, places, here = (*tokens, symbol), [*places, frame], here + 1
        if symbol == given.blank or here == most:
            frame, here = frame + 1, 0
    return list(tokens), total, places
