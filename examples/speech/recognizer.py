"""The recognizer of the demonstration: its model, its words and what it knows of their order."""

from __future__ import annotations

from pathlib import Path

import tinyseq
from tinyseq.errors import UnavailableError

from .grammar import VOCABULARY, WORDS

FOLDER = Path(__file__).parent
MODEL, LANGUAGE_MODEL = FOLDER / "speech.tinyseq", FOLDER / "speech.arpa.gz"
CLIP = FOLDER / "clip.flac"
RATE, CHUNK = 16_000, 480
"""Hz; samples of a step."""
FRAME_SECONDS = CHUNK / RATE

SETTLED = 33
"""Steps after which what was heard is settled: a second. Three quarters of one cost words, more gain none."""

SEARCHES = ("greedy", "lexicon", "lm")
"""The strongest letters; the words that are known; and these in likely order."""


def decoder(search: str = "lm") -> tinyseq.CtcDecoder:
    """The decoder of one of SEARCHES."""
    if search == "greedy":
        return tinyseq.CtcDecoder(tinyseq.CtcGreedy(vocabulary=VOCABULARY))
    lm = tinyseq.read_arpa(LANGUAGE_MODEL) if search == "lm" else None
    options = tinyseq.CtcBeamSearch(
        16, horizon=SETTLED, vocabulary=VOCABULARY, lexicon=WORDS, lm=lm, alpha=0.6, beta=0.5
    )
    return tinyseq.CtcDecoder(options)


def recognizer(search: str = "lm", model: Path = MODEL) -> tinyseq.Recognizer:
    """A recognizer for sound of any sample rate, 30 ms a step.

    Raises:
        UnavailableError: the model is not there.
    """
    if not model.is_file():
        raise UnavailableError(
            f"{model} is not there; make it in a checkout: python -m examples.speech.train CORPUS RECORDINGS "
            "WEIGHTS, as examples/speech/README.md says"
        )
    return tinyseq.Recognizer(
        tinyseq.load(model),
        front_end=lambda: tinyseq.Chunks(CHUNK, lambda samples: {"samples": samples[None]}),
        decoder=decoder(search),
        frame_seconds=FRAME_SECONDS,
        sample_rate=RATE,
        endpointing=tinyseq.Endpointing(rule2_min_trailing_silence=0.9),
    )
