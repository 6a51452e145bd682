"""Snapshots of decoders' streams: they go on where they were, and damaged ones are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests import test_ctc, test_transducer
from tests.test_ctc import ARPA, SEEDS, VOCABULARY, AskedNgrams, fed, peaked
from tests.test_transducer import TABLE, spoken

MAKERS = {f"CTC, {name}": make for name, make in test_ctc.KINDS.items()}
MAKERS |= {f"transducer, {name}": make for name, make in test_transducer.KINDS.items()}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tinyseq.read_arpa(ARPA.write(tmp_path_factory.mktemp("lm") / "words.arpa"))


def made(options) -> tinyseq.CtcDecoder | tinyseq.TransducerDecoder:
    if isinstance(options, (tinyseq.CtcGreedy, tinyseq.CtcBeamSearch)):
        return tinyseq.CtcDecoder(options)
    return tinyseq.TransducerDecoder(TABLE, options)


def rows_for(decoder, frames: int, seed: int) -> np.ndarray:
    is_ctc = isinstance(decoder, tinyseq.CtcDecoder)
    return peaked(frames, len(VOCABULARY), seed) if is_ctc else spoken(frames, seed)


@pytest.fixture(params=MAKERS)
def make(request, model):
    """Makes a decoder, each time anew."""
    return lambda: made(MAKERS[request.param](model))


@given(seed=SEEDS, before=st.integers(0, 150), after=st.integers(0, 80))
def test_a_restored_stream_goes_on_in_another_decoder(make, seed, before, after):
    decoder = make()
    x = rows_for(decoder, before + after, seed)
    stream = fed(decoder.stream(), [x[:before]])
    data = stream.snapshot().to_bytes()
    twin = make().stream()
    twin.step(x[-1:])
    twin.restore(tinyseq.State.from_bytes(data))
    assert (twin.frames, twin.partial(), twin.finish()) == (before, stream.partial(), stream.finish())
    assert twin.snapshot().to_bytes() == data
    stream.step(x[before:])
    twin.step(x[before:])
    assert twin.finish() == stream.finish() == decoder.decode(x)


def test_a_stream_that_was_fed_nothing(make):
    decoder = make()
    stream = fed(decoder.stream(), [rows_for(decoder, 9, 0)])
    stream.restore(tinyseq.State.from_bytes(decoder.stream().snapshot().to_bytes()))
    assert (stream.frames, stream.finish()) == (0, decoder.stream().finish())


@given(seed=SEEDS, data=st.data())
def test_a_damaged_snapshot_is_refused_or_harmless(make, seed, data):
    """Whatever number is changed: a stream that takes it goes on without a crash."""
    decoder = make()
    stream = fed(decoder.stream(), [rows_for(decoder, 70, seed)])
    saved = {name: np.array(array) for name, array in stream.snapshot().items()}
    before = stream.partial(), stream.finish()
    name = data.draw(st.sampled_from(sorted(saved)))
    damaged = saved[name].reshape(-1).view(np.uint8).view(np.int32)
    for _ in range(data.draw(st.integers(1, 2))):
        if damaged.size:
            place = data.draw(st.integers(0, damaged.size - 1))
            damaged[place] = data.draw(st.sampled_from([-1, 0, 1, 2, 3, 7, 10**6, 2**31 - 1, -(2**31)]))
    try:
        stream.restore(saved)
    except tinyseq.StateError:
        assert (stream.partial(), stream.finish()) == before
        return
    stream.partial()
    try:
        stream.step(rows_for(decoder, 140, seed))
    except tinyseq.FeedError:
        return
    stream.finish()


def test_other_searches_are_refused(model):
    streams = {name: fed((own := made(make(model))).stream(), [rows_for(own, 20, 0)])
               for name, make in MAKERS.items()}  # fmt: skip
    for name, stream in streams.items():
        for other, one in streams.items():
            if name != other:
                with pytest.raises(tinyseq.StateError):
                    stream.restore(one.snapshot())
    for wrong in (None, {}, {"size": np.array(3)}, {"size": np.array(-1)}, {"size": np.zeros(3)}):
        with pytest.raises(tinyseq.StateError):
            stream.restore(wrong)


def test_a_model_that_is_asked_cannot_be_saved(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "kenlm", AskedNgrams(ARPA.proper()))
    options = tinyseq.CtcBeamSearch(
        lm=tinyseq.read_kenlm(ARPA.write(tmp_path / "lm.arpa"), ["a"]), vocabulary=VOCABULARY
    )
    stream = fed(tinyseq.CtcDecoder(options).stream(), [peaked(9, len(VOCABULARY), 0)])
    with pytest.raises(tinyseq.StateError, match="read_kenlm"):
        stream.snapshot()


OTHERS = {
    "another blank": (tinyseq.CtcGreedy(blank=0), tinyseq.CtcGreedy(blank=1)),
    "other strings": (
        tinyseq.CtcGreedy(vocabulary=VOCABULARY),
        tinyseq.CtcGreedy(vocabulary=VOCABULARY[::-1]),
    ),
    "other hotwords": (tinyseq.CtcBeamSearch(hotwords=[[1]]), tinyseq.CtcBeamSearch(hotwords=[[2]])),
    "another temperature": (
        tinyseq.TransducerGreedy(temperature=1.0),
        tinyseq.TransducerGreedy(temperature=2.0),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_stream_of_other_options_is_refused(name):
    one, other = map(made, OTHERS[name])
    stream, twin = (fed(each.stream(), [rows_for(each, 9, 0)]) for each in (one, other))
    before = twin.snapshot().to_bytes()
    with pytest.raises(tinyseq.StateError, match="of other options or models"):
        twin.restore(stream.snapshot())
    assert twin.snapshot().to_bytes() == before
