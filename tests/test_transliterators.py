"""Spelling to sound and script to script, as the packages that carry the models do it."""

from __future__ import annotations

import pickle
import random
from collections import defaultdict

import numpy as np
import onnxruntime
import pytest
from tinyseq.converters import keras
from tinyseq.converters.weights import Weights, npz

import tinyseq
from tests.packages import imported, stand_in
from tinyseq.ir.model import Value
from tinyseq.runtime.session import Session

NAMES = ["محمد", "عبد الله", "فاطمة", "الزبيدي", "خديجة", "نور الدين", "ياسمين", "قحطان", "شكري", "زغلول"]


@pytest.mark.parametrize("width", [1, 2, 5])
def test_arabic_names_by_the_beam_search_of_their_package(asset, monkeypatch, width):
    """Unmodified; the dictionary is asked for nothing, so that every name goes through the models."""
    folder = asset("romanizer-package")

    def romanized() -> list[list[tuple[str, float]]]:
        with imported(folder, "arabic_name_romanizer.inference", {}) as module:
            model = module.OnnxModel(folder / "arabic_name_romanizer" / "resources", beam_width=width)
            return model.transliterate_units(NAMES, "SY", width)

    theirs = romanized()
    monkeypatch.setattr(onnxruntime, "InferenceSession", tinyseq.InferenceSession)
    ours = romanized()
    assert all(1 <= len(found) <= width for found in ours)
    for found, wanted in zip(ours, theirs, strict=True):
        assert [text for text, _ in found] == [text for text, _ in wanted]
        np.testing.assert_allclose([s for _, s in found], [s for _, s in wanted], rtol=1e-4, atol=1e-4)


def test_arabic_names_through_the_front_door(asset, monkeypatch):
    """The package's one function; names in no dictionary of its go to the models."""
    monkeypatch.setattr(onnxruntime, "InferenceSession", tinyseq.InferenceSession)
    with imported(asset("romanizer-package"), "arabic_name_romanizer", {}) as module:
        candidates = module.transliterate("زغلولان قحطبة", top_k=3, country="SY")
    assert "model" in {unit.source for unit in candidates[0].units}


def grapheme_model(path) -> tuple[Session, Session]:
    """The encoder of g2p-en's weights, and its decoder as a stream: a phoneme in, scores out."""
    with Weights(npz.read(path)) as weights:
        sides = {
            side: [weights.take(f"{side}_{name}") for name in ("emb", "w_ih", "w_hh", "b_ih", "b_hh")]
            for side in ("enc", "dec")
        }
        encoder, decoder = tinyseq.Graph(), tinyseq.Graph()
        table, *cell = sides["enc"]
        letters = encoder.embedding(encoder.input("letters", ["T", "N"], np.int64), table)
        encoder.output("h", encoder.gru(letters, cell, layout="torch")[1])
        table, *cell = sides["dec"]
        sounds = decoder.embedding(decoder.input("sounds", ["T", "N"], np.int64), table)
        y, hn = decoder.gru(sounds, cell, layout="torch", h=decoder.input("h", [1, "N", 256]))
        decoder.output("scores", decoder.dense(y, weights.take("fc_w").T, weights.take("fc_b")))
        decoder.output("hn", hn, carries="h")
    return tinyseq.load(encoder), tinyseq.load(decoder)


def pronounced(word: str, package, encoder: Session, stream: tinyseq.Stream) -> list[str]:
    """The package's greedy search of at most 20 steps."""
    unknown = package.g2idx["<unk>"]
    letters = [package.g2idx.get(letter, unknown) for letter in [*word, "</s>"]]
    stream.restore(encoder.run({"letters": np.array(letters)[:, None]}))
    sounds, last = [], package.p2idx["<s>"]
    for _ in range(20):
        last = int(np.argmax(stream.step({"sounds": np.array([[last]])})["scores"]))
        if last == package.p2idx["</s>"]:
            break
        sounds.append(package.idx2p[last])
    return sounds


@pytest.fixture(scope="module")
def spelled(asset) -> dict[str, set[str]]:
    """A thousand words of a dictionary of English and the ways to say each."""
    words: dict[str, set[str]] = {}
    for line in asset("words").read_text(encoding="utf-8").splitlines():
        word, _, sounds = line.split("#")[0].strip().partition(" ")
        words.setdefault(word.split("(")[0], set()).add(sounds)
    chosen = random.Random(0).sample(sorted(word for word in words if word.isalpha()), 1000)
    return {word: words[word] for word in chosen}


