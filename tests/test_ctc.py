"""CTC decoding against enumeration, and the laws that every search keeps."""

from __future__ import annotations

import gzip
import sys
import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests.ctc_oracle import (
    LN10,
    NaiveNgrams,
    collapsed,
    enumerate_alignments,
    granted,
    occurrences,
    plain_beam_search,
)

WIDE = dict(beam_width=3000, nbest=3000, beam_prune_logp=-np.inf, token_min_logp=-np.inf)
"""As wide as the space of a few frames and tokens: nothing is pruned."""

SEEDS = st.integers(0, 2**16)


def rows(frames: int, tokens: int, seed: int, scale: float = 2.0) -> np.ndarray:
    """Random log-probabilities [frames, tokens]."""
    x = np.random.default_rng(seed).normal(0, scale, (frames, tokens))
    return (x - np.logaddexp.reduce(x, axis=1, keepdims=True)).astype(np.float32)


def peaked(frames: int, tokens: int, seed: int) -> np.ndarray:
    """Rows as trained models give them: mostly sure of one token, half of the time of the blank."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((frames, tokens))
    x[np.arange(frames), np.where(rng.random(frames) < 0.5, 0, rng.integers(0, tokens, frames))] += 4
    return (x - np.logaddexp.reduce(x, axis=1, keepdims=True)).astype(np.float32)


def assert_enumerated(found, expected) -> None:
    """Every hypothesis, in order, with score and frames."""
    assert len(found) == len(expected)
    for hypothesis, (score, tokens, frames) in zip(found, expected):
        assert abs(hypothesis.score - score) <= 1e-5
        assert (tuple(hypothesis.tokens), hypothesis.frames) == (tokens, frames)


@given(frames=st.integers(0, 6), tokens=st.integers(1, 4), seed=SEEDS, data=st.data())
def test_the_widest_beam_finds_every_sequence(isa, frames, tokens, seed, data):
    blank = data.draw(st.integers(0, tokens - 1))
    logp = rows(frames, tokens, seed)
    found = tinyseq.ctc_beam_search(logp, blank=blank, **WIDE)
    assert_enumerated(found, enumerate_alignments(logp, blank))
    for hypothesis in found:
        expected = np.exp(logp[hypothesis.frames, hypothesis.tokens].astype(float))
        np.testing.assert_allclose(hypothesis.confidences, expected, rtol=1e-6)


@given(frames=st.integers(0, 7), tokens=st.integers(1, 4), seed=SEEDS, data=st.data())
def test_greedy_is_the_most_probable_alignment(isa, frames, tokens, seed, data):
    blank = data.draw(st.integers(0, tokens - 1))
    logp = rows(frames, tokens, seed)
    (found,) = tinyseq.ctc_greedy(logp, blank)
    expected = collapsed(logp.argmax(1).tolist(), logp, blank)
    assert (tuple(found.tokens), found.frames) == expected
    assert abs(found.score - logp.max(1).sum(dtype=float)) <= 1e-5


LETTERS = ("_", "a", "b", " ")
"""A vocabulary whose blank is 0."""
PIECES = ("_", " a", "b", " ba", "a b")
"""One whose tokens hold several letters and separators."""


def words_of(tokens, vocabulary) -> list[str]:
    return "".join(vocabulary[token] for token in tokens).split()


@given(
    order=st.integers(1, 3), seed=SEEDS, alpha=st.sampled_from([0, 0.3, 1.7]), beta=st.sampled_from([-1, 0.5])
)
def test_token_model(tmp_path_factory, order, seed, alpha, beta):
    rng = np.random.default_rng(seed)
    naive = NaiveNgrams.random(["a", "b"], order, rng)
    model = tinyseq.read_arpa(naive.write(tmp_path_factory.mktemp("lm") / "tokens.arpa"))
    logp = rows(4, 4, seed)

    def added(tokens):
        units = [LETTERS[token] for token in tokens]
        unknown = sum(not naive.knows(unit) for unit in units)
        return alpha * naive.sentence(units) + beta * len(units) - 2.5 * unknown

    options = dict(lm=model, lm_level="token", alpha=alpha, beta=beta, unk_score_offset=-2.5)
    found = tinyseq.ctc_beam_search(logp, vocabulary=LETTERS, **options, **WIDE)
    assert_enumerated(found, enumerate_alignments(logp, 0, added))


@pytest.mark.parametrize("vocabulary", [LETTERS, PIECES])
@given(order=st.integers(1, 3), seed=SEEDS, alpha=st.sampled_from([0, 0.7]), beta=st.sampled_from([-1, 0.5]))
def test_word_model(tmp_path_factory, vocabulary, order, seed, alpha, beta):
    rng = np.random.default_rng(seed)
    naive = NaiveNgrams.random(["a", "ab", "ba", "aab"], order, rng)
    model = tinyseq.read_arpa(naive.write(tmp_path_factory.mktemp("lm") / "words.arpa"))
    logp = rows(4, len(vocabulary), seed)

    def added(tokens):
        words = words_of(tokens, vocabulary)
        unknown = sum(not naive.knows(word) for word in words)
        return alpha * naive.sentence(words) + beta * len(words) - 1.5 * unknown

    options = dict(lm=model, alpha=alpha, beta=beta, unk_score_offset=-1.5)
    found = tinyseq.ctc_beam_search(logp, vocabulary=vocabulary, **options, **WIDE)
    assert_enumerated(found, enumerate_alignments(logp, 0, added))


class AskedNgrams:
    """Stands in for the kenlm package: a model that can only be asked."""

    class State:
        history = ()

        def __hash__(self) -> int:
            return hash(self.history)

        def __eq__(self, other) -> bool:
            return self.history == other.history

    def __init__(self, naive: NaiveNgrams) -> None:
        self._naive, self.order = naive, naive.order

    def Model(self, path: str) -> AskedNgrams:
        return self

    def __contains__(self, word: str) -> bool:
        return self._naive.knows(word)

    def BeginSentenceWrite(self, state: State) -> None:
        state.history = ("<s>",)

    def BaseScore(self, state: State, word: str, following: State) -> float:
        following.history = (*state.history, word)[-max(1, self.order - 1) :]
        return self._naive.logp(word, state.history) / LN10


@pytest.mark.parametrize("level", ["token", "word"])
@given(order=st.integers(1, 3), seed=SEEDS)
def test_a_model_that_is_asked_is_the_model_that_is_read(monkeypatch, tmp_path_factory, level, order, seed):
    naive = NaiveNgrams.random(["a", "b", "ab"], order, np.random.default_rng(seed)).proper()
    path = naive.write(tmp_path_factory.mktemp("lm") / "words.arpa")
    monkeypatch.setitem(sys.modules, "kenlm", AskedNgrams(naive))
    models = tinyseq.read_arpa(path), tinyseq.read_kenlm(path, ["a", "b", "ab", "unknown"])
    logp = peaked(150, 4, seed)
    options = dict(vocabulary=LETTERS, lm_level=level, nbest=10)
    read, asked = (tinyseq.ctc_beam_search(logp, lm=model, **options) for model in models)
    assert [hypothesis.tokens for hypothesis in asked] == [hypothesis.tokens for hypothesis in read]
    np.testing.assert_allclose([h.score for h in asked], [h.score for h in read], rtol=1e-6)


def test_a_model_that_is_asked_gives_probabilities(monkeypatch, tmp_path):
    table = {("<s>",): (-1.0, 0.0), ("a",): (0.5, 0.0), ("</s>",): (-1.0, 0.0), ("<unk>",): (-1.0, 0.0)}
    naive = NaiveNgrams(table)
    monkeypatch.setitem(sys.modules, "kenlm", AskedNgrams(naive))
    model = tinyseq.read_kenlm(naive.write(tmp_path / "lm.arpa"), ["a"])
    with pytest.raises(tinyseq.ModelError, match=r"gives 'a' the probability 3\.16228, above 1"):
        tinyseq.ctc_beam_search(rows(5, 4, 0), lm=model, vocabulary=LETTERS, lm_level="token")


@pytest.mark.parametrize("with_model", [False, True])
@pytest.mark.parametrize("vocabulary", [LETTERS, PIECES])
@given(seed=SEEDS)
def test_lexicon(tmp_path_factory, vocabulary, with_model, seed):
    lexicon = ["a", "ba", "bb"]
    naive = NaiveNgrams.random(["a", "ba"], 2, np.random.default_rng(seed))
    model = tinyseq.read_arpa(naive.write(tmp_path_factory.mktemp("lm") / "words.arpa"))
    logp = rows(5, len(vocabulary), seed) if vocabulary is LETTERS else rows(4, len(vocabulary), seed)

    def added(tokens):
        words = words_of(tokens, vocabulary)
        if not set(words) <= set(lexicon):
            return -np.inf
        if not with_model:
            return 0.25 * len(words)
        unknown = sum(not naive.knows(word) for word in words)
        return 0.5 * naive.sentence(words) + 0.25 * len(words) - 3 * unknown

    options = dict(lexicon=lexicon, beta=0.25, unk_score_offset=-3, lm=model if with_model else None)
    found = tinyseq.ctc_beam_search(logp, vocabulary=vocabulary, **options, **WIDE)
    assert_enumerated(found, enumerate_alignments(logp, 0, added))


@given(seed=SEEDS)
def test_lexicon_beside_a_token_model(tmp_path_factory, seed):
    naive = NaiveNgrams.random(["a", "b"], 2, np.random.default_rng(seed))
    model = tinyseq.read_arpa(naive.write(tmp_path_factory.mktemp("lm") / "tokens.arpa"))
    lexicon = ["a", "ba", "bb"]
    logp = rows(5, 4, seed)

    def added(tokens):
        if not set(words_of(tokens, LETTERS)) <= set(lexicon):
            return -np.inf
        units = [LETTERS[token] for token in tokens]
        return 0.5 * naive.sentence(units) + 0.25 * len(units) - 1.5 * units.count(" ")

    options = dict(lexicon=lexicon, lm=model, lm_level="token", alpha=0.5, beta=0.25, unk_score_offset=-1.5)
    found = tinyseq.ctc_beam_search(logp, vocabulary=LETTERS, **options, **WIDE)
    assert_enumerated(found, enumerate_alignments(logp, 0, added))


@given(seed=SEEDS)
def test_lexicon_of_token_sequences(seed):
    lexicon = {"one": [1, 2], "two": [2, 2], "three": [1, 2, 1]}
    logp = rows(6, 4, seed)

    def added(tokens):
        words = "".join(map(str, tokens)).split("3")
        return 1.5 * len(list(filter(None, words))) if set(words) <= {"12", "22", "121", ""} else -np.inf

    found = tinyseq.ctc_beam_search(logp, lexicon=lexicon, word_separator=3, **WIDE)
    assert_enumerated(found, enumerate_alignments(logp, 0, added))


def test_words_that_are_spelt_alike(tmp_path):
    """They are one word, unless a language model gives them different probabilities."""
    options = dict(word_separator=3, **WIDE)
    alike = tinyseq.ctc_beam_search(rows(5, 4, 0), lexicon={"red": [1, 2], "read": [1, 2]}, **options)
    assert alike == tinyseq.ctc_beam_search(rows(5, 4, 0), lexicon={"red": [1, 2]}, **options)
    naive = NaiveNgrams.random(["red", "read"], 1, np.random.default_rng(0))
    options["lm"] = tinyseq.read_arpa(naive.write(tmp_path / "words.arpa"))
    unknown = {"blue": [1, 2], "blew": [1, 2]}
    assert tinyseq.ctc_beam_search(rows(5, 4, 0), lexicon=unknown, **options)
    with pytest.raises(tinyseq.FeedError, match="'red' and 'read' are spelt alike"):
        tinyseq.ctc_beam_search(rows(5, 4, 0), lexicon={"red": [1, 2], "read": [1, 2]}, **options)


HOTWORDS = {"ab": 2.0, "ba": 1.0, "aba": 0.5, "b": -0.75}


@given(seed=SEEDS)
def test_hotwords_anywhere(seed):
    logp = rows(5, 3, seed)

    def added(tokens):
        text = "".join(LETTERS[token] for token in tokens)
        return sum(weight * occurrences(word, text) for word, weight in HOTWORDS.items())

    found = tinyseq.ctc_beam_search(logp, vocabulary=LETTERS[:3], hotwords=HOTWORDS, **WIDE)
    assert_enumerated(found, enumerate_alignments(logp, 0, added))


@given(seed=SEEDS)
def test_hotwords_of_tokens(seed):
    logp = rows(5, 3, seed)
    hotwords = [[1, 2], (2,)]

    def added(tokens):
        return sum(3 * occurrences(tuple(word), tokens) for word in hotwords)

    found = tinyseq.ctc_beam_search(logp, hotwords=hotwords, hotword_weight=3, **WIDE)
    assert_enumerated(found, enumerate_alignments(logp, 0, added))


@pytest.mark.parametrize("vocabulary", [LETTERS, PIECES])
@given(seed=SEEDS)
def test_hotwords_are_whole_words_where_there_are_words(vocabulary, seed):
    hotwords = {"ab": 2.0, "a": 1.0, "ab a": 1.5}
    logp = rows(4, len(vocabulary), seed)

    def added(tokens):
        # Separators that follow each other part no words, but the hotwords' phrases hold just one.
        text = " " + "".join(vocabulary[token] for token in tokens) + " "
        return sum(weight * occurrences(f" {word} ", text) for word, weight in hotwords.items())

    found = tinyseq.ctc_beam_search(logp, vocabulary=vocabulary, hotwords=hotwords, **WIDE)
    assert_enumerated(found, enumerate_alignments(logp, 0, added))


ARPA = NaiveNgrams.random(["a", "b", "ab", "ba", "abc"], 3, np.random.default_rng(0))
VOCABULARY = ("_", "a", "b", "c", " ", "ab", " b")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tinyseq.read_arpa(ARPA.write(tmp_path_factory.mktemp("lm") / "words.arpa"))


KINDS = {
    "greedy": lambda model: tinyseq.CtcGreedy(),
    "beam": lambda model: tinyseq.CtcBeamSearch(nbest=5),
    "narrow beam": lambda model: tinyseq.CtcBeamSearch(beam_width=2, nbest=2),
    "wide beam": lambda model: tinyseq.CtcBeamSearch(beam_width=100, nbest=9, beam_prune_logp=-np.inf),
    "few tokens": lambda model: tinyseq.CtcBeamSearch(tokens_per_frame=2, token_min_logp=-np.inf, nbest=5),
    "language model": lambda model: tinyseq.CtcBeamSearch(lm=model, vocabulary=VOCABULARY, nbest=5),
    "horizon": lambda model: tinyseq.CtcBeamSearch(horizon=40, nbest=5),
    "hotwords": lambda model: tinyseq.CtcBeamSearch(hotwords=[[1, 2], [3]], nbest=5),
    "lexicon": lambda model: tinyseq.CtcBeamSearch(
        lexicon=["a", "ab", "cab", "bb"], vocabulary=VOCABULARY, nbest=5, beam_prune_logp=-np.inf
    ),
}


@pytest.fixture(params=KINDS)
def decoder(request, model) -> tinyseq.CtcDecoder:
    return tinyseq.CtcDecoder(KINDS[request.param](model))


def fed(stream: tinyseq.DecoderStream, chunks) -> tinyseq.DecoderStream:
    for chunk in chunks:
        stream.step(chunk)
    return stream


@given(frames=st.integers(0, 120), seed=SEEDS, cuts=st.lists(st.integers(0, 120), max_size=8))
def test_chunks_give_the_bits_of_the_whole(isa, decoder, frames, seed, cuts):
    logp = peaked(frames, len(VOCABULARY), seed)
    stream = decoder.stream()
    for chunk in np.split(logp, sorted(min(cut, frames) for cut in cuts)):
        stream.step(chunk)
        stable, tentative = stream.partial()
        assert len(stable.tokens) + len(tentative.tokens) <= stream.frames
    assert stream.finish() == decoder.decode(logp)
    assert stream.finish() == fed(decoder.stream(), logp[:, None]).finish()


@given(seed=SEEDS, lengths=st.lists(st.integers(0, 40), max_size=6))
def test_a_stream_of_a_batch_is_the_stream_alone(decoder, seed, lengths):
    frames = max(lengths, default=0)
    batch = np.full((len(lengths), frames, len(VOCABULARY)), np.nan, np.float32)
    for row, length in enumerate(lengths):
        batch[row, :length] = peaked(length, len(VOCABULARY), seed + row)
    found = decoder.decode(batch, lengths)
    assert found == [decoder.decode(logp[:length]) for logp, length in zip(batch, lengths)]


@given(seed=SEEDS)
def test_what_is_stable_stays(decoder, seed):
    """All that was ever called stable, with its frames, is how every result begins."""
    logp = peaked(60, len(VOCABULARY), seed)
    stream = decoder.stream()
    called = []
    for row in logp:
        stream.step(row[None])
        stable, _ = stream.partial()
        called.append(stable)
        if found := stream.fork().finish():
            for hypothesis in found:
                end = len(stable.tokens)
                assert hypothesis.tokens[:end] == stable.tokens
                assert hypothesis.frames[:end] == stable.frames
                assert hypothesis.confidences[:end] == stable.confidences
    for earlier, later in pairwise(called):
        assert later.tokens[: len(earlier.tokens)] == earlier.tokens
        assert later.frames[: len(earlier.frames)] == earlier.frames


def test_the_fused_isas_agree_in_every_bit(monkeypatch, model):
    logp = peaked(200, len(VOCABULARY), 0)
    for make in KINDS.values():
        results = []
        for isa in set(tinyseq.kernels.library.available()) - {"baseline"}:
            monkeypatch.setenv("TINYSEQ_ISA", isa)
            results.append(tinyseq.CtcDecoder(make(model)).decode(logp))
        assert all(result == results[0] for result in results)


def test_many_threads_share_a_decoder(model):
    decoder = tinyseq.CtcDecoder(KINDS["language model"](model))
    batches = [peaked(100, len(VOCABULARY), seed) for seed in range(8)]
    expected = [decoder.decode(logp) for logp in batches]
    found = {}

    def work(seed: int) -> None:
        for _ in range(20):
            found[seed] = fed(decoder.stream(), np.split(batches[seed], 10)).finish()
            assert found[seed] == expected[seed]

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found.get(seed) for seed in range(8)] == expected


def test_more_streams_than_one_call_takes(decoder):
    logp = peaked(3, len(VOCABULARY), 0)
    batch = np.broadcast_to(logp, (2100, *logp.shape))
    assert decoder.decode(batch) == [decoder.decode(logp)] * 2100


def test_a_long_stream_does_not_grow(decoder):
    """A state holds what is behind the horizon, and tokens that are settled are not in it."""
    if isinstance(decoder.options, tinyseq.CtcBeamSearch):
        decoder = tinyseq.CtcDecoder(replace(decoder.options, horizon=100))
    stream = decoder.stream()
    for seed in range(40):
        stream.step(peaked(250, len(VOCABULARY), seed))
        stable, tentative = stream.partial()
        assert len(tentative.tokens) <= 250
    assert stream.frames == 10_000
    assert len(stable.tokens) > 1000 or not stream.finish()
    if isinstance(decoder.options, tinyseq.CtcBeamSearch):
        assert stream._state.state.array.nbytes < 40_000 * decoder.options.beam_width


def test_fork_and_reset(decoder):
    logp = peaked(50, len(VOCABULARY), 3)
    stream = fed(decoder.stream(), [logp[:20]])
    twin = stream.fork()
    stream.step(logp[20:])
    twin.step(logp[30:])
    assert stream.finish() == decoder.decode(logp)
    assert twin.finish() == decoder.decode(np.concatenate([logp[:20], logp[30:]]))
    stream.reset()
    assert stream.frames == 0
    assert fed(stream, [logp]).finish() == decoder.decode(logp)


def test_a_horizon_that_is_never_reached_changes_nothing():
    logp = peaked(300, 12, 0)
    near, far = (tinyseq.ctc_beam_search(logp, nbest=10, horizon=frames) for frames in (300, None))
    assert near == far


@pytest.mark.parametrize("horizon", [1, 4, 25, 30, 300])
def test_what_is_behind_the_horizon_is_agreed_on(horizon):
    """Every quarter of the horizon, and every 64 frames."""
    every = max(1, min(64, horizon // 4))
    stream = tinyseq.CtcDecoder(tinyseq.CtcBeamSearch(horizon=horizon, nbest=10)).stream()
    for row in peaked(5 * 64, 7, horizon):
        stream.step(row[None])
        stable, tentative = stream.partial()
        assert not [frame for frame in tentative.frames[1:] if frame <= stream.frames - horizon - every]
        if stream.frames % every == 0:
            assert not [frame for frame in tentative.frames[1:] if frame < stream.frames - horizon]
            assert len({tuple(found.frames[: len(stable.frames)]) for found in stream.finish()}) == 1


def test_a_short_sequence_is_certain_in_its_middle_already():
    """Two ways to say its beginning are as likely until the horizon parts them."""
    logp = np.full((50, 4), np.log(0.01), np.float32)
    said = [(2, 1), (3, 2), (10, 3), (11, 1), (20, 2), (30, 3), (40, 1)]
    logp[:, 0] = np.log(0.97)
    for frame, token in said:
        logp[frame], logp[frame, token] = np.log(0.01), np.log(0.97)
    logp[2, 1:3] = np.log([0.5, 0.47])
    stable = {}
    for horizon in (20, 1000):
        stream = tinyseq.CtcDecoder(tinyseq.CtcBeamSearch(horizon=horizon)).stream()
        stream.step(logp[:40])
        stable[horizon] = stream.partial()[0].tokens
        stream.step(logp[40:])
        assert list(stream.finish()[0].tokens) == [token for _, token in said]
    assert list(stable[20][:4]) == [1, 2, 3, 1] and list(stable[1000]) == []


@given(
    seed=SEEDS,
    width=st.integers(1, 6),
    prune=st.sampled_from([-0.5, -3.0, -np.inf]),
    least=st.sampled_from([-1.0, -3.0, -np.inf]),
    limit=st.sampled_from([None, 1, 2, 3, 20]),
    tokens=st.sampled_from([5, 16, 39]),
)
def test_pruning_is_what_it_says(seed, width, prune, least, limit, tokens):
    """Against the same search in plain Python, which looks at every hypothesis with every token."""
    logp = peaked(25, tokens, seed)
    options = dict(beam_prune_logp=prune, token_min_logp=least, tokens_per_frame=limit)
    found = tinyseq.ctc_beam_search(logp, width, nbest=width, **options)
    assert_searched(found, plain_beam_search(logp, width, prune, least, limit))


def assert_searched(found, expected) -> None:
    assert [tuple(hypothesis.tokens) for hypothesis in found] == [tokens for tokens, _ in expected]
    np.testing.assert_allclose([h.score for h in found], [score for _, score in expected], atol=1e-5)


@given(
    seed=SEEDS,
    width=st.integers(1, 6),
    prune=st.sampled_from([-1.0, -np.inf]),
    alpha=st.sampled_from([0, 0.5, 2]),
    beta=st.sampled_from([-1, 0, 4]),
    offset=st.sampled_from([-5, 0, 3]),
)
def test_a_narrow_beam_with_a_token_model(tmp_path_factory, seed, width, prune, alpha, beta, offset):
    """What is left out before its score is known would not have been kept."""
    naive = NaiveNgrams.random(["a", "b"], 3, np.random.default_rng(seed))
    model = tinyseq.read_arpa(naive.write(tmp_path_factory.mktemp("lm") / "tokens.arpa"))
    logp = peaked(20, 4, seed)

    def added(tokens):
        units = [LETTERS[token] for token in tokens]
        return alpha * naive.beginning(units) + beta * len(units) + offset * units.count(" ")

    options = dict(lm=model, lm_level="token", alpha=alpha, beta=beta, unk_score_offset=offset)
    options |= dict(beam_prune_logp=prune, token_min_logp=-np.inf, vocabulary=LETTERS, nbest=width)
    stream = tinyseq.CtcDecoder(tinyseq.CtcBeamSearch(width, **options)).stream()
    stream.step(logp)
    stable, tentative = stream.partial()
    tokens, score = plain_beam_search(logp, width, prune, added=added)[0]
    assert tuple(stable.tokens + tentative.tokens) == tokens
    assert abs(tentative.score - score) <= 1e-5


@given(seed=SEEDS, width=st.integers(1, 6), prune=st.sampled_from([-1.0, -np.inf]))
def test_a_narrow_beam_with_hotwords(seed, width, prune):
    logp = peaked(20, 3, seed)

    def added(tokens):
        text = "".join(LETTERS[token] for token in tokens)
        earned = sum(weight * occurrences(word, text) for word, weight in HOTWORDS.items())
        return earned + granted(HOTWORDS, text)

    options = dict(vocabulary=LETTERS[:3], hotwords=HOTWORDS, beam_prune_logp=prune, token_min_logp=-np.inf)
    stream = tinyseq.CtcDecoder(tinyseq.CtcBeamSearch(width, **options)).stream()
    stream.step(logp)
    stable, tentative = stream.partial()
    tokens, score = plain_beam_search(logp, width, prune, added=added)[0]
    assert tuple(stable.tokens + tentative.tokens) == tokens
    assert abs(tentative.score - score) <= 1e-5


INFINITE = {
    "nothing but blanks": ([[0, -np.inf]] * 3, ()),
    "a token that no other follows": ([[-np.inf, 0, -np.inf]] * 4, (1,)),
    "blanks between": ([[-np.inf, 0], [0, -np.inf], [-np.inf, 0]], (1, 1)),
    "no frames": (np.zeros((0, 3)), ()),
}


@pytest.mark.parametrize("case", INFINITE)
@pytest.mark.parametrize(
    "options", [{}, {"beam_prune_logp": -np.inf, "token_min_logp": -np.inf, "nbest": 50}]
)
def test_impossible_tokens(case, options):
    logp, tokens = INFINITE[case]
    (found,) = tinyseq.ctc_beam_search(np.array(logp), **options)
    assert (tuple(found.tokens), found.score) == (tokens, 0.0)
    (greedy,) = tinyseq.ctc_greedy(np.array(logp))
    assert (tuple(greedy.tokens), greedy.score) == (tokens, 0.0)


def test_a_vocabulary_of_one():
    (found,) = tinyseq.ctc_beam_search(np.zeros((5, 1)))
    assert (found.tokens, found.score) == ([], 0.0)


def test_the_narrowest_beam_and_the_widest():
    logp = rows(4, 2, 0)
    assert len(tinyseq.ctc_beam_search(logp, 1)) == 1
    wide = tinyseq.ctc_beam_search(logp, **WIDE | {"beam_width": 2**16, "nbest": 2**16})
    assert wide == tinyseq.ctc_beam_search(logp, **WIDE)


def test_rows_that_are_not_normalised_shift_the_score():
    logp = rows(6, 3, 0)
    options = dict(beam_prune_logp=-np.inf, token_min_logp=-np.inf, nbest=5)
    as_they_are, raised = (tinyseq.ctc_beam_search(x, **options) for x in (logp, logp + np.float32(0.5)))
    assert [h.tokens for h in raised] == [h.tokens for h in as_they_are]
    np.testing.assert_allclose([h.score - 3 for h in raised], [h.score for h in as_they_are], atol=1e-5)


@pytest.mark.parametrize("bad", [[np.nan, 0], [-np.nan, 0], [np.inf, 0], [-np.inf, -np.inf]])
@pytest.mark.parametrize("kind", ["greedy", "beam"])
def test_unusable_rows_are_refused_and_change_nothing(kind, bad):
    decoder = tinyseq.CtcDecoder(KINDS[kind](None))
    streams = [fed(decoder.stream(), [rows(4, 2, 1)]) for _ in range(2)]
    before = [(stream.partial(), stream.finish(), stream.frames) for stream in streams]
    logp = rows(70, 2, 0)
    logp[66] = bad
    with pytest.raises(tinyseq.FeedError, match="row 66 of sequence 1"):
        decoder.step(streams, [rows(5, 2, 2), logp])
    assert [(stream.partial(), stream.finish(), stream.frames) for stream in streams] == before


def test_a_lexicon_widens_what_is_pruned():
    """Its words may take tokens that are unlikely by far; what is said of pruning holds in any case."""
    logp = np.full((3, 4), -9.0, np.float32)
    logp[[0, 1, 1, 2], [1, 0, 2, 1]] = 0, -1, -8, 0
    options = {"vocabulary": ["_", "a", "b", " "], "lexicon": ["aba", "a"], "beta": 0}
    (found, *_) = tinyseq.ctc_beam_search(logp, **options)
    assert (found.text, found.score) == ("aba", pytest.approx(-8.0, abs=1e-3))
    for bound in ("token_min_logp", "beam_prune_logp"):
        narrow = tinyseq.ctc_beam_search(logp, **options, **{bound: -5.0})
        assert not narrow or narrow[0].text != "aba"
    both = tinyseq.CtcBeamSearch(lexicon=["a"], vocabulary=["_", "a", " "])
    assert (both.pruning, tinyseq.CtcBeamSearch().pruning) == ((-25.0, -12.0), (-10.0, -5.0))
    assert tinyseq.CtcBeamSearch(beam_prune_logp=-3, token_min_logp=-2).pruning == (-3.0, -2.0)


LOGP = np.zeros((2, 3), np.float32)
REFUSED = {
    "vector": lambda: tinyseq.ctc_greedy(LOGP[0]),
    "no tokens": lambda: tinyseq.ctc_greedy(LOGP[:, :0]),
    "strings": lambda: tinyseq.ctc_greedy([["a"]]),
    "ragged": lambda: tinyseq.ctc_greedy([[0.0], [0.0, 1.0]]),
    "complex": lambda: tinyseq.ctc_greedy(LOGP + 1j),
    "blank outside": lambda: tinyseq.ctc_beam_search(LOGP, blank=3),
    "negative blank": lambda: tinyseq.ctc_beam_search(LOGP, blank=-1),
    "no beam": lambda: tinyseq.ctc_beam_search(LOGP, 0),
    "half a beam": lambda: tinyseq.ctc_beam_search(LOGP, 2.5),
    "no results": lambda: tinyseq.ctc_beam_search(LOGP, nbest=0),
    "prune above": lambda: tinyseq.ctc_beam_search(LOGP, beam_prune_logp=1.0),
    "prune nan": lambda: tinyseq.ctc_beam_search(LOGP, beam_prune_logp=np.nan),
    "alpha below zero": lambda: tinyseq.ctc_beam_search(LOGP, alpha=-1),
    "beta infinite": lambda: tinyseq.ctc_beam_search(LOGP, beta=np.inf),
    "level": lambda: tinyseq.ctc_beam_search(LOGP, lm_level="phrase"),
    "model by path": lambda: tinyseq.ctc_beam_search(LOGP, lm="lm.arpa"),
    "hotwords as a string": lambda: tinyseq.ctc_beam_search(LOGP, hotwords="word"),
    "hotword without vocabulary": lambda: tinyseq.ctc_beam_search(LOGP, hotwords=["word"]),
    "hotword twice": lambda: tinyseq.ctc_beam_search(LOGP, hotwords=["a", " a"], vocabulary=["_", "a", " "]),
    "empty hotword": lambda: tinyseq.ctc_beam_search(LOGP, hotwords=[[]]),
    "hotword of other letters": lambda: tinyseq.ctc_beam_search(LOGP, hotwords=["x"], vocabulary="_ab"),
    "hotword of other tokens": lambda: tinyseq.ctc_beam_search(LOGP, hotwords=[[3]]),
    "hotword weight": lambda: tinyseq.ctc_beam_search(LOGP, hotwords={(1,): np.nan}),
    "hotword weight beyond float32": lambda: tinyseq.ctc_beam_search(LOGP, hotwords={(1,): 1e39}),
    "a hotword's own weight beyond any float": lambda: tinyseq.CtcBeamSearch(hotwords={(1,): -(10**400)}),
    "lexicon without separator": lambda: tinyseq.ctc_beam_search(LOGP, lexicon=["a"], vocabulary="_ab"),
    "lexicon without vocabulary": lambda: tinyseq.ctc_beam_search(LOGP, lexicon=["a"]),
    "word of two words": lambda: tinyseq.ctc_beam_search(LOGP, lexicon=["a b"], vocabulary=["_", "a", " "]),
    "vocabulary of another size": lambda: tinyseq.ctc_greedy(LOGP, vocabulary=["_"]),
    "vocabulary of numbers": lambda: tinyseq.ctc_greedy(LOGP, vocabulary=[1, 2, 3]),
    "lengths too long": lambda: tinyseq.ctc_greedy(LOGP[None], lengths=[3]),
    "lengths negative": lambda: tinyseq.ctc_greedy(LOGP[None], lengths=[-1]),
    "too few lengths": lambda: tinyseq.ctc_greedy(LOGP[None], lengths=[]),
    "lengths of one sequence": lambda: tinyseq.ctc_greedy(LOGP, lengths=[2]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    with pytest.raises(tinyseq.FeedError):
        REFUSED[case]()


WRONG_OPTIONS = {
    "beam_width": 0, "blank": -1, "nbest": 1.5, "horizon": 0, "beam_prune_logp": 1, "token_min_logp": np.nan,
    "tokens_per_frame": 0, "alpha": -1, "beta": np.inf, "unk_score_offset": "x", "hotword_weight": None,
    "lm_level": "letter", "lm": "lm.arpa", "word_separator": b" ", "vocabulary": 3, "lexicon": "ab",
    "hotwords": [None],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_wrong_options_are_called_that(name):
    with pytest.raises(tinyseq.OptionError):
        tinyseq.CtcBeamSearch(**{name: WRONG_OPTIONS[name]})


def test_options_that_do_not_fit_the_rows_are_called_that():
    for options in ({"vocabulary": ["a"]}, {"blank": 7}, {"hotwords": [[9]]}, {"hotwords": ["a"]}):
        with pytest.raises(tinyseq.OptionError):
            tinyseq.ctc_beam_search(LOGP, **options)
    for options in (tinyseq.Greedy(decoder_start_token_id=0), {}):
        with pytest.raises(tinyseq.OptionError):
            tinyseq.CtcDecoder(options)


def test_streams_are_their_decoder_s_and_stepped_once():
    one, other = tinyseq.CtcDecoder(), tinyseq.CtcDecoder()
    stream = one.stream()
    for streams, chunks in (
        ([other.stream()], [LOGP]),
        ([stream, stream], [LOGP, LOGP]),
        ([stream], []),
        ([stream, one.stream()], [LOGP, LOGP[:, :2]]),
    ):
        with pytest.raises(tinyseq.FeedError):
            one.step(streams, chunks)
    one.step([stream], [LOGP])
    with pytest.raises(tinyseq.FeedError):
        stream.step(LOGP[:, :2])


BAD_ARPA = {
    "empty": "",
    "no data": "\\1-grams:\n-1 a\n\\end\\\n",
    "no counts": "\\data\\\n\\1-grams:\n\\end\\\n",
    "counts out of order": "\\data\\\nngram 2=1\n\\1-grams:\n\\end\\\n",
    "too few": "\\data\\\nngram 1=2\n\\1-grams:\n-1\ta\n\\end\\\n",
    "no end": "\\data\\\nngram 1=1\n\\1-grams:\n-1\ta\n",
    "cut off": "\\data\\\nngram 1=1\n",
    "no number": "\\data\\\nngram 1=1\n\\1-grams:\nx\ta\n\\end\\\n",
    "positive": "\\data\\\nngram 1=1\n\\1-grams:\n1\ta\n\\end\\\n",
    "nan": "\\data\\\nngram 1=1\n\\1-grams:\nnan\ta\n\\end\\\n",
    "too many fields": "\\data\\\nngram 1=1\n\\1-grams:\n-1\ta b c\n\\end\\\n",
    "twice": "\\data\\\nngram 1=2\n\\1-grams:\n-1\ta\n-1\ta\n\\end\\\n",
    "no history": "\\data\\\nngram 1=2\nngram 2=1\nngram 3=1\n\\1-grams:\n-1\ta\n-1\tb\n\\2-grams:\n-1\tb a\n"
    "\\3-grams:\n-1\ta a a\n\\end\\\n",
    "n-gram twice": "\\data\\\nngram 1=1\nngram 2=2\n\\1-grams:\n-1\ta\n"
    "\\2-grams:\n-1\ta a\n-1\ta a\n\\end\\\n",
    "no utf-8": "\\data\\\nngram 1=1\n\\1-grams:\n-1\t\udcff\n\\end\\\n",
    "unknown word": "\\data\\\nngram 1=1\nngram 2=1\n\\1-grams:\n-1\ta\n\\2-grams:\n-1\ta b\n\\end\\\n",
}


@pytest.mark.parametrize("case", BAD_ARPA)
def test_files_that_are_no_language_model(tmp_path, case):
    path = tmp_path / "lm.arpa"
    path.write_text(BAD_ARPA[case], errors="surrogateescape")
    with pytest.raises(tinyseq.ModelError, match=r"lm\.arpa"):
        tinyseq.read_arpa(path)


def test_language_models_are_read_from_gz(tmp_path):
    plain = ARPA.write(tmp_path / "lm.arpa")
    packed = tmp_path / "lm.arpa.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    model = tinyseq.read_arpa(packed)
    assert (model.order, set(model.words)) == (3, {gram[0] for gram in ARPA.table if len(gram) == 1})
    with pytest.raises(tinyseq.ModelError):
        tinyseq.read_arpa(tmp_path / "absent.arpa")
    packed.write_bytes(packed.read_bytes()[:50])
    with pytest.raises(tinyseq.ModelError):
        tinyseq.read_arpa(packed)


def test_without_the_kenlm_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(tinyseq.MissingPackageError, match="pip install kenlm"):
        tinyseq.read_kenlm("lm.bin", ["a"])


OF_ANOTHER_KIND = {
    "vocabulary is a sequence of strings": lambda: tinyseq.CtcGreedy(vocabulary=True),
    "sequence of strings, one for each token": lambda: tinyseq.CtcGreedy(vocabulary=iter("ab")),
    "a hotword is a string or a sequence of tokens, not None": lambda: tinyseq.CtcBeamSearch(hotwords=[None]),
    "a hotword is a string or a sequence of tokens": lambda: tinyseq.CtcBeamSearch(hotwords=[[-1]]),
    "a word of the lexicon is a string": lambda: tinyseq.CtcBeamSearch(lexicon=[1]),
    "the lexicon spells 'a' as": lambda: tinyseq.CtcBeamSearch(lexicon={"a": [1.5]}),
    "word_separator is a string, a token": lambda: tinyseq.CtcBeamSearch(word_separator=True),
    "names token 9, a row has 3 numbers": lambda: tinyseq.ctc_beam_search(
        np.zeros((1, 3), np.float32), hotwords=[[9]]
    ),
    "holds the blank": lambda: tinyseq.ctc_beam_search(np.zeros((1, 3), np.float32), hotwords=[[0]]),
    "lengths are 1 whole numbers": lambda: tinyseq.ctc_greedy(
        np.zeros((1, 2, 3), np.float32), lengths=[[1], [2, 3]]
    ),
    "must be 'token' or 'word'": lambda: tinyseq.CtcBeamSearch(lm_level=np.array(["word", "token"])),
    "hotwords is a collection": lambda: tinyseq.CtcBeamSearch(hotwords=np.array("a")),
    "lexicon is a collection": lambda: tinyseq.CtcBeamSearch(lexicon=np.array("a")),
    "a list of streams and a list of chunks": lambda: tinyseq.CtcDecoder().step(None, []),
    "streams are what stream": lambda: tinyseq.CtcDecoder().step([None], [np.zeros((1, 2), np.float32)]),
    "given by its path": lambda: tinyseq.read_arpa(None),
    "give a string for each number": lambda: tinyseq.ctc_greedy(np.zeros((1, 3)), vocabulary=["a"]),
}


@pytest.mark.parametrize("reason", OF_ANOTHER_KIND)
def test_arguments_of_another_kind_are_refused(reason):
    with pytest.raises(tinyseq.TinyseqError, match=reason):
        OF_ANOTHER_KIND[reason]()


def test_too_many_orders_are_refused(tmp_path):
    path = tmp_path / "lm.arpa"
    path.write_text("\\data\\\n" + "".join(f"ngram {order}=1\n" for order in range(1, 80)))
    with pytest.raises(tinyseq.ModelError, match="more than 64 orders"):
        tinyseq.read_arpa(path)


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "lm.arpa.gz"
    whole = bytearray(gzip.compress(b"\\data\\\nngram 1=1\n" * 50))
    for place in range(10, len(whole)):
        whole[place] ^= 255
        path.write_bytes(whole)
        with pytest.raises(tinyseq.ModelError):
            tinyseq.read_arpa(path)
        whole[place] ^= 255


def test_chunks_may_be_one_array_and_tokens_numpys_numbers():
    decoder = tinyseq.CtcDecoder(tinyseq.CtcBeamSearch(word_separator=np.int64(2), hotwords=[np.array([1])]))
    rows = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    streams = tuple(decoder.stream() for _ in rows)
    decoder.step(streams, rows)
    assert [stream.finish() for stream in streams] == decoder.decode(rows)
