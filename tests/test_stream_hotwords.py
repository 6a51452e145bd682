"""Hotwords of single streams: the bits of a decoder that has them, beside streams that have others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests import test_ctc, test_transducer
from tests.models import recogniser
from tests.test_ctc import ARPA, SEEDS, VOCABULARY
from tests.test_recognizer import made as recogniser_with
from tests.test_recognizer import run_out, sound
from tests.test_saved_streams import made, rows_for

WITHOUT = {"greedy"}
"""Searches that know no hotwords."""
MAKERS = {f"CTC, {name}": make for name, make in test_ctc.KINDS.items() if name not in WITHOUT}
MAKERS |= {f"transducer, {name}": make for name, make in test_transducer.KINDS.items() if name not in WITHOUT}

HOTWORDS = [(), {(1, 2): 4.0}, {(3,): -2.0, (2, 1, 1): 6.0}, [(5,), (1, 3)]]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tinyseq.read_arpa(ARPA.write(tmp_path_factory.mktemp("lm") / "words.arpa"))


@pytest.fixture(params=MAKERS)
def options(request, model):
    return MAKERS[request.param](model)


def with_hotwords(options, hotwords) -> tinyseq.CtcDecoder | tinyseq.TransducerDecoder:
    """A decoder that has what a stream has of its own."""
    own = hotwords if isinstance(hotwords, dict) else dict.fromkeys(hotwords, options.hotword_weight)
    shared = dict.fromkeys(map(tuple, options.hotwords), options.hotword_weight)
    return made(replace(options, hotwords={**shared, **own}))


@given(seed=SEEDS, cut=st.integers(0, 60))
def test_a_stream_with_hotwords_is_one_of_a_decoder_that_has_them(options, seed, cut):
    decoder = made(options)
    chunks = [rows_for(decoder, 60, seed + number) for number in range(len(HOTWORDS))]
    streams = [decoder.stream(hotwords) for hotwords in HOTWORDS]
    decoder.step(streams, [chunk[:cut] for chunk in chunks])
    streams = [stream.fork() for stream in streams]
    decoder.step(streams, [chunk[cut:] for chunk in chunks])
    for stream, chunk, hotwords in zip(streams, chunks, HOTWORDS):
        alone = with_hotwords(options, hotwords).stream()
        alone.step(chunk)
        assert stream.partial() == alone.partial()
        assert stream.finish() == alone.finish()


def test_hotwords_change_what_is_found():
    rows = np.log(np.array([[0.1, 0.5, 0.4], [0.8, 0.1, 0.1]], np.float32))
    decoder = tinyseq.CtcDecoder(tinyseq.CtcBeamSearch(vocabulary=list("_ab"), word_separator=None))
    plain, hot = decoder.stream(), decoder.stream(["b"], hotword_weight=3)
    decoder.step([plain, hot], [rows, rows])
    assert [stream.finish()[0].text for stream in (plain, hot)] == ["a", "b"]
    assert hot.finish()[0].score == pytest.approx(np.log(0.4 * 0.9 + 0.1 * 0.1) + 3, abs=1e-5)


def test_the_stream_has_the_last_word():
    """The weight of a hotword that the options have too."""
    options = tinyseq.CtcBeamSearch(vocabulary=VOCABULARY, hotwords={"ab": 9.0, "c": 1.0})
    decoder, rows = tinyseq.CtcDecoder(options), test_ctc.peaked(40, len(VOCABULARY), 0)
    stream = decoder.stream({" ab": -2.0})
    stream.step(rows)
    expected = tinyseq.CtcDecoder(replace(options, hotwords={"ab": -2.0, "c": 1.0})).decode(rows)
    assert stream.finish() == expected != decoder.decode(rows)


def test_hotwords_stay_through_resets_and_snapshots(options):
    decoder = made(options)
    rows = rows_for(decoder, 40, 0)
    stream, twin = decoder.stream(HOTWORDS[1]), decoder.stream(HOTWORDS[1])
    stream.step(rows)
    expected, saved = stream.finish(), stream.snapshot()
    twin.restore(tinyseq.State.from_bytes(saved.to_bytes()))
    assert twin.finish() == expected
    for again in (stream, twin):
        again.reset()
        again.step(rows)
        assert again.finish() == expected
    for other in (decoder.stream(), decoder.stream(HOTWORDS[2])):
        with pytest.raises(tinyseq.StateError, match="hotwords"):
            other.restore(saved)


STRINGS = tinyseq.CtcBeamSearch(vocabulary=list("_ab"), word_separator=None)
REFUSED = {
    "greedy": (tinyseq.CtcGreedy(vocabulary=list("_ab")), dict(hotwords=["a"]), "CtcGreedy knows no"),
    "greedy transducer": (tinyseq.TransducerGreedy(), dict(hotwords=[[1]]), "TransducerGreedy knows no"),
    "no vocabulary": (tinyseq.CtcBeamSearch(), dict(hotwords=["a"]), "a vocabulary"),
    "one of other letters": (STRINGS, dict(hotwords=["ab", "xa"]), "'xa' cannot be spelt .*; leave it out"),
    "some of other letters": (STRINGS, dict(hotwords=["x", "a", "ay"]), "'x', .ay. cannot .*these 2"),
    "a text": (STRINGS, dict(hotwords="ab"), "hotwords is a collection"),
    "nothing": (STRINGS, dict(hotwords=[""]), "'' is empty"),
    "a number": (STRINGS, dict(hotwords=[3]), "a hotword is a string or"),
    "no weight": (STRINGS, dict(hotwords={"a": "1"}), "the weight of the hotword 'a' is a number"),
    "no weight of all": (STRINGS, dict(hotwords=["a"], hotword_weight=np.nan), "hotword_weight is a number"),
    "the blank": (STRINGS, dict(hotwords=[[0]]), "holds the blank"),
    "a token beyond": (STRINGS, dict(hotwords=[[7]]), "names token 7, a row has 3 numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    options, given, reason = REFUSED[case]
    with pytest.raises(tinyseq.OptionError, match=reason):
        made(options).stream(**given)


def test_a_token_beyond_the_rows_is_refused_with_the_first_of_them():
    decoder = tinyseq.CtcDecoder()
    stream = decoder.stream([[1, 9]])
    with pytest.raises(tinyseq.OptionError, match=r"\(1, 9\) names token 9, a row has 3 numbers"):
        stream.step(test_ctc.peaked(4, 3, 0))


def test_letters_of_others_leave_nothing_behind():
    decoder = tinyseq.CtcDecoder(STRINGS)
    spelling = decoder._search(3)._spelling
    before = dict(spelling._symbols)
    for letter in map(chr, range(1000, 1100)):
        with pytest.raises(tinyseq.OptionError, match="cannot be spelt"):
            decoder.stream([letter])
    assert spelling._symbols == before


def test_a_recogniser_has_streams_with_hotwords():
    session = tinyseq.load(recogniser(4))
    search = tinyseq.CtcBeamSearch(vocabulary=["_", *"abcd"], word_separator=None, scores="probabilities")
    recognizer = recogniser_with(session, decoder=tinyseq.CtcDecoder(search))
    hot = recogniser_with(session, decoder=tinyseq.CtcDecoder(replace(search, hotwords={"ab": 5.0})))
    waveform = sound(200)
    streams = [recognizer.create_stream(), recognizer.create_stream({"ab": 5.0}), hot.create_stream()]
    for stream in streams:
        stream.accept_waveform(16_000, waveform)
    run_out(recognizer, *streams[:2])
    run_out(hot, streams[2])
    plain, own, given = (
        one.get_result(stream) for one, stream in zip((recognizer, recognizer, hot), streams)
    )
    assert own.hypothesis == given.hypothesis != plain.hypothesis
    twin = streams[1].fork()
    twin.restore(streams[1].snapshot())
    assert recognizer.get_result(twin) == own
    with pytest.raises(tinyseq.OptionError, match="'x' cannot be spelt"):
        recognizer.create_stream(["x"])
