"""Models for searches that are tables of scores, and a generation written from the options' docstrings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from tinyseq.decode.generation.beam_search import BeamSearch
from tinyseq.decode.generation.options import Beam, Generation
from tinyseq.decode.generation.sampling import SamplingSearch
from tinyseq.decode.generation.search import Search
from tinyseq.decode.hypothesis import Hypothesis
from tinyseq.kernels.instructions import LOGITS


class Table:
    """Steps whose state is a position: the next scores are tables[input, position % rows, last token].

    tables[inputs, rows, V, V]; attentions[inputs, rows, V, positions]. ``share`` places an input.
    """

    def __init__(self, tables: np.ndarray, share: int, attentions: np.ndarray | None = None) -> None:
        self._tables, self._attentions, self._share = tables, attentions, share
        self._positions = np.zeros(len(tables) * share, np.int64)
        self._at: tuple = ()
        self._scores = np.zeros((0, 0), np.float32)

    def begin(self, parts) -> None:
        """Tables have no inputs."""

    def step(self, tokens, sources, targets, owners) -> np.ndarray:
        positions = self._positions[sources] % self._tables.shape[1]
        self._positions[targets] = self._positions[sources] + 1
        self._at = (owners // self._share, positions, tokens)
        if len(self._scores) != len(tokens):
            self._scores = np.zeros((len(tokens), self._tables.shape[-1]), np.float32)
        self._scores[...] = self._tables[self._at]
        return self._scores

    def chain(self, *given) -> None:
        """Tables are stepped in Python."""

    def attention(self) -> np.ndarray:
        return self._attentions[self._at]

    def release(self) -> None:
        pass


def search(
    tables: np.ndarray,
    options: Generation,
    prompts: Sequence[Sequence[int]] | None = None,
    kind: int = LOGITS,
    attentions: np.ndarray | None = None,
    keys: np.ndarray | None = None,
    **more,
) -> Search:
    """The search for one batch of tables."""
    beams = isinstance(options, Beam)
    share = options.num_beams if beams else getattr(options, "num_return_sequences", 1)
    if prompts is None:
        prompts = [[options.decoder_start_token_id, *options.prefix]] * len(tables)
    steps = Table(tables, share, attentions)
    given = np.array(prompts, np.int64)
    made = (BeamSearch if beams else SamplingSearch)(steps, kind, *given.shape, options, **more)
    made.begin({}, given, keys)
    return made


def run(*given, **more) -> list[list[Hypothesis]]:
    """The search from begin to end."""
    found = search(*given, **more)
    while found.step():
        pass
    return found.end()


def log_softmax(scores: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(np.isnan(scores), -np.inf, scores.astype(np.float64))
        top = scores.max(-1, keepdims=True, initial=-np.inf)
        shifted = scores - np.where(np.isfinite(top), top, 0)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def changed(scores: np.ndarray, history: Sequence[int], new: int, options: Generation) -> np.ndarray:
    """What the options of ``Generation`` make of scores[V] of token number ``new``."""
    scores = scores.copy()
    for token in set(history) & set(range(len(scores))):
        factor = options.repetition_penalty
        scores[token] = scores[token] * factor if scores[token] < 0 else scores[token] / factor
    n = options.no_repeat_ngram_size
    if n:
        grams = [tuple(history[i : i + n]) for i in range(len(history) - n + 1)]
        for gram in grams:
            if gram[:-1] == tuple(history[len(history) - n + 1 :]) and gram[-1] < len(scores):
                scores[gram[-1]] = -np.inf
    banned = list(options.suppress_tokens)
    banned += options.end_tokens if new < options.min_new_tokens else ()
    banned += options.begin_suppress_tokens if new == (options.forced_bos_token_id is not None) else ()
    scores[[token for token in banned if token < len(scores)]] = -np.inf
    last = new + 1 == options.max_new_tokens
    for token, now in ((options.forced_bos_token_id, new == 0), (options.forced_eos_token_id, last)):
        if token is not None and now:
            scores[:] = -np.inf
            scores[token] = 0
    return scores


def enumerated(
    table: np.ndarray, options: Beam, attention: np.ndarray | None = None
) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Score and tokens, the end token among them, of all sequences there are."""
    prompt = [options.decoder_start_token_id, *options.prefix]

    def extended(tokens: tuple[int, ...], total: float, covered):
        if tokens and (tokens[-1] in options.end_tokens or len(tokens) == options.max_new_tokens):
            score = total / len(tokens) ** options.length_penalty
            if options.coverage_penalty:
                received = covered[covered > 0]
                score += options.coverage_penalty * np.log(np.minimum(received, 1)).sum()
            yield score, tokens
            return
        history = [*prompt, *tokens]
        at = (len(history) - 1) % len(table), history[-1]
        scores = changed(log_softmax(table[at]), history, len(tokens), options)
        given = 0 if attention is None else attention[at].astype(np.float64)
        for token in np.flatnonzero(scores > -np.inf).tolist():
            yield from extended((*tokens, token), total + scores[token], covered + given)

    yield from extended((), 0.0, 0)


def all_tokens(hypothesis: Hypothesis, table: np.ndarray, options: Generation) -> list[tuple[int, ...]]:
    """The tokens and, if it has ended, each end token that may have been the last."""
    tokens = tuple(hypothesis.tokens)
    return [(*tokens, end) for end in options.end_tokens] if hypothesis.finished else [tokens]


def sequences(vocabulary: int, most: int) -> int:
    """How many beams hold all hypotheses."""
    return sum(1 for n in range(1, most + 1) for _ in itertools.product(range(vocabulary), repeat=n))
