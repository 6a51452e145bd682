"""CTC decoding: the same rows through every decoder that is installed, one thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from statistics import median

import numpy as np

import tinyseq
from bench import timing
from bench.measures import Effort, Row, Task

TOLERANCE = 1e-3
"""How much less probable than another decoder's, in nats, tokens may be that are timed at all."""

FRAMES = 500

Decode = Callable[[], list[int]]


@dataclass(frozen=True, slots=True)
class Case:
    """Beam search over random rows, nothing pruned but what ``per_frame`` says; width 0 is greedy."""

    tokens: int
    width: int
    per_frame: int | None = None

    @property
    def name(self) -> str:
        kind = f"beam={self.width}" if self.width else "greedy"
        return f"ctc V={self.tokens} {kind}" + (f" K={self.per_frame}" if self.per_frame else "")


CASES = (
    *(Case(tokens, 0) for tokens in (32, 500, 5000)),
    *(Case(32, 10), Case(32, 100), Case(500, 10, 20), Case(500, 10), Case(5000, 10, 20), Case(5000, 10)),
)


def rows(tokens: int) -> np.ndarray:
    """Log-probabilities that are sure of one token in each frame, half of the time of the blank."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((FRAMES, tokens))
    x[np.arange(FRAMES), np.where(rng.random(FRAMES) < 0.5, 0, rng.integers(0, tokens, FRAMES))] += 6
    return (x - np.logaddexp.reduce(x, axis=1, keepdims=True)).astype(np.float32)


def _tinyseq(case: Case, logp: np.ndarray) -> Decode:
    if not case.width:
        decoder = tinyseq.CtcDecoder(tinyseq.CtcGreedy())
    else:
        unpruned = {"beam_prune_logp": -np.inf, "token_min_logp": -np.inf}
        options = tinyseq.CtcBeamSearch(case.width, tokens_per_frame=case.per_frame, **unpruned)
        decoder = tinyseq.CtcDecoder(options)
    return lambda: decoder.decode(logp)[0].tokens


def _fast_ctc_decode(case: Case, logp: np.ndarray) -> Decode | None:
    """It takes seconds over hundreds of tokens that are not pruned, and cannot limit them by number."""
    if case.tokens > 100 and case.width:
        return None
    import fast_ctc_decode

    probabilities, first = np.exp(logp), 0x4E00
    letters = [chr(first + token) for token in range(case.tokens)]
    if case.width:
        search = partial(fast_ctc_decode.beam_search, beam_size=case.width, beam_cut_threshold=0.0)
    else:
        search = fast_ctc_decode.viterbi_search
    return lambda: [ord(letter) - first for letter in search(probabilities, letters)[0]]


def _flashlight(case: Case, logp: np.ndarray) -> Decode | None:
    if not case.width or (case.tokens > 500 and not case.per_frame):
        return None
    from flashlight.lib.text import decoder as flashlight

    options = flashlight.LexiconFreeDecoderOptions(
        beam_size=case.width,
        beam_size_token=case.per_frame or case.tokens,
        beam_threshold=1e9,
        lm_weight=0.0,
        sil_score=0.0,
        log_add=True,
        criterion_type=flashlight.CriterionType.CTC,
    )
    search = flashlight.LexiconFreeDecoder(options, flashlight.ZeroLM(), -1, 0, [])

    def decode() -> list[int]:
        alignment = np.array(search.decode(logp.ctypes.data, *logp.shape)[0].tokens)
        runs = alignment[np.insert(alignment[1:] != alignment[:-1], 0, True)]
        return runs[runs > 0].tolist()

    return decode


def _numpy(case: Case, logp: np.ndarray) -> Decode | None:
    """Greedy decoding as it is written by hand."""
    if case.width:
        return None

    def decode() -> list[int]:
        best = logp.argmax(1)
        return best[(best != 0) & np.insert(best[1:] != best[:-1], 0, True)].tolist()

    return decode


DECODERS = {
    "tinyseq": ("tinyseq", _tinyseq),
    "fast-ctc-decode": ("fast_ctc_decode", _fast_ctc_decode),
    "flashlight-text": ("flashlight", _flashlight),
    "numpy": ("numpy", _numpy),
}
"""By the names of their distributions: module and maker."""


def tasks(effort: Effort) -> Iterator[Task]:
    """A task for each case."""
    for case in CASES:
        yield Task(case.name, partial(speed, case, effort.rounds))


def speed(case: Case, rounds: int) -> list[Row]:
    """Milliseconds of every decoder; the ratio is to the fastest one beside tinyseq.

    Raises:
        ValueError: tinyseq's tokens are less probable than another's.
    """
    logp = rows(case.tokens)
    made = {
        name: make(case, logp) for name, (module, make) in DECODERS.items() if find_spec(module) is not None
    }
    calls = {name: call for name, call in made.items() if call is not None}
    lost = {name: -log_probability(logp, call()) for name, call in calls.items()}
    errors = {name: loss - min(lost.values()) for name, loss in lost.items()}
    if case.width and errors["tinyseq"] > TOLERANCE:
        raise ValueError(f"{case.name}: tinyseq's tokens are less probable by {errors['tinyseq']:.1e} nats")
    seconds = timing.interleaved(calls, rounds)
    others = [name for name in seconds if name != "tinyseq"]
    yardstick = seconds[min(others, key=lambda name: median(seconds[name]))] if others else None
    return [
        Row(
            case.name,
            name,
            median(taken) * 1e3,
            "ms",
            None if yardstick is None else timing.median_ratio(yardstick, taken),
            errors[name],
        )
        for name, taken in seconds.items()
    ]


def log_probability(logp: np.ndarray, tokens: list[int], blank: int = 0) -> float:
    """ln p of tokens by the forward algorithm, over all alignments."""
    states = np.full(2 * len(tokens) + 1, blank)
    states[1::2] = tokens
    skips = np.zeros(len(states), bool)
    skips[2:] = (states[2:] != blank) & (states[2:] != states[:-2])
    alpha = np.full(len(states), -np.inf)
    alpha[:2] = logp[0, states[:2]]
    for row in logp[1:].astype(np.float64):
        one, two = np.r_[-np.inf, alpha[:-1]], np.r_[-np.inf, -np.inf, alpha[:-2]][: len(states)]
        moved = np.logaddexp(np.logaddexp(alpha, one), np.where(skips, two, -np.inf))
        alpha = moved + row[states]
    return float(np.logaddexp.reduce(alpha[-2:]))