def test_graphemes_to_phonemes(asset, spelled):
    """The package's NumPy, word by word; its taggers and dictionaries are not needed for this."""
    nltk = stand_in("nltk.corpus") | stand_in("nltk.tokenize")
    encoder, decoder = grapheme_model(asset("graphemes"))
    with imported(asset("graphemes-package"), "g2p_en.g2p", nltk | stand_in("inflect")) as module:
        package = module.G2p()
        stream = decoder.stream()
        found = {word: pronounced(word, package, encoder, stream) for word in spelled}
        for word in list(spelled)[:300]:
            assert found[word] == package.predict(word), word
    right = sum(" ".join(found[word]) in sounds for word, sounds in spelled.items())
    assert right / len(spelled) == pytest.approx(0.676, abs=0.03)


def part(model, inputs, outputs) -> Session:
    """The part of a model between tensors: (name, dtype, shape) in, names out."""
    given = tuple(Value(name, np.dtype(dtype), shape) for name, dtype, shape in inputs)
    results = tuple(Value(name, np.dtype(np.float32), None) for name in outputs)
    names = {value.name for value in given}
    nodes = tuple(node for node in model.graph.nodes if names.isdisjoint(node.outputs))
    graph = model.graph._replace(inputs=given, outputs=results, nodes=nodes)
    return Session(model._replace(graph=graph))


class Tokenizer:
    """Keras' preprocessing.text.Tokenizer, as far as the package's file of assets holds and uses it."""

    def texts_to_sequences(self, texts: list[str]) -> list[list[int]]:
        return [[self.word_index[letter] for letter in text if letter in self.word_index] for text in texts]


class Assets(pickle.Unpickler):
    """The package's pickle, whose only class is Keras' Tokenizer."""

    def find_class(self, module: str, name: str):
        return {"Tokenizer": Tokenizer, "OrderedDict": dict, "defaultdict": defaultdict, "int": int}[name]


class Predicts:
    """A Keras model's ``predict``, by a function of its inputs."""

    def __init__(self, function) -> None:
        self.function = function

    def predict(self, inputs, verbose: int):
        return self.function(inputs)


def padded(sequences: list[list[int]], maxlen: int, padding: str) -> np.ndarray:
    """Keras' pad_sequences."""
    assert padding == "post"
    cut = [sequence[-maxlen:] for sequence in sequences]
    return np.array([sequence + [0] * (maxlen - len(sequence)) for sequence in cut])


def khmer_models(path) -> tuple[Predicts, Predicts]:
    """The trained model in two, as the package takes it apart: letters to their projections, and one sound,
    the decoder's state and the projections to the next sound. The state is a snapshot of a stream."""
    model = keras.load(path)
    letters, sounds = model.graph.inputs
    attention = next(node for node in model.graph.nodes if node.name.startswith("additive_attention"))
    (score,) = (value.name for value in model.graph.outputs)
    projected = attention.inputs[1]
    encoder = part(model, [(letters.name, np.int64, letters.shape)], [projected])
    given = [(sounds.name, np.int64, sounds.shape), (projected, np.float32, ("rows", "letters", 64))]
    stream = part(model, given, [score]).stream()

    def encoded(rows):
        return None, encoder.run({letters.name: rows})[projected]

    def decoded(inputs):
        sound, state, projections = inputs
        if isinstance(state, tinyseq.State):
            stream.restore(state)
        else:
            stream.reset()
        scores = stream.step({sounds.name: sound, projected: projections})[score]
        return scores, stream.snapshot()

    return Predicts(encoded), Predicts(decoded)


KHMER = {
    "phnompenh": ["ភ្នំពេញ", "ផ្នំពេញ", "ផ្នម្ពេញ"],
    "sokha": ["សខា", "សុខា", "សខារ"],
    "kampuchea": ["កំពុជា", "កម្ពុជា", "កំពូជា"],
    "angkor": ["អង្ករ", "អង្គ", "អង្ក"],
}
"""What the package gives with Keras 3.15.1 on PyTorch."""


def test_khmer_by_the_beam_search_of_its_package(asset):
    sequence = stand_in("tensorflow.keras.preprocessing.sequence", pad_sequences=padded)
    others = (
        stand_in("tensorflow.keras.layers") | stand_in("tensorflow.keras.models") | stand_in("khmerspell")
    )
    folder = asset("khmer-package")
    weights = folder / "khmer_transliterator" / "weights"
    with imported(folder, "khmer_transliterator._inference", others | sequence) as module:
        package = module.Transliterator()
        with (weights / "gru_transliteration_assets.pkl").open("rb") as file:
            assets = Assets(file).load()
        package._eng_tokenizer, package._khm_tokenizer = assets["eng_tokenizer"], assets["khm_tokenizer"]
        package._max_eng_len, package._max_khm_len = assets["max_eng_len"], assets["max_khm_len"]
        package._encoder, package._decoder = khmer_models(asset("khmer"))
        package._gru_units, package._loaded = 64, True
        for word, wanted in KHMER.items():
            assert package.transliterate_top_n(word) == wanted
            assert package.transliterate(word) == wanted[0]
