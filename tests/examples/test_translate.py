"""The demonstration translate: sub-words, the split of the pairs, and what it translates."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tinyseq.demo.subwords import END, UNKNOWN, Subwords, learned
from tinyseq.demo.translate import data, evaluate, run
from tinyseq.demo.translate.forms import Source, small_words
from tinyseq.demo.translate.languages import START

import tinyseq
from tinyseq.errors import MissingPackageError, ModelError, OptionError

EXPECTED = np.load(Path(__file__).parents[1] / "data" / "demo_translate.npz")
SENTENCE = "Turn on the light in the kitchen."
HELD_OUT = {
    "Cannot connect to discovered Volumio": "No se puede conectar con el Volumio descubierto",
    "Disables an automation.": "Deshabilita una automatizaci\u00f3n.",
    "Charger Voltage": "Tensi\u00f3n del cargador",
    "Turn on with timer": "Encender con temporizador",
    "{entity_name} became not hot": "{entity_name} dej\u00f3 de estar caliente",
    "Connection quality": "Calidad de la conexi\u00f3n",
    "Grease filter": "Filtro de grasa",
    "With face 3 activated": "Con la cara 3 activada",
    "The device is unsupported.": "El dispositivo no es compatible.",
    "Solar energy production this year": "Producci\u00f3n de energ\u00eda solar este a\u00f1o.",
    "{entity_name} became safe": "{entity_name} se volvi\u00f3 seguro",
    "Total cleaning times": "Veces totales de limpieza",
}
"""Sentences and translations that no model has read."""


@pytest.fixture(scope="module")
def translator() -> run.Translator:
    return run.Translator()


def test_narrow_weights_give_nearly_what_torch_gave():
    decoder, memory = tinyseq.load(run.DECODER), tinyseq.load(run.ENCODER).run({"source": EXPECTED["source"]})
    found = []
    for token in EXPECTED["target"][0]:
        results = decoder.run({"tokens": np.array([[token]]), **memory})
        memory["state"] = results["next_state"]
        found.append(results["logits"][0, 0])
    expected = EXPECTED["logits"][0].astype(np.float32)
    assert np.mean(np.argmax(found, 1) == expected.argmax(1)) > 0.8
    assert np.corrcoef(np.ravel(found), np.ravel(expected))[0, 1] > 0.99


def test_sentences_are_translated_to_each_language(capsys):
    assert run.main(["--sentence", "Invalid password", "--sentence", "Battery level"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Invalid password" and lines[3] == "Battery level"
    assert [line.split()[0] for line in lines[1:3]] == ["es", "de"]
    assert "contrase\u00f1a" in lines[1].lower() and "passwort" in lines[2].lower()
    assert "bater\u00eda" in lines[4].lower() and "batterie" in lines[5].lower()


def test_words_of_held_out_translations_are_found(translator):
    found = translator(list(HELD_OUT), "es")
    shares = []
    for given, (best, *_) in zip(HELD_OUT, found, strict=True):
        texts = translator.text(given, best), HELD_OUT[given]
        own, other = ({*text.lower().strip(".").split()} for text in texts)
        shares.append(len(own & other) / len(own | other))
    assert np.mean(shares) > 0.5


def test_best_translations_come_best_first_and_differ(translator):
    (found,) = translator([SENTENCE], "es", beams=5, best=4)
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
    assert len({translator.text(SENTENCE, each) for each in found}) == 4
    assert all(not {UNKNOWN, END, *START.values()} & set(each.tokens) for each in found)


def test_the_neighbours_of_a_sentence_do_not_change_its_translation(translator):
    texts = [SENTENCE, "Battery", "Unable to connect", "Turn off the light in the garden."]
    together = translator(texts, "de")
    alone = [translator([text], "de")[0] for text in texts]
    for (one, *_), (other, *_) in zip(together, alone, strict=True):
        assert (one.tokens, one.score) == (other.tokens, other.score)


def test_attention_is_a_distribution_over_the_pieces_of_the_source(translator):
    ((best,),) = translator([SENTENCE], "es")
    assert best.attention.shape == (len(best.tokens) + 1, len(translator.source_pieces(SENTENCE)))
    np.testing.assert_allclose(best.attention.sum(1), 1, atol=1e-5)


def test_one_beam_is_greedy_search(translator):
    ((greedy,),) = translator([SENTENCE], "es", beams=1)
    ((wide, *_),) = translator([SENTENCE], "es", beams=8, best=8)
    # What greedy search chooses from has no suppressed tokens, which beam search takes out afterwards.
    score = wide.score * (len(wide.tokens) + 1)
    assert score >= greedy.score - 1e-2 or len(wide.tokens) != len(greedy.tokens)


def test_a_picture_and_json(capsys, tmp_path):
    plot = tmp_path / "own.png"
    assert run.main(["--sentence", SENTENCE, "--to", "de", "--best", "2", "--json", "--plot", str(plot)]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["source"] == SENTENCE and report["language"] == "de" and len(report["translations"]) == 2
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_lines_that_are_typed_are_translated(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Battery\n\nDoor\n"))
    assert run.main(["--interactive", "--to", "es"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[2]] == ["Battery", "Door"] and len(lines) == 4


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--sentence", " "], "nothing to translate"),
        (["--beams", "0"], "num_beams"),
        (["--beams", "2", "--best", "3"], "num_return_sequences"),
    ],
)
def test_wrong_options_are_refused(options, error):
    with pytest.raises(OptionError, match=error):
        run.main(options)


def test_a_file_that_is_missing_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"none\.txt"):
        run.main(["--text", str(tmp_path / "none.txt")])


TEXTS = ["low lower lowest", "new newer newest", "{name} is \u00fcber 12%!"] * 5


def test_pieces_come_back_as_the_text(tmp_path):
    made = learned(TEXTS, 60)
    made.save(tmp_path / "vocabulary.txt")
    for subwords in (made, Subwords.read(tmp_path / "vocabulary.txt")):
        for text in TEXTS:
            assert subwords.decode(subwords.encode(text)) == text
    assert UNKNOWN in made.encode("\u00e9") and UNKNOWN not in made.encode("newest low")


def test_the_pair_that_is_found_most_often_is_joined_first():
    assert learned(["xab yab zab zab"] * 5, 2 + 6 + 2).pieces[-2:] == ["ab", "zab"]


def test_the_shipped_vocabulary_spells_both_languages(translator):
    subwords = translator.target
    for text in ("\u00bfQu\u00e9 contrase\u00f1a?", "Die T\u00fcr schlie\u00dft \u2460 nicht."):
        assert subwords.decode(subwords.encode(text)) == text


@pytest.mark.parametrize(
    ("sentence", "read", "translation", "written"),
    [
        ("Turn on {name}", "turn on \u2460", "{name} einschalten", "\u2460 einschalten"),
        (
            "Button 2 of {it} 2",
            "button \u2460 of \u2461 \u2460",
            "Taste 2 von {it}",
            "Taste \u2460 von \u2461",
        ),
        ("API error", "API error", "Error de API", "error de API"),
        ("{name} is on", "\u2460 is on", "La {name} 7", "La \u2460 7"),
        (
            "Is \u2460 in 3d?",
            "is \u2460 in \u2461d?",
            "\u00bfEst\u00e1 \u2460 en 3d?",
            "\u00bfEst\u00e1 \u2460 en \u2461d?",
        ),
        ("1 2 3 4 5 6 7", "\u2460 \u2461 \u2462 \u2463 \u2464 \u2465 7", "7 1", "7 \u2460"),
        ("% \u00bf", "% \u00bf", "- \u00bf", "- \u00bf"),
    ],
)
def test_names_and_capitals_are_set_down_and_come_back(sentence, read, translation, written):
    source = Source.of(sentence)
    assert source.text == read
    assert source.target(translation, {"error", "einschalten"}) == written
    assert source.translation(written) == translation


def test_a_slot_that_no_name_fills_is_nothing():
    assert Source.of("Open it").translation("abre \u2460.") == "Abre ."


def test_small_words_are_those_that_are_small_within_sentences():
    found = small_words(["Die T\u00fcr ist auf", "Das ist die T\u00fcr", "Eine Auf ist auf", "Eine die"])
    assert found == {"ist", "auf", "die"}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Translations of a home with few parts."""
    monkeypatch.setattr(data, "fetch", lambda asset: tmp_path)
    monkeypatch.setattr(data, "HELD_OUT", 2)
    folder = tmp_path / "homeassistant/components/own/translations"
    folder.mkdir(parents=True)
    english = {f"key{n}": f"The {word} of {{name}} is on" for n, word in enumerate("abcdefgh")}
    english |= {
        "near": "the a of {other} is on!",
        "link": "See https://own",
        "deep": {"er": "Quite another one"},
    }
    for language in ("en", "es", "de"):
        texts = {key: text if isinstance(text, dict) else f"{text}" for key, text in english.items()}
        if language != "en":
            texts = {
                key: {"er": f"{language} other"} if key == "deep" else f"{language} {text}"
                for key, text in english.items()
            }
        folder.joinpath(f"{language}.json").write_text(json.dumps(texts))
    return tmp_path


def test_pairs_go_by_their_place_in_the_files(home):
    found = data.pairs()
    assert data.Pair("es", "Quite another one", "es other") in found
    assert len(found) == 2 * 10 and not any("https" in pair.source for pair in found)


def test_nothing_like_a_held_out_sentence_is_trained_on(home):
    parts = data.split()
    held = {pair.source for pair in (*parts.validation, *parts.test)}
    plain = {pair.source for pair in parts.plain}
    assert len(held) == 4 and len(parts.test) == len(parts.validation) == len(parts.plain) == 4
    assert not plain & (held | {pair.source for pair in parts.train})
    for pair in parts.train:
        for source in held:
            own, other = set(data.words(pair.source)), set(data.words(source))
            assert len(own & other) < data.ALIKE * len(own | other)
    assert parts.near_duplicates + len(parts.train) + 12 == len(data.pairs())


def test_names_and_numbers_are_the_same_word():
    assert data.words("{Entity_name}: 12 %") == ["#", "#"] != data.words("Quite another")


def test_what_measures_translations_is_named_with_the_extra_that_installs_it(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(MissingPackageError, match=r"needs sacrebleu.*pip install 'tinyseq\[examples\]'"):
        evaluate.main()
