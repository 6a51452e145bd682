"""Transducer searches over models in the forms that toolkits export."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tinyseq
from tests.transducer_oracle import plain_beam_search, plain_greedy
from tests.transducers import (
    FEATURES,
    FORMS,
    FRAME,
    OUTPUT,
    TOKENS,
    Drawn,
    encoder,
    joined,
    nemo_whole,
    recurrent,
    stateless,
    transducer,
    written,
)
from tinyseq.tools.cli import main
from tinyseq.tools.console import FINE, UNREADABLE, USAGE


def frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (count, FRAME)).astype(np.float32)


@pytest.mark.parametrize("kind", ["", "LogSoftmax", "Softmax"])
@pytest.mark.parametrize("form", FORMS)
def test_searches_are_those_that_users_write(isa, form, kind):
    given, x = transducer(form, kind=kind), frames(15)
    bare = transducer(form)
    (found,) = tinyseq.transducer_greedy(given, x, max_symbols=2)
    tokens, score, places = plain_greedy(written(bare, form, x), 2)
    assert (found.tokens, found.frames) == (tokens, places)
    assert abs(found.score - score) <= 1e-4
    hypotheses = tinyseq.transducer_beam_search(given, x, 3, nbest=3, length_norm=False)
    expected = plain_beam_search(written(bare, form, x), 3)
    assert [tuple(hypothesis.tokens) for hypothesis in hypotheses] == [tokens for tokens, _ in expected]
    np.testing.assert_allclose([h.score for h in hypotheses], [score for _, score in expected], atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_the_reference_hears_the_same(form):
    x = frames(20, 1)
    for search in (tinyseq.transducer_greedy, tinyseq.transducer_beam_search):
        here, there = (search(transducer(form, device=device), x)[0] for device in ("cpu", "reference"))
        assert (here.tokens, here.frames) == (there.tokens, there.frames)
        assert abs(here.score - there.score) <= 1e-4


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "options", [tinyseq.TransducerGreedy(max_symbols=2), tinyseq.TransducerBeamSearch(3, nbest=3)]
)
def test_same_bits_in_chunks_in_batches_and_beside_others(isa, form, options):
    decoder = tinyseq.TransducerDecoder(transducer(form), options)
    batch = [frames(length, length) for length in (40, 0, 7, 23, 1)]
    expected = [decoder.decode(x) for x in batch]
    streams = [decoder.stream() for _ in batch]
    for start in range(0, 40, 6):
        decoder.step(streams, [x[start : start + 6] for x in batch])
    assert [stream.finish() for stream in streams] == expected
    padded = np.zeros((5, 40, FRAME), np.float32)
    for row, x in zip(padded, batch):
        row[: len(x)] = x
    assert decoder.decode(padded, [len(x) for x in batch]) == expected


def quantised(g: tinyseq.Graph, x: str, size: int, outputs: int) -> str:
    """A product of bytes whose range is that of all rows."""
    x, scale, zero = g.apply("DynamicQuantizeLinear", x, outputs=3)
    w = np.random.default_rng(0).integers(-128, 127, (size, outputs)).astype(np.int8)
    product = g.apply("Cast", g.apply("MatMulInteger", x, g.constant(w), zero), to=np.dtype(np.float32))
    return g.mul(g.mul(product, scale), 0.02)


@pytest.mark.parametrize("part", ["predictor", "joiner"])
def test_a_dynamically_quantised_model_sees_one_row_at_a_time(part):
    weights = Drawn(0)
    predictor, joiner = recurrent(weights), joined(weights)
    g = tinyseq.Graph()
    if part == "joiner":
        both = [g.input("encoder_out", ["N", FRAME]), g.input("decoder_out", ["N", OUTPUT])]
        g.output("logit", quantised(g, g.concat(both, 1), FRAME + OUTPUT, TOKENS))
        joiner = g
    else:
        y = g.input("y", ["N", 3], np.int64)
        x = g.reshape(g.embedding(g.apply("Max", y, np.array(0)), weights(TOKENS, 4)), [-1, 12])
        g.output("decoder_out", quantised(g, x, 12, OUTPUT))
        predictor = g
    given = tinyseq.Transducer(tinyseq.load(predictor), tinyseq.load(joiner))
    for options in (tinyseq.TransducerGreedy(max_symbols=2), tinyseq.TransducerBeamSearch(5, nbest=5)):
        decoder = tinyseq.TransducerDecoder(given, options)
        batch = np.stack([frames(20, seed) for seed in range(3)])
        assert decoder.decode(batch) == [decoder.decode(x) for x in batch]
    hypotheses = tinyseq.transducer_beam_search(given, batch[0], 3, nbest=3, length_norm=False)
    if part == "predictor":
        expected = plain_beam_search(written(given, "three tokens", batch[0]), 3)
        assert [tuple(hypothesis.tokens) for hypothesis in hypotheses] == [tokens for tokens, _ in expected]


def test_a_folder_holds_a_transducer(tmp_path, capsys):
    given = transducer("stateless")
    features = np.random.default_rng(0).normal(0, 1, (2, 12, FEATURES)).astype(np.float32)
    given.save(tmp_path / "models")
    loaded = tinyseq.Transducer.load(tmp_path / "models")
    x = loaded.encode({"x": features})
    np.testing.assert_array_equal(x, given.encode({"x": features}))
    expected = tinyseq.transducer_beam_search(given, x, nbest=2)
    assert tinyseq.transducer_beam_search(loaded, x, nbest=2) == expected
    np.savez(tmp_path / "feeds.npz", x=features)
    folder, inputs = str(tmp_path / "models"), ["--inputs", str(tmp_path / "feeds.npz")]
    assert main(["decode", folder, *inputs, "--nbest", "2", "--json"]) == FINE
    sequences = json.loads(capsys.readouterr().out)["sequences"]
    assert [[h["tokens"] for h in best] for best in sequences] == [[h.tokens for h in b] for b in expected]
    assert [[h["score"] for h in best] for best in sequences] == [[h.score for h in b] for b in expected]
    greedy = ["--greedy", "--max-symbols", "2", "--blank-penalty", "0.5", "--lengths", "12,3"]
    assert main(["decode", folder, *inputs, *greedy, "--start=-1,0"]) == FINE
    found = tinyseq.transducer_greedy(given, x, max_symbols=2, blank_penalty=0.5, lengths=[12, 3])
    printed = capsys.readouterr().out.splitlines()
    assert printed == [" ".join(map(str, best.tokens)) for (best,) in found]
    for arguments, status, words in (
        ([folder, *inputs, "--greedy", "--beam-width", "3"], USAGE, "--beam-width"),
        ([folder, *inputs, "--tokens-per-frame", "3"], USAGE, "--tokens-per-frame"),
        ([folder, *inputs, "--scores", "logits"], USAGE, "--scores"),
        ([folder, *inputs, "--start", "0"], UNREADABLE, "sees 2 tokens"),
        ([str(tmp_path)], UNREADABLE, "begins with"),
    ):
        assert main(["decode", *arguments]) == status
        assert words in capsys.readouterr().err
    (tmp_path / "models" / "encoder.tinyseq").rename(tmp_path / "models" / "joiner2.tinyseq")
    with pytest.raises(tinyseq.ModelError, match="joiner2"):
        tinyseq.Transducer.load(tmp_path / "models")
    (tmp_path / "models" / "joiner2.tinyseq").unlink()
    assert main(["decode", folder, *inputs]) == USAGE
    assert "no encoder" in capsys.readouterr().err


def test_a_recogniser_hears_with_a_transducer():
    given = transducer("recurrent")
    decoder = tinyseq.TransducerDecoder(given)
    feeds = lambda samples: {"x": samples.reshape(1, 5, FEATURES)}  # noqa: E731
    front_end = lambda: tinyseq.Chunks(5 * FEATURES, feeds)  # noqa: E731
    recognizer = tinyseq.Recognizer(given.encoder, front_end, decoder, 0.01)
    sounds = [np.random.default_rng(n).normal(0, 1, n * 5 * FEATURES).astype(np.float32) for n in (9, 4)]
    streams = [recognizer.create_stream() for _ in sounds]
    for stream, sound in zip(streams, sounds):
        stream.accept_waveform(16_000, sound)
        stream.input_finished()
    while any(map(recognizer.is_ready, streams)):
        recognizer.decode(streams)
    for stream, sound in zip(streams, sounds):
        (expected,) = decoder.decode(given.encode({"x": sound.reshape(1, -1, FEATURES)}))[0]
        assert recognizer.get_result(stream).hypothesis == expected


WEIGHTS = Drawn(1)
NO_ROWS, THREE, FIXED = tinyseq.Graph(), tinyseq.Graph(), tinyseq.Graph()
NO_ROWS.output("logit", NO_ROWS.add(NO_ROWS.input("enc", [1, 4]), NO_ROWS.input("dec", [1, 4])))
for name in "abc":
    THREE.input(name, ["N", 4])
THREE.output("logit", THREE.add("a", "b"))
FIXED.output("out", FIXED.embedding(FIXED.input("y", [1, 2], np.int64), WEIGHTS(4, 4)))
FOUR = tinyseq.Graph()
FOUR.output("out", FOUR.embedding(FOUR.input("y", ["N"], np.int64), WEIGHTS(4, 4)))
REFUSED = {
    "start of another length": (stateless(WEIGHTS), joined(WEIGHTS), dict(start=[0]), "sees 2"),
    "no start": (stateless(WEIGHTS), joined(WEIGHTS), dict(start=[]), "sees 2"),
    "unknown tokens": (stateless(WEIGHTS), joined(WEIGHTS), dict(tokens="z"), "tokens="),
    "unknown output": (stateless(WEIGHTS), joined(WEIGHTS), dict(output="z"), "output="),
    "unknown frame": (stateless(WEIGHTS), joined(WEIGHTS), dict(frame="z"), "frame="),
    "joiner without rows": (stateless(WEIGHTS), NO_ROWS, {}, "open batch size"),
    "joiner of three": (stateless(WEIGHTS), THREE, {}, "must take a frame"),
    "predictor of another size": (FOUR, joined(WEIGHTS), {}, "gives 4 numbers"),
    "predictor without rows": (FIXED, joined(WEIGHTS), {}, "rows left open"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_models_that_do_not_fit_are_refused(case):
    predictor, joiner, options, words = REFUSED[case]
    with pytest.raises(tinyseq.ModelError, match=words):
        tinyseq.Transducer(tinyseq.load(predictor), tinyseq.load(joiner), **options)


@pytest.mark.parametrize("option", [{"kind": "z"}, {"start": "ab"}, {"feeds": []}], ids=str)
def test_options_of_another_kind_are_refused(option):
    with pytest.raises(tinyseq.OptionError, match=next(iter(option))):
        tinyseq.Transducer(tinyseq.load(stateless(WEIGHTS)), tinyseq.load(joined(WEIGHTS)), **option)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_nemo_has_predictor_and_joiner_in_one_file(device, tmp_path):
    whole = tinyseq.load(nemo_whole(Drawn(0)), device=device)
    apart, x = transducer("nemo", device=device), frames(15)
    for given in (tinyseq.Transducer(whole), tinyseq.Transducer(whole, feeds={"target_length": [1]})):
        assert given.vocabulary_size == TOKENS and given.frame_size == FRAME
        for search in (
            lambda one: tinyseq.transducer_greedy(one, x),
            lambda one: tinyseq.transducer_beam_search(one, x, 3, nbest=3),
        ):
            found, wanted = search(given), search(apart)
            assert [(h.tokens, h.frames) for h in found] == [(h.tokens, h.frames) for h in wanted]
            np.testing.assert_allclose([h.score for h in found], [h.score for h in wanted], atol=1e-4)
    if device == "cpu":
        whole.save(tmp_path / "decoder_joint-model.tinyseq")
        loaded = tinyseq.Transducer.load(tmp_path)
        assert tinyseq.transducer_greedy(loaded, x) == tinyseq.transducer_greedy(given, x)
        loaded.save(tmp_path / "apart")
        again = tinyseq.Transducer.load(tmp_path / "apart")
        assert tinyseq.transducer_greedy(again, x) == tinyseq.transducer_greedy(given, x)


def two_borders(weights: Drawn) -> tinyseq.Graph:
    g = tinyseq.Graph()
    y = g.embedding(g.input("y", ["N"], np.int64), weights(TOKENS, FRAME))
    frame = g.input("encoder_out", ["N", FRAME])
    g.output("logit", g.add(g.mul(frame, y), g.tanh(y)))
    return g


def frames_in_state(weights: Drawn) -> tinyseq.Graph:
    g = tinyseq.Graph()
    y, h = g.input("y", ["N"], np.int64), g.input("h", ["N", FRAME])
    following = g.add(g.add(h, g.input("encoder_out", ["N", FRAME])), g.embedding(y, weights(TOKENS, FRAME)))
    g.output("h_next", following, carries="h")
    g.output("logit", g.tanh(following))
    return g


NOT_BOTH = {
    "two borders": (two_borders, "its parts meet in"),
    "frames in the state": (frames_in_state, "frames change no state"),
    "no frame": (stateless, "give the joiner too"),
    "no tokens": (encoder, "which is for the last token"),
}


@pytest.mark.parametrize("case", NOT_BOTH)
def test_one_file_that_is_not_both_is_refused(case):
    make, words = NOT_BOTH[case]
    with pytest.raises(tinyseq.ModelError, match=words):
        tinyseq.Transducer(tinyseq.load(make(WEIGHTS)))


def test_feeds_of_a_predictor_are_of_one_row():
    g = tinyseq.Graph()
    context = g.input("context", ["N", OUTPUT])
    table = g.embedding(g.input("y", ["N", 1], np.int64), WEIGHTS(TOKENS, OUTPUT))
    y, _ = g.gru(g.transpose(table, [1, 0, 2]), hidden_weights(), layout="torch")
    g.output("decoder_out", g.add(g.squeeze(y, [0]), context))
    predictor, joiner = tinyseq.load(g), tinyseq.load(joined(WEIGHTS))
    for rows, refusal in ((1, None), (2, "feeds of a predictor are of one row, not of 2")):
        feeds = {"context": np.zeros((rows, OUTPUT), np.float32)}
        if refusal is None:
            tinyseq.Transducer(predictor, joiner, feeds=feeds)
        else:
            with pytest.raises(tinyseq.FeedError, match=refusal):
                tinyseq.Transducer(predictor, joiner, feeds=feeds)


def hidden_weights() -> list[np.ndarray]:
    """Of a GRU of as many units as features."""
    return [WEIGHTS(3 * OUTPUT, OUTPUT), WEIGHTS(3 * OUTPUT, OUTPUT), *[WEIGHTS(3 * OUTPUT)] * 2]
