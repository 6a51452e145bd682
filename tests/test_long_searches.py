"""Searches that take long are made of native calls that do not."""

from __future__ import annotations

import numpy as np
import pytest

import tinyseq
from tests.test_decoder import OPTIONS, decoder_graph
from tinyseq.decode.frames import decoder as frame_decoder
from tinyseq.decode.generation import search


@pytest.mark.parametrize("options", [tinyseq.CtcGreedy(), tinyseq.CtcBeamSearch(4)])
def test_long_chunks_are_taken_in_pieces(monkeypatch, options):
    """With the same results; what ends in between, a signal or a row that is refused, has changed nothing."""
    logp = np.log(np.random.default_rng(0).dirichlet(np.ones(5), 400)).astype(np.float32)
    whole = tinyseq.CtcDecoder(options).decode(logp)
    monkeypatch.setattr(frame_decoder, "LONG", 0)
    decoder = tinyseq.CtcDecoder(options)
    stream = decoder.stream()
    stream.step(logp[:100])
    logp[300] = np.nan
    with pytest.raises(tinyseq.FeedError, match="row 200 of sequence 0"):
        stream.step(logp[100:])
    assert stream.frames == 100
    logp = np.log(np.random.default_rng(0).dirichlet(np.ones(5), 400)).astype(np.float32)
    steps, step = [], type(decoder._search(5)).step

    def interrupted(*given):
        steps.append(given)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return step(*given)

    with monkeypatch.context() as patch:
        patch.setattr(type(decoder._search(5)), "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stream.step(logp[100:])
    assert stream.frames == 100
    stream.step(logp[100:])
    assert stream.finish() == whole


@pytest.mark.parametrize("method", [tinyseq.Greedy, tinyseq.Beam])
@pytest.mark.parametrize("seconds", [0, 1e-5, 100])
def test_native_calls_of_a_generation_end_in_time(monkeypatch, method, seconds):
    """However many tokens a call may choose, they are the same."""
    options = method(**OPTIONS)
    feeds = {"h": np.zeros((1, 2, 6), np.float32)}
    expected = tinyseq.generate(tinyseq.Decoder(tinyseq.load(decoder_graph())), feeds, options)
    monkeypatch.setattr(search, "CALL_SECONDS", seconds)
    found = tinyseq.generate(tinyseq.Decoder(tinyseq.load(decoder_graph())), feeds, options)
    assert found == expected
