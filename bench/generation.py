"""Generation against the Python loops that packages bring with their models.

The packages' loops are those of ``tests/seq2seq.py``, step by step what the packages do, one thread each.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np
from onnx import helper

import tinyseq
from bench.rivals import one_thread
from tests import assets, seq2seq
from tests.models import model, value
from tinyseq.decode.generation.beam_search import BeamSearch
from tinyseq.decode.generation.chain import Steps
from tinyseq.kernels.program import Buffer, Program

CHARACTERS = 96
SPELLINGS = "helicopter transliterate recurrent sequence runtime kernel beam search phoneme grapheme"
GRAPHEMES = {"decoder_start_token_id": 2, "eos_token_id": 3, "max_new_tokens": 20}
PLACES = "phnompenh siemreap battambang angkor bayon sokha khmer kampuchea mekong kompong cham kampot takeo"
KHMER = {
    "decoder_start_token_id": seq2seq.KHMER_START, "eos_token_id": seq2seq.KHMER_END, "max_new_tokens": 31,
    "length_penalty": 0.0,
}  # fmt: skip
ROMANIZER = {
    "decoder_start_token_id": 1, "eos_token_id": 2, "suppress_tokens": (0,), "min_new_tokens": 1,
    "max_new_tokens": 32, "compete": True,
}  # fmt: skip


def characters(hidden: int, count: int) -> dict[str, Callable[[], object]]:
    """A language model of 96 characters, an LSTM layer between embedding and scores: a loop on onnxruntime
    that takes the likeliest character each time, and tinyseq, greedily and by beam search."""
    rng = np.random.default_rng(0)
    shapes = {
        "table": (CHARACTERS, hidden), "w": (1, 4 * hidden, hidden), "r": (1, 4 * hidden, hidden),
        "b": (1, 8 * hidden), "out": (CHARACTERS, hidden),
    }  # fmt: skip
    # As small as trained ones: else rounding would grow from step to step until it chooses the character.
    weights = {
        name: (rng.uniform(-1, 1, shape) / np.sqrt(hidden)).astype(np.float32)
        for name, shape in shapes.items()
    }
    nodes = [
        helper.make_node("Gather", ["table", "token"], ["x"]),
        helper.make_node("LSTM", ["x", "w", "r", "b", "", "h", "c"], ["", "hn", "cn"], hidden_size=hidden),
        helper.make_node("Squeeze", ["hn"], ["y"]),
        helper.make_node("Gemm", ["y", "out"], ["logits"], transB=1),
    ]
    given = [value("token", np.int64, [1, "rows"])]
    state = [1, "rows", hidden]
    given += [value(name, np.float32, state) for name in ("h", "c")]
    found = [value("logits", np.float32, ["rows", CHARACTERS])]
    found += [value(name, np.float32, state) for name in ("hn", "cn")]
    nodes[2].input.append("first")
    path = model(nodes, given, found, weights | {"first": np.array([0])})
    start = {name: np.zeros((1, 1, hidden), np.float32) for name in ("h", "c")}
    decoder = tinyseq.Decoder(tinyseq.load(path))
    options = {"decoder_start_token_id": 0, "max_new_tokens": count}
    session = one_thread(path)

    def package() -> list[int]:
        token, h, c, said = 0, *start.values(), []
        for _ in range(count):
            feeds = {"token": np.array([[token]]), "h": h, "c": c}
            logits, h, c = session.run(None, feeds)
            token = int(logits[0].argmax())
            said.append(token)
        return said

    greedy, beam = tinyseq.Greedy(**options), tinyseq.Beam(**options)
    _same(tinyseq.generate(decoder, start, greedy)[0][0].tokens, package())
    return {
        "package": package,
        "greedy": lambda: tinyseq.generate(decoder, start, greedy),
        "beam 5": lambda: tinyseq.generate(decoder, start, beam),
    }


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


def transliterating(width: int) -> dict[str, Callable[[], object]]:
    """netra, Latin letters to Khmer: the package's search, a call of the decoder for each hypothesis. Its
    steps are onnxruntime's, since the package's own, by TensorFlow's predict, take far longer."""
    decoder = seq2seq.khmer(assets.fetch("khmer"))
    package = seq2seq.PackageKhmer(decoder)
    feeds = [seq2seq.latin(word) for word in PLACES.split()]
    options = tinyseq.Beam(num_beams=width, **KHMER)
    # The package may end with a part of a word, which tinyseq goes on with.
    wanted = [package.search(word, width)[0][0] for word in PLACES.split()]
    found = [h.tokens for (h,) in tinyseq.generate(decoder, feeds, options)]
    _same([tokens[: len(part)] for tokens, part in zip(found, wanted)], wanted)
    return {
        "package": lambda: [package.search(word, width) for word in PLACES.split()],
        "one by one": lambda: [tinyseq.generate(decoder, each, options) for each in feeds],
        "all at once": lambda: tinyseq.generate(decoder, feeds, options),
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


class Share(NamedTuple):
    """What search costs beside a model's steps: choosing the tokens, as a part of the steps' time, and
    beginning and ending, in seconds."""

    choosing: float
    edges: float


def shares_of_search(rows: int, rounds: int) -> dict[str, Share]:
    """What search adds to the time of a model's steps at beam 5, for ``rows`` inputs."""
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


def _share(decoder: tinyseq.Decoder, feeds: dict[str, np.ndarray], options, rounds: int) -> Share:
    (batch,) = decoder.batches(feeds)
    inputs = len(batch.numbers)
    steps = decoder.steps(batch, options.num_beams)
    search = BeamSearch(steps, decoder.kind, inputs, 1, options)
    prompts = np.full((inputs, 1), options.decoder_start_token_id)
    counts = []
    search.begin(batch.parts, prompts)
    while not search.over:
        counts.append(search.rows)
        search.step()
    others = decoder.steps(batch, options.num_beams)
    others.begin(batch.parts)
    alone = _steps_alone(others, counts)
    choosing, edges = [], []
    for _ in range(rounds):
        start = perf_counter()
        search.begin(batch.parts, prompts)
        begun = perf_counter()
        while search.step(options.max_new_tokens):
            pass
        chosen = perf_counter()
        search.end()
        ended = perf_counter()
        alone()
        choosing.append((chosen - begun) / (perf_counter() - ended) - 1)
        edges.append(begun - start + ended - chosen)
    return Share(median(choosing), median(edges))


def _steps_alone(steps: Steps, counts: list[int]) -> Callable[[], None]:
    """Steps of so many rows each, one native call each, that read and write places without a choice."""
    feeds, rows = Buffer(np.zeros((4, max(counts)), np.int64)), Buffer(np.zeros(1, np.int64))
    programs = {}
    for count in set(counts):
        programs[count] = Program()
        steps.chain(*feeds.array[:, :count]).add(programs[count], feeds, rows)
    turns = [(count, programs[count]) for count in counts]

    def run() -> None:
        for count, program in turns:
            rows.array[0] = count
            program.run()

    return run
