"""Transducer searches against enumeration, and the laws that every search keeps."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests.ctc_oracle import NaiveNgrams, granted, occurrences
from tests.test_ctc import HOTWORDS, LETTERS, SEEDS, assert_enumerated, fed, words_of
from tests.transducer_oracle import (
    Table,
    enumerate_alignments,
    plain_beam_search,
    plain_greedy,
    symbols,
)
from tinyseq.decode.transducer.search import MOST_PLACES
from tinyseq.kernels.instructions import LOG_PROBABILITIES, LOGITS, PROBABILITIES

WIDE = dict(beam_width=2000, nbest=2000)
"""As wide as the space of a few frames and tokens."""

PLAIN = WIDE | {"length_norm": False}

PENALTIES = st.sampled_from([0.0, 1.5, -2.0])
TEMPERATURES = st.sampled_from([1.0, 0.5, 3.0])
SCORES = st.sampled_from([LOGITS, LOG_PROBABILITIES, PROBABILITIES])


def frames_of(count: int, tokens: int, seed: int, blank: float = 0.0) -> np.ndarray:
    """Random frames [count, tokens] for a table; ``blank`` is added for the blank 0."""
    x = np.random.default_rng(seed).normal(0, 2, (count, tokens))
    x[:, 0] += blank
    return x.astype(np.float32)


@given(
    frames=st.integers(0, 5), tokens=st.integers(1, 4), seed=SEEDS, kind=SCORES, penalty=PENALTIES,
    temperature=TEMPERATURES, start_tokens=st.sampled_from([0, 1, 2]), data=st.data(),
)  # fmt: skip
def test_the_widest_beam_finds_every_sequence(
    isa, frames, tokens, seed, kind, penalty, temperature, start_tokens, data
):
    blank = data.draw(st.integers(0, tokens - 1))
    table = Table(tokens, seed, kind, start_tokens)
    x = frames_of(frames, tokens, seed + 1)
    options = dict(blank=blank, blank_penalty=penalty, temperature=temperature)
    defined = symbols(table, x, **options)
    norm = max(1, start_tokens)
    found = tinyseq.transducer_beam_search(table, x, **options, **WIDE)
    assert_enumerated(found, enumerate_alignments(defined, tokens, norm=norm))
    found = tinyseq.transducer_beam_search(table, x, **options, **PLAIN)
    assert_enumerated(found, enumerate_alignments(defined, tokens))
    for hypothesis in found:
        given = hypothesis.tokens
        expected = [
            np.exp(defined.logp(frame, tuple(given[:place]))[given[place]])
            for place, frame in enumerate(hypothesis.frames)
        ]
        np.testing.assert_allclose(hypothesis.confidences, expected, rtol=1e-5)


@given(
    frames=st.integers(0, 30), tokens=st.integers(1, 6), seed=SEEDS, kind=SCORES, penalty=PENALTIES,
    temperature=TEMPERATURES, most=st.integers(1, 4), data=st.data(),
)  # fmt: skip
def test_greedy_is_the_likeliest_symbol_each_time(
    isa, frames, tokens, seed, kind, penalty, temperature, most, data
):
    blank = data.draw(st.integers(0, tokens - 1))
    table, x = Table(tokens, seed, kind), frames_of(frames, tokens, seed + 1)
    options = dict(blank=blank, blank_penalty=penalty, temperature=temperature)
    (found,) = tinyseq.transducer_greedy(table, x, max_symbols=most, **options)
    expected, score, places = plain_greedy(symbols(table, x, **options), most)
    assert (found.tokens, found.frames) == (expected, places)
    assert abs(found.score - score) <= 1e-5 * max(1, len(places) + frames)


@given(
    frames=st.integers(0, 25), tokens=st.integers(1, 6), seed=SEEDS, width=st.integers(1, 9),
    prune=st.sampled_from([-0.5, -3.0, -np.inf]), penalty=PENALTIES,
)  # fmt: skip
def test_a_narrow_beam_is_icefall_s(isa, frames, tokens, seed, width, prune, penalty):
    table, x = Table(tokens, seed), frames_of(frames, tokens, seed + 1)
    options = dict(beam_prune_logp=prune, blank_penalty=penalty, length_norm=False, nbest=width)
    found = tinyseq.transducer_beam_search(table, x, width, **options)
    expected = plain_beam_search(symbols(table, x, blank_penalty=penalty), width, prune)
    assert [tuple(hypothesis.tokens) for hypothesis in found] == [tokens for tokens, _ in expected]
    np.testing.assert_allclose([h.score for h in found], [score for _, score in expected], atol=1e-4)


@given(
    order=st.integers(1, 3), seed=SEEDS, alpha=st.sampled_from([0, 0.3, 1.7]), beta=st.sampled_from([-1, 0.5])
)
def test_token_model(tmp_path_factory, order, seed, alpha, beta):
    naive = NaiveNgrams.random(["a", "b"], order, np.random.default_rng(seed))
    model = tinyseq.read_arpa(naive.write(tmp_path_factory.mktemp("lm") / "tokens.arpa"))
    table, x = Table(4, seed), frames_of(4, 4, seed)

    def added(tokens):
        units = [LETTERS[token] for token in tokens]
        unknown = sum(not naive.knows(unit) for unit in units)
        return alpha * naive.sentence(units) + beta * len(units) - 2.5 * unknown

    options = dict(lm=model, lm_level="token", alpha=alpha, beta=beta, unk_score_offset=-2.5)
    found = tinyseq.transducer_beam_search(table, x, vocabulary=LETTERS, **options, **PLAIN)
    assert_enumerated(found, enumerate_alignments(symbols(table, x), 4, added))


@given(seed=SEEDS, norm=st.booleans())
def test_a_word_model_and_a_lexicon(tmp_path_factory, seed, norm):
    lexicon = ["a", "ba", "bb"]
    naive = NaiveNgrams.random(["a", "ba"], 2, np.random.default_rng(seed))
    model = tinyseq.read_arpa(naive.write(tmp_path_factory.mktemp("lm") / "words.arpa"))
    table, x = Table(4, seed), frames_of(5, 4, seed)

    def added(tokens):
        words = words_of(tokens, LETTERS)
        if not set(words) <= set(lexicon):
            return -np.inf
        unknown = sum(not naive.knows(word) for word in words)
        return 0.5 * naive.sentence(words) + 0.25 * len(words) - 3 * unknown

    options = dict(lexicon=lexicon, beta=0.25, unk_score_offset=-3, lm=model, length_norm=norm)
    found = tinyseq.transducer_beam_search(table, x, vocabulary=LETTERS, **options, **WIDE)
    assert_enumerated(found, enumerate_alignments(symbols(table, x), 4, added, norm=int(norm)))


@given(seed=SEEDS)
def test_hotwords(seed):
    table, x = Table(3, seed), frames_of(5, 3, seed)

    def added(tokens):
        text = "".join(LETTERS[token] for token in tokens)
        return sum(weight * occurrences(word, text) for word, weight in HOTWORDS.items())

    options = dict(vocabulary=LETTERS[:3], hotwords=HOTWORDS)
    found = tinyseq.transducer_beam_search(table, x, **options, **PLAIN)
    assert_enumerated(found, enumerate_alignments(symbols(table, x), 3, added))


@given(seed=SEEDS, width=st.integers(1, 6), prune=st.sampled_from([-1.0, -np.inf]))
def test_a_narrow_beam_with_hotwords(seed, width, prune):
    """What is left out before its score is known would not have been kept."""
    table, x = Table(3, seed), frames_of(20, 3, seed)

    def added(tokens):
        text = "".join(LETTERS[token] for token in tokens)
        earned = sum(weight * occurrences(word, text) for word, weight in HOTWORDS.items())
        return earned + granted(HOTWORDS, text)

    options = dict(vocabulary=LETTERS[:3], hotwords=HOTWORDS, beam_prune_logp=prune, length_norm=False)
    stream = tinyseq.TransducerDecoder(table, tinyseq.TransducerBeamSearch(width, **options)).stream()
    stream.step(x)
    stable, tentative = stream.partial()
    tokens, score = plain_beam_search(symbols(table, x), width, prune, added)[0]
    assert tuple(stable.tokens + tentative.tokens) == tokens
    assert abs(tentative.score - score) <= 1e-4


VOCABULARY = ("_", "a", "b", "c", " ", "ab", " b")
ARPA = NaiveNgrams.random(["a", "b", "ab", "ba", "abc"], 3, np.random.default_rng(0))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tinyseq.read_arpa(ARPA.write(tmp_path_factory.mktemp("lm") / "words.arpa"))


KINDS = {
    "greedy": lambda model: tinyseq.TransducerGreedy(max_symbols=3),
    "beam": lambda model: tinyseq.TransducerBeamSearch(nbest=4),
    "pruned beam": lambda model: tinyseq.TransducerBeamSearch(8, nbest=8, beam_prune_logp=-4, horizon=40),
    "wide beam": lambda model: tinyseq.TransducerBeamSearch(60, nbest=9, blank_penalty=0.5),
    "language model": lambda model: tinyseq.TransducerBeamSearch(lm=model, vocabulary=VOCABULARY, nbest=4),
    "hotwords": lambda model: tinyseq.TransducerBeamSearch(hotwords=[[1, 2], [3]], nbest=4),
    "lexicon": lambda model: tinyseq.TransducerBeamSearch(
        8, lexicon=["a", "ab", "cab", "bb"], vocabulary=VOCABULARY, nbest=5
    ),
}
TABLE = Table(len(VOCABULARY), 0)


@pytest.fixture(params=KINDS)
def decoder(request, model) -> tinyseq.TransducerDecoder:
    return tinyseq.TransducerDecoder(TABLE, KINDS[request.param](model))


def spoken(frames: int, seed: int) -> np.ndarray:
    """Frames most of which are blank."""
    return frames_of(frames, len(VOCABULARY), seed, blank=5.0)


@given(frames=st.integers(0, 120), seed=SEEDS, cuts=st.lists(st.integers(0, 120), max_size=8))
def test_chunks_give_the_bits_of_the_whole(isa, decoder, frames, seed, cuts):
    x = spoken(frames, seed)
    stream = decoder.stream()
    for chunk in np.split(x, sorted(min(cut, frames) for cut in cuts)):
        stream.step(chunk)
        stable, tentative = stream.partial()
        assert len(stable.tokens) + len(tentative.tokens) <= 3 * stream.frames
    assert stream.frames == frames
    assert stream.finish() == decoder.decode(x)
    assert stream.finish() == fed(decoder.stream(), x[:, None]).finish()


@given(seed=SEEDS, lengths=st.lists(st.integers(0, 40), max_size=6))
def test_a_stream_of_a_batch_is_the_stream_alone(decoder, seed, lengths):
    frames = max(lengths, default=0)
    batch = np.full((len(lengths), frames, len(VOCABULARY)), np.nan, np.float32)
    for row, length in enumerate(lengths):
        batch[row, :length] = spoken(length, seed + row)
    found = decoder.decode(batch, lengths)
    assert found == [decoder.decode(x[:length]) for x, length in zip(batch, lengths)]


@given(seed=SEEDS)
def test_what_is_stable_stays(decoder, seed):
    stream = decoder.stream()
    called = []
    for frame in spoken(60, seed):
        stream.step(frame[None])
        stable, _ = stream.partial()
        called.append(stable)
        for hypothesis in stream.fork().finish():
            end = len(stable.tokens)
            assert hypothesis.tokens[:end] == stable.tokens
            assert hypothesis.frames[:end] == stable.frames
            assert hypothesis.confidences[:end] == stable.confidences
    for earlier, later in pairwise(called):
        assert later.tokens[: len(earlier.tokens)] == earlier.tokens


def test_the_isas_agree_in_every_bit(monkeypatch, model):
    x = spoken(200, 0)
    for make in KINDS.values():
        results = []
        for isa in set(tinyseq.kernels.library.available()) - {"baseline"}:
            monkeypatch.setenv("TINYSEQ_ISA", isa)
            results.append(tinyseq.TransducerDecoder(TABLE, make(model)).decode(x))
        assert all(result == results[0] for result in results)


def test_many_threads_share_a_decoder(decoder):
    batches = [spoken(100, seed) for seed in range(6)]
    expected = [decoder.decode(x) for x in batches]
    found = {}

    def work(seed: int) -> None:
        for _ in range(5):
            found[seed] = fed(decoder.stream(), np.split(batches[seed], 10)).finish()
            assert found[seed] == expected[seed]

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found.get(seed) for seed in range(6)] == expected


def test_more_streams_than_are_stepped_at_once(decoder):
    x = spoken(3, 0)
    batch = np.broadcast_to(x, (MOST_PLACES + 5, *x.shape))
    assert decoder.decode(batch) == [decoder.decode(x)] * len(batch)


def test_a_long_stream_does_not_grow(decoder):
    stream = decoder.stream()
    for seed in range(40):
        stream.step(spoken(250, seed))
        _, tentative = stream.partial()
        assert len(tentative.tokens) <= 1250
    assert stream.frames == 10_000
    if isinstance(decoder.options, tinyseq.TransducerBeamSearch):
        assert stream._state.found.state.array.nbytes < 100_000 * decoder.options.beam_width


def test_fork_and_reset(decoder):
    x = spoken(50, 3)
    stream = fed(decoder.stream(), [x[:20]])
    twin = stream.fork()
    stream.step(x[20:])
    twin.step(x[30:])
    assert stream.finish() == decoder.decode(x)
    assert twin.finish() == decoder.decode(np.concatenate([x[:20], x[30:]]))
    stream.reset()
    assert stream.frames == 0
    assert fed(stream, [x]).finish() == decoder.decode(x)


def test_nothing_and_a_vocabulary_of_one():
    for search in (tinyseq.transducer_greedy, tinyseq.transducer_beam_search):
        (found,) = search(TABLE, np.zeros((0, len(VOCABULARY))))
        assert (found.tokens, found.score) == ([], 0.0)
        (found,) = search(Table(1, 0), np.zeros((5, 1)))
        assert (found.tokens, found.score) == ([], 0.0)
        assert search(TABLE, np.zeros((0, 4, len(VOCABULARY)))) == []
        assert search(TABLE, np.zeros((2, 0, len(VOCABULARY)))) == [[tinyseq.Hypothesis([], 0.0, [], [])]] * 2


def test_tokens_that_cannot_be():
    """Scores of -inf are probabilities of zero; a table's are those of its frame."""
    x = np.zeros((3, 3), np.float32)
    table = Table(3, 0)
    table.outputs[...] = 0
    table.outputs[:, 2] = -np.inf
    found = tinyseq.transducer_beam_search(table, x, **PLAIN)
    assert {token for hypothesis in found for token in hypothesis.tokens} == {1}
    assert len(found) == 4
    table.outputs[:, 0] = -np.inf
    (found,) = tinyseq.transducer_beam_search(table, x, **PLAIN)
    assert (found.tokens, found.frames, found.score) == ([1, 1, 1], [0, 1, 2], 0.0)
    (found,) = tinyseq.transducer_greedy(table, x, max_symbols=2)
    assert (found.tokens, found.frames) == ([1] * 6, [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize("kind", [LOGITS, LOG_PROBABILITIES, PROBABILITIES])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_rows_that_nothing_can_be_made_of_are_refused_and_change_nothing(search, bad, kind):
    table = Table(3, 0, kind)
    decoder = tinyseq.TransducerDecoder(table, KINDS[search](None))
    streams = [fed(decoder.stream(), [frames_of(4, 3, seed, 2.0)]) for seed in range(2)]
    before = [(stream.partial(), stream.finish(), stream.frames) for stream in streams]
    good = table.outputs.copy()
    table.outputs[...] = bad
    chunks = [frames_of(9, 3, 5, 0.0), frames_of(20, 3, 6, 0.0)]
    with np.errstate(invalid="ignore"), pytest.raises(tinyseq.FeedError, match="joiner gives a row"):
        decoder.step(streams, chunks)
    table.outputs[...] = good
    with pytest.raises(tinyseq.FeedError, match="frame 7 of sequence 1"):
        chunks[1][7, 1] = bad
        decoder.step(streams, chunks)
    assert [(stream.partial(), stream.finish(), stream.frames) for stream in streams] == before


X = np.zeros((2, len(VOCABULARY)), np.float32)
REFUSED = {
    "vector": lambda: tinyseq.transducer_greedy(TABLE, X[0]),
    "frames of another size": lambda: tinyseq.transducer_greedy(TABLE, X[:, :3]),
    "blank outside": lambda: tinyseq.transducer_greedy(TABLE, X, blank=7),
    "no symbols": lambda: tinyseq.transducer_greedy(TABLE, X, max_symbols=0),
    "no temperature": lambda: tinyseq.transducer_greedy(TABLE, X, temperature=0),
    "penalty nan": lambda: tinyseq.transducer_beam_search(TABLE, X, blank_penalty=np.nan),
    "no beam": lambda: tinyseq.transducer_beam_search(TABLE, X, 0),
    "norm of numbers": lambda: tinyseq.transducer_beam_search(TABLE, X, length_norm=2),
    "vocabulary of another size": lambda: tinyseq.transducer_greedy(TABLE, X, vocabulary=["_"]),
    "options of CTC": lambda: tinyseq.TransducerDecoder(TABLE, tinyseq.CtcGreedy()),
    "stream of another": lambda: tinyseq.TransducerDecoder(TABLE).step(
        [tinyseq.TransducerDecoder(TABLE).stream()], [X]
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    with pytest.raises(tinyseq.FeedError):
        REFUSED[case]()


WRONG_OPTIONS = {"blank_penalty": np.nan, "temperature": 0, "length_norm": 2, "beam_width": 0, "alpha": "x"}


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_wrong_options_are_called_that(name):
    with pytest.raises(tinyseq.OptionError, match=name):
        tinyseq.TransducerBeamSearch(**{name: WRONG_OPTIONS[name]})
    with pytest.raises(tinyseq.OptionError):
        tinyseq.TransducerDecoder(TABLE, tinyseq.CtcGreedy())
