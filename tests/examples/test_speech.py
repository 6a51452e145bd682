"""The demonstration speech: digits, numbers, cards and commands, live."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from tinyseq.demo import audio
from tinyseq.demo.speech import evaluate, grammar, language_model, listener, recordings, run, sets
from tinyseq.demo.speech.data import plan_flite, plan_kokoro
from tinyseq.demo.speech.microphone import microphone
from tinyseq.demo.speech.recognizer import CHUNK, CLIP, LANGUAGE_MODEL, MODEL, RATE, SEARCHES, recognizer

import tinyseq
from tinyseq.errors import AudioError, MissingPackageError

SAID = ["two", "nine", "three", "four", "zero", "go", "right", "four", "queen", "of", "clubs"]
"""What three people say in the clip."""
MOST_WRONG = 0
EXPECTED = Path(__file__).with_name("speech_expected.npz")


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return audio.read(CLIP).samples


@pytest.fixture(scope="module")
def recogniser() -> tinyseq.Recognizer:
    return recognizer()


def listened(recogniser: tinyseq.Recognizer, samples: np.ndarray, size: int, tells=None) -> listener.Listener:
    """A listener that heard sound in chunks of a size."""
    heard = listener.Listener(recogniser, tells or listener.Silent())
    heard.hear(samples[at : at + size] for at in range(0, len(samples), size))
    return heard


# the command


def test_the_clip_is_recognised(capsys):
    assert run.main(["--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    words = [word for each in report["utterances"] for word in each["words"]]
    assert evaluate.errors(SAID, [word["word"] for word in words]) <= MOST_WRONG
    assert len(report["utterances"]) == 3
    times = [(word["start"], word["end"]) for word in words]
    assert all(start < end for start, end in times) and times == sorted(times)
    assert report["seconds"] == pytest.approx(9.73, abs=0.01)


def test_lines_tell_what_is_certain_and_what_may_change(capsys):
    assert run.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(" s  > " in line for line in lines) and any("[" in line and "]" in line for line in lines)
    assert f"{len(grammar.WORDS)} words are known" in lines[-1] and "real-time factor" in lines[-2]


def test_a_terminal_has_one_line_that_grows(recogniser, clip, capsys):
    listened(recogniser, clip[: 4 * RATE], CHUNK, listener._Terminal())
    out = capsys.readouterr().out
    assert out.count("\n") == 2 and listener.ANEW in out and listener.STABLE in out


def test_own_sound_of_any_rate_is_heard(capsys, tmp_path, clip):
    soundfile.write(tmp_path / "own.wav", clip[::2], RATE // 2)
    assert run.main(["--json", "--wav", str(tmp_path / "own.wav"), "--plot", str(tmp_path / "a.png")]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] == pytest.approx(9.73, abs=0.01)
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_silence_has_no_words(recogniser):
    assert listened(recogniser, np.zeros(RATE, np.float32), CHUNK).utterances == []


def test_the_words_are_listed(capsys):
    assert run.main(["--words"]) == 0
    assert capsys.readouterr().out.split() == grammar.WORDS


# live


@pytest.mark.parametrize("search", SEARCHES)
def test_any_cut_of_the_sound_gives_the_same(search, clip):
    own = recognizer(search)
    found = [[each.words for each in listened(own, clip, size).utterances] for size in (CHUNK, 1000, 160)]
    assert found[0] == found[2] and found[0]
    assert [word.word for each in found[1] for word in each] == [
        word.word for each in found[0] for word in each
    ]


def test_what_is_certain_stays(recogniser, clip):
    told: list[tuple[str, str]] = []

    class Keeps(listener.Silent):
        def partial(self, seconds, stable, tentative):
            told.append((stable, tentative))

        def final(self, result):
            assert all(result.text.startswith(stable) for stable, _ in told)
            told.clear()

    heard = listened(recogniser, clip, CHUNK, Keeps())
    assert heard.utterances
    for each in heard.utterances:
        first, last = each.words[0], each.words[-1]
        certain = [letters for at, letters, _ in heard.partials if last.end < at < each.end]
        assert max(certain) >= len(first.word), "nothing is certain before its end"


def test_the_model_gives_what_torch_gave(clip):
    expected = np.load(EXPECTED)["logp"]
    stream = tinyseq.load(MODEL).stream()
    rows = [
        stream.step({"samples": clip[None, at : at + CHUNK]})["logp"][0, 0]
        for at in range(0, 120 * CHUNK, CHUNK)
    ]
    differences = np.abs(np.exp(np.array(rows)) - np.exp(expected))
    assert differences.mean() < 0.01 and (np.argmax(rows, 1) == np.argmax(expected, 1)).mean() > 0.95


@pytest.mark.parametrize(
    ("name", "words", "most_wrong"),
    [
        ("Asterisk, 8 kHz: digit strings", 200, 0.05),
        ("Asterisk, 8 kHz: single digits", 11, 0.1),
        ("pocketsphinx, 16 kHz: phrases", 30, 0.2),
    ],
)
def test_people_are_understood(asset, name, words, most_wrong):
    asset("asterisk-sounds"), asset("pocketsphinx-recordings")
    spoken = sets.sets(None, None, None)[name]
    wrong, all_words = evaluate.rate(recognizer("lexicon"), spoken)
    assert all_words == words and wrong <= most_wrong * words


# the microphone


def sounddevice(blocks: list[np.ndarray]) -> ModuleType:
    """A stand-in for the package of that name, whose microphone hears these blocks and is unplugged then."""
    module = ModuleType("sounddevice")

    class PortAudioError(Exception):
        pass

    class InputStream:
        def __init__(self, rate, chunk, channels, dtype, callback):
            assert (rate, chunk, channels, dtype) == (RATE, CHUNK, 1, "float32")
            if not blocks:
                raise PortAudioError("no default input device")
            self._callback = callback

        def __enter__(self):
            for block in blocks:
                self._callback(block[:, None], len(block), None, None)

        def __exit__(self, *_):
            pass

    module.PortAudioError, module.InputStream = PortAudioError, InputStream
    return module


def test_the_microphone_gives_what_it_hears(monkeypatch):
    blocks = [np.full(CHUNK, value, np.float32) for value in (0.1, 0.2)]
    monkeypatch.setitem(sys.modules, "sounddevice", sounddevice(blocks))
    heard = microphone(RATE, CHUNK)
    assert [next(heard)[0] for _ in blocks] == [np.float32(0.1), np.float32(0.2)]


def test_without_a_microphone_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", sounddevice([]))
    with pytest.raises(AudioError, match="no default input device"):
        run.main(["--microphone"])


def test_without_its_package_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingPackageError, match="sounddevice"):
        run.main(["--microphone"])


# grammar and language model


def test_phrases_are_of_the_words():
    draw = random.Random(0)
    for say, words in ((grammar.phrase, grammar.WORDS), (grammar.first_phrase, grammar.FIRST)):
        assert {word for _ in range(1500) for word in say(draw)} == set(words)
    assert set("".join(grammar.WORDS)) <= set(grammar.LETTERS)


def test_numbers_are_said():
    assert [" ".join(grammar.below_hundred(n)) for n in (7, 10, 19, 20, 42)] == [
        "seven",
        "ten",
        "nineteen",
        "twenty",
        "forty two",
    ]


def test_probabilities_behind_a_history_add_up(tmp_path):
    estimates = language_model.estimated(language_model.counted(2000, 0), least=2)

    def probability(gram: tuple[str, ...]) -> float:
        found = estimates[len(gram) - 1].get(gram)
        if found is not None:
            return found[0]
        history = estimates[len(gram) - 2].get(gram[:-1], (0.0, 1.0))
        return history[1] * probability(gram[1:])

    for history in [(), ("<s>",), ("seven",), ("<s>", "go"), ("go", "left"), ("stop", "zero")]:
        total = sum(probability((*history, word)) for word in [*grammar.WORDS, "</s>"])
        assert total == pytest.approx(1, abs=1e-9), history


def test_the_language_model_is_what_the_grammar_gives(tmp_path):
    language_model.write(tmp_path / "lm.gz", phrases=300, least=1)
    assert set(grammar.WORDS) - set(tinyseq.read_arpa(tmp_path / "lm.gz").words) == set()
    assert set(grammar.WORDS) <= set(tinyseq.read_arpa(LANGUAGE_MODEL).words)


# data


def test_plans_are_the_same_each_time():
    for plan in (plan_flite, lambda seed: plan_kokoro(seed, ["a", "b", "c"])):
        first, again = ([said for said, _ in zip(plan(5), range(50))] for _ in range(2))
        assert first == again
        assert all(set(said.words) <= set(grammar.WORDS) for said in first)
        assert all(abs(sum(said.voices.values()) - 1) < 1e-9 for said in first)


def test_clips_are_found_with_their_words_and_without_silence(tmp_path):
    tone = np.zeros(RATE, np.float32)
    tone[6000:10000] = 0.3 * np.sin(np.arange(4000) * 0.2)
    for name in ("yes/0000000a_nohash_0.wav", "_unknown_/five_00000001_nohash_2.wav.wav", "yes/notes.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name.replace(".wav.wav", ".wav"), tone, RATE)
    (tmp_path / "_unknown_/five_00000001_nohash_2.wav").rename(
        tmp_path / "_unknown_/five_00000001_nohash_2.wav.wav"
    )
    found = {clip.word: clip for clip in recordings.clips(tmp_path)}
    assert {word: clip.is_held_out for word, clip in found.items()} == {"yes": True, "five": False}
    (said,) = recordings.training(tmp_path, ["five"])["five"]
    assert 4000 < len(said.word) < 8000 and np.abs(said.whole).max() == pytest.approx(0.5, abs=1e-3)
    assert len(said.whole) == RATE and np.abs(said.word[2000:4000]).max() > 0.4
    assert recordings.training(tmp_path, ["yes"]) == {}


def test_silence_is_not_spoken():
    assert recordings.spoken(np.zeros(RATE, np.float32)) is None


def test_errors_are_the_fewest_changes():
    cases = [("a b c", "a b c", 0), ("a b c", "a c", 1), ("a b", "a x b y", 2), ("a", "", 1), ("", "a b", 2)]
    for said, heard, count in cases:
        assert evaluate.errors(said.split(), heard.split()) == count
