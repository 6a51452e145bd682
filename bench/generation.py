"""Generation against the Python loops that packages bring with their models.

The packages' loops are those of ``tests/seq2seq.py``, step by step what the packages do, one thread each.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np

import tinyseq
from tests import assets, seq2seq
from tinyseq.decode.generate import begin

SPELLINGS = "helicopter transliterate recurrent sequence runtime kernel beam search phoneme grapheme"
GRAPHEMES = {"decoder_start_token_id": 2, "eos_token_id": 3, "max_new_tokens": 20}
ROMANIZER = {
    "decoder_start_token_id": 1, "eos_token_id": 2, "suppress_tokens": (0,), "min_new_tokens": 1,
    "max_new_tokens": 32, "compete": True,
}  # fmt: skip


def spelling(copies: int) -> dict[str, Callable[[], object]]:
    """g2p-en, greedy: the package word by word, tinyseq word by word and all words at once."""
    path = assets.fetch("graphemes")
    decoder, package = seq2seq.graphemes(path), seq2seq.PackageGraphemes(path)
    feeds = [seq2seq.spelled(word) for word in SPELLINGS.split() * copies]
    greedy = tinyseq.Greedy(**GRAPHEMES)
    beam = tinyseq.Beam(**GRAPHEMES)
    wanted = [package.predict(each["letters"]) for each in feeds]
    _same([h.tokens for (h,) in tinyseq.generate(decoder, feeds, greedy)], wanted)
    return {
        "package": lambda: [package.predict(each["letters"]) for each in feeds],
        "one by one": lambda: [tinyseq.generate(decoder, each, greedy) for each in feeds],
        "all at once": lambda: tinyseq.generate(decoder, feeds, greedy),
        "all, beam 5": lambda: tinyseq.generate(decoder, feeds, beam),
    }


def romanizing(width: int, count: int) -> dict[str, Callable[[], object]]:
    """arabic-name-romanizer: the package on onnxruntime name by name, tinyseq likewise and all at once."""
    paths = assets.fetch("romanizer-encoder"), assets.fetch("romanizer-decoder")
    decoder = tinyseq.Decoder(*(tinyseq.load(path) for path in reversed(paths)))
    package = seq2seq.PackageRomanizer(*paths)
    rng = np.random.default_rng(0)
    names = [[4, 27, *rng.integers(80, 130, size=length), 2] for length in rng.integers(3, 11, size=count)]
    feeds = [{"src": np.array([name]), "src_mask": np.zeros((1, len(name)), bool)} for name in names]
    options = tinyseq.Beam(num_beams=width, **ROMANIZER)
    wanted = [package.search([name], width)[0][0][0] for name in names]
    _same([h.tokens for (h,) in tinyseq.generate(decoder, feeds, options)], wanted)
    return {
        "package": lambda: [package.search([name], width) for name in names],
        "one by one": lambda: [tinyseq.generate(decoder, each, options) for each in feeds],
        "all at once": lambda: tinyseq.generate(decoder, feeds, options),
    }


def _same(found: list, wanted: list) -> None:
    if found != wanted:
        raise ValueError("tinyseq and the package generate different tokens")


def shares_of_search(rows: int, rounds: int) -> dict[str, float]:
    """What search adds to the time of a model's steps at beam 5, for ``rows`` inputs: 0.1 is a tenth."""
    paths = assets.fetch("romanizer-encoder"), assets.fetch("romanizer-decoder")
    src = np.random.default_rng(0).integers(80, 130, size=(rows, 8))
    romanizer = tinyseq.Decoder(*(tinyseq.load(path) for path in reversed(paths)))
    graphemes = seq2seq.graphemes(assets.fetch("graphemes"))
    letters = np.repeat(seq2seq.spelled("transliterate")["letters"], rows, axis=0)
    return {
        "spelling": _share(graphemes, {"letters": letters}, tinyseq.Beam(**GRAPHEMES), rounds),
        "romanizing": _share(
            romanizer, {"src": src, "src_mask": np.zeros(src.shape, bool)}, tinyseq.Beam(**ROMANIZER), rounds
        ),
    }


def _share(decoder: tinyseq.Decoder, feeds: dict[str, np.ndarray], options, rounds: int) -> float:
    shares = []
    for _ in range(rounds):
        search = begin(decoder, feeds, options).searches[0]
        search.step()
        clock = _Clock(search.steps)
        search.steps = clock
        start = perf_counter()
        while search.step():
            pass
        shares.append((perf_counter() - start) / clock.seconds - 1)
    return median(shares)


class _Clock:
    """A search's steps, timed."""

    def __init__(self, steps) -> None:
        self._steps = steps
        self.seconds = 0.0
        self.release = steps.release

    def step(self, *given):
        start = perf_counter()
        scores = self._steps.step(*given)
        self.seconds += perf_counter() - start
        return scores
