"""What tables ``[speech.NAME]`` of ``serve.toml`` may say, and what is made of them."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

import tinyseq
from tests.ctc_oracle import NaiveNgrams
from tests.documents import ROOT, blocks
from tests.models import recogniser
from tests.serve import telegraph
from tests.transducers import transducer
from tinyseq.serve import Config, read_config
from tinyseq.speech import Endpointing, VoiceDetector
from tinyseq.speech.voice_detector import MODEL


@pytest.fixture
def folder(tmp_path):
    telegraph.write(tmp_path)
    return tmp_path


def sources(folder, text: str, base: Config | None = None) -> dict:
    (folder / "serve.toml").write_text(text)
    return {source.name: source for source in read_config(folder / "serve.toml", base).speech}


def said(recognizer: tinyseq.Recognizer, samples: np.ndarray) -> str:
    stream = recognizer.create_stream()
    stream.accept_waveform(16_000, samples)
    stream.input_finished()
    while recognizer.is_ready(stream):
        recognizer.decode(stream)
    return recognizer.get_result(stream).text


RECOGNIZER = telegraph.TABLE.split("[speech.telegraph.endpointing]")[0]


def test_a_recogniser_with_all_that_it_may_have(folder):
    NaiveNgrams.random(["bad", "cafe", "deed", "fed"], 2, np.random.default_rng(0)).write(folder / "lm.arpa")
    (folder / "words.txt").write_text("bad\nfed\ncafe\ndeed")
    found = sources(
        folder,
        RECOGNIZER
        + """lexicon = "words.txt"
        lm = "lm.arpa"
        alpha = 0.0
        beam_width = 20
        token_min_logp = -inf
        hotwords = {fed = 2.0}
        [speech.telegraph.endpointing]
        rule2_min_trailing_silence = 0.75
        """,
    )["telegraph"]
    assert (found.kind, found.language, found.aliases) == ("recognizer", "en", ("gpt-4o-transcribe",))
    recognizer = found.load()
    options = recognizer.decoder.options
    assert options.lexicon == ("bad", "fed", "cafe", "deed") and options.beam_width == 20
    assert options.hotwords == {"fed": 2.0} and options.lm is not None
    assert recognizer.endpointing == Endpointing(rule2_min_trailing_silence=0.75)
    assert said(recognizer, telegraph.sound("bad cafe")) == "bad cafe"


def test_paths_are_those_beside_the_file(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert said(sources(folder, RECOGNIZER)["telegraph"].load(), telegraph.sound("fed")) == "fed"


def test_how_samples_lie_follows_from_the_model_or_is_told(folder):
    (folder / "gru.onnx").write_bytes(recogniser(4))
    head = '[speech.gru]\nmodel = "gru.onnx"\nchunk = 20\nframe_seconds = 0.1\n'
    tail = '[speech.gru.decoder]\nvocabulary = "five.txt"\nscores = "probabilities"\n'
    (folder / "five.txt").write_text("_\na\nb\nc\nd")
    found = sources(folder, head + tail)["gru"].load()
    (feeds,) = found.front_end().push(np.arange(20, dtype=np.float32))
    assert feeds["x"].shape == (5, 1, 4) and feeds["x"].ravel().tolist() == list(range(20))
    sources(folder, head + "shape = [5, 1, 4]\n" + tail)["gru"].load()
    for shape, reason in (("[3, 3]", "cannot lie as"), ("[-1, -1, 4]", "cannot lie as")):
        with pytest.raises(tinyseq.OptionError, match=f"speech.gru: .*{reason}"):
            sources(folder, head + f"shape = {shape}\n" + tail)["gru"].load()
    with pytest.raises(tinyseq.OptionError, match="shape is needed"):
        sources(folder, RECOGNIZER.replace("shape", "#"))["telegraph"].load()


def test_a_voice_detector(folder):
    shutil.copy(MODEL, folder / "vad.tinyseq")
    text = '[speech.a]\nkind = "voice"\n[speech.b]\nkind = "voice"\nmodel = "vad.tinyseq"\nthreshold = 0.7\n'
    found = sources(folder, text)
    a, b = (found[name].load() for name in "ab")
    assert isinstance(a, VoiceDetector) and (a.options.threshold, b.options.threshold) == (0.5, 0.7)


def test_constants_are_given_to_other_inputs(folder):
    g = tinyseq.Graph()
    x, gain = g.input("x", [1, 4]), g.input("gain", [], np.float32)
    g.output("logp", g.apply("LogSoftmax", g.apply("Mul", x, gain), axis=-1))
    tinyseq.load(g).save(folder / "gained.tinyseq")
    (folder / "four.txt").write_text("_\na\nb\nc")
    head = '[speech.g]\nmodel = "gained.tinyseq"\nchunk = 4\nframe_seconds = 0.1\n'
    tail = '[speech.g.decoder]\nvocabulary = "four.txt"\n'
    found = sources(folder, head + "constants = {gain = 3}\n" + tail)["g"].load()
    (feeds,) = found.front_end().push(np.ones(4, np.float32))
    assert feeds["gain"] == 3 and feeds["gain"].dtype == np.float32 and feeds["x"].shape == (1, 4)
    for line, reason in (
        ("", "input says which is the sound"),
        ("constants = {volume = 3}\n", "the model takes x, gain"),
        ('constants = {gain = "loud"}\n', "constants.gain is 'loud'"),
    ):
        with pytest.raises(tinyseq.OptionError, match=reason):
            sources(folder, head + line + tail)["g"].load()


def test_a_factory_beside_the_file_makes_anything_else(folder):
    (folder / "own_speech.py").write_text(
        "import tinyseq.speech\n"
        "def detector(threshold): return tinyseq.speech.VoiceDetector(threshold=threshold)\n"
        "def nothing(): return 3\n"
    )
    text = '[speech.own]\nkind = "voice"\nfactory = "own_speech:FUNCTION"\n'
    made = sources(folder, text.replace("FUNCTION", "detector") + "options = {threshold = 0.8}\n")[
        "own"
    ].load()
    assert made.options.threshold == 0.8 and str(folder) not in sys.path
    for function, reason in (("nothing", "factory gave int"), ("missing", "must be module:function")):
        with pytest.raises(tinyseq.OptionError, match=reason):
            sources(folder, text.replace("FUNCTION", function))["own"].load()
    with pytest.raises(tinyseq.OptionError, match="cannot import no_such_module"):
        sources(folder, text.replace("own_speech", "no_such_module"))["own"].load()


def test_a_transducer(folder):
    transducer("stateless").save(folder / "transducer")
    (folder / "six.txt").write_text("_\na\nb\nc\nd\ne")
    text = """
    [speech.t]
    transducer = "transducer"
    chunk = 12
    frame_seconds = 0.04
    [speech.t.decoder]
    vocabulary = "six.txt"
    beam_width = 3
    """
    found = sources(folder, text)["t"].load()
    assert isinstance(found.decoder, tinyseq.TransducerDecoder) and found.decoder.options.beam_width == 3
    assert said(found, np.random.default_rng(0).normal(0, 1, 240).astype(np.float32)) is not None


WRONG = {
    "kind": (RECOGNIZER.replace("chunk", 'kind = "x"\nchunk'), "speech.telegraph.kind is 'x'"),
    "unknown": (
        RECOGNIZER.replace("chunk", "speed = 1\nchunk"),
        "telegraph.speed is unknown; there are kind",
    ),
    "a key of the search": (RECOGNIZER + "speed = 1", "decoder.speed is unknown; there are search, start"),
    "of another search": (RECOGNIZER + 'search = "greedy"\nbeam_width = 3', "decoder.beam_width is unknown"),
    "search": (RECOGNIZER + 'search = "x"', "decoder.search is 'x'"),
    "no model": (RECOGNIZER.replace("model =", "input ="), "model or transducer is needed"),
    "no chunk": (RECOGNIZER.replace("chunk = 320", ""), "chunk is missing: how many samples"),
    "chunk": (RECOGNIZER.replace("chunk = 320", "chunk = 0"), "chunk is 0"),
    "an endpoint": (telegraph.TABLE + "rule9 = 1", "endpointing.rule9 is unknown"),
    "of a detector": ('[speech.v]\nkind = "voice"\nchunk = 3', "speech.v.chunk is unknown"),
    "a name": ('[speech."a/b"]\nkind = "voice"', "cannot be the name"),
    "no table": ("speech = 3", "speech is 3 and must be a table"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_when_the_file_is_read(folder, case):
    text, reason = WRONG[case]
    with pytest.raises(tinyseq.OptionError, match=r"serve\.toml: ") as refused:
        sources(folder, text)
    assert reason in str(refused.value)


LATER = {
    "no vocabulary": (RECOGNIZER.replace("vocabulary", "#"), "what is served are texts"),
    "no file": (RECOGNIZER.replace("telegraph.tinyseq", "none.onnx"), "none.onnx"),
    "no such words": (RECOGNIZER + 'lexicon = "none.txt"', "none.txt"),
    "an option": (RECOGNIZER + "beam_width = 0", "beam_width"),
    "an output": (RECOGNIZER.replace("chunk", 'output = "z"\nchunk'), "the model gives logp"),
    "no ARPA file": (RECOGNIZER + 'lm = "tokens.bin"', "is no ARPA file"),
    "of a detector": ('[speech.v]\nkind = "voice"\nthreshold = 2', "threshold"),
}


def test_the_tables_of_the_documentation(folder):
    shown = [block.text for block in blocks(ROOT / "docs" / "serving-speech.md") if block.language == "toml"]
    assert list(sources(folder, shown[0])) == ["commands", "vad"]
    assert list(sources(folder, shown[1])) == ["own"]


@pytest.mark.parametrize("case", LATER)
def test_what_is_wrong_is_named_when_it_is_loaded(folder, case):
    (folder / "tokens.bin").write_bytes(b"mmap lm http://kheafield.com/code format version")
    text, reason = LATER[case]
    (source,) = sources(folder, text).values()
    with pytest.raises(tinyseq.OptionError, match=f"speech.{source.name}") as refused:
        source.load()
    assert reason in str(refused.value)


def test_streams_go_on_where_all_that_decides_results_is_the_same(folder):
    """The fingerprint of tokens: no path and no address in it."""
    from tinyseq.serve.speech.served import _fingerprint

    def told(text: str) -> str:
        (source,) = sources(folder, text).values()
        return _fingerprint(source.load())

    texts = [
        RECOGNIZER,
        RECOGNIZER + "beam_width = 3",
        RECOGNIZER.replace("frame_seconds = ", "frame_seconds = 1"),
        '[speech.v]\nkind = "voice"',
        '[speech.v]\nkind = "voice"\nthreshold = 0.4',
    ]
    found = [told(text) for text in texts]
    assert len(set(found)) == len(found) and found == [told(text) for text in texts]
    assert json.dumps(found)
