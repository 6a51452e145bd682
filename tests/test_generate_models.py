"""Generation with real models, against the searches of the packages they come in."""

from __future__ import annotations

import numpy as np
import pytest

import tinyseq
from tests import seq2seq
from tinyseq import Beam, Greedy, Sampling

WORDS = 1000
GRAPHEMES = {"decoder_start_token_id": 2, "eos_token_id": 3, "max_new_tokens": 20}


@pytest.fixture(scope="module")
def pronunciations(asset) -> dict[str, list[list[str]]]:
    """A thousand words of the CMU dictionary."""
    found = seq2seq.pronunciations(asset("words"))
    words = sorted(found)
    chosen = np.random.default_rng(0).choice(len(words), WORDS, replace=False)
    return {words[index]: found[words[index]] for index in chosen}


def exact(found, pronunciations) -> int:
    """How many words are pronounced as in the dictionary."""
    return sum(
        [seq2seq.PHONEMES[token] for token in hypotheses[0].tokens] in how
        for hypotheses, how in zip(found, pronunciations.values())
    )


def test_spelling_to_phonemes(asset, pronunciations):
    path = asset("graphemes")
    decoder, package = seq2seq.graphemes(path), seq2seq.PackageGraphemes(path)
    feeds = [seq2seq.spelled(word) for word in pronunciations]
    greedy = tinyseq.generate(decoder, feeds, Greedy(**GRAPHEMES))
    assert [h.tokens for (h,) in greedy] == [package.predict(each["letters"]) for each in feeds]
    beam = tinyseq.generate(decoder, feeds, Beam(num_beams=5, **GRAPHEMES))
    assert exact(beam, pronunciations) >= exact(greedy, pronunciations) > 0.67 * WORDS


METHODS = {
    "greedy": Greedy(**GRAPHEMES),
    "beam": Beam(num_beams=4, num_return_sequences=2, **GRAPHEMES),
    "sampling": Sampling(num_return_sequences=2, top_k=10, seed=tuple(range(9)), **GRAPHEMES),
}
NAMES = ("a", "be", "cat", "dogs", "eagle", "falcon", "giraffe", "hyena", "iguana")


@pytest.mark.parametrize("name", METHODS)
def test_a_result_does_not_depend_on_the_batch(isa, asset, name):
    """One word at a time, all at once, and in another order."""
    decoder = seq2seq.graphemes(asset("graphemes"))
    options = METHODS[name]
    feeds = [seq2seq.spelled(word) for word in NAMES]

    def found(numbers):
        own = {"seed": tuple(options.seed[n] for n in numbers)} if name == "sampling" else {}
        given = type(options)(**vars(options) | own)
        return tinyseq.generate(decoder, [feeds[n] for n in numbers], given)

    together = found(range(9))
    assert [found([n])[0] for n in range(9)] == together
    assert found(range(8, -1, -1)) == together[::-1]
    assert found(range(9)) == together


def test_the_reference_generates_the_same(asset):
    feeds = [seq2seq.spelled(word) for word in NAMES]
    found, right = (
        tinyseq.generate(seq2seq.graphemes(asset("graphemes"), device), feeds, METHODS["beam"])
        for device in ("cpu", "reference")
    )
    for one, other in zip(found, right):
        assert [h.tokens for h in one] == [h.tokens for h in other]
        np.testing.assert_allclose([h.score for h in one], [h.score for h in other], atol=1e-4)


@pytest.fixture(scope="module")
def romanizer(asset):
    paths = asset("romanizer-encoder"), asset("romanizer-decoder")
    encoder, decoder = map(tinyseq.load, paths)
    return tinyseq.Decoder(decoder, encoder), seq2seq.PackageRomanizer(*paths)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_names_in_latin_letters(romanizer, width):
    """Names of several lengths, a batch each: the package's results depend on the padding."""
    decoder, package = romanizer
    options = Beam(
        num_beams=width, num_return_sequences=width, compete=True, decoder_start_token_id=1, eos_token_id=2,
        suppress_tokens=(0,), min_new_tokens=1, max_new_tokens=32,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    names = [[4, 27, *rng.integers(80, 130, size=length), 2] for length in rng.integers(2, 12, size=30)]
    src = [np.array([name]) for name in names]
    found = tinyseq.generate(decoder, [{"src": ids, "src_mask": ids == 0} for ids in src], options)
    for name, hypotheses in zip(names, found):
        (wanted,) = package.search([name], width)
        assert [h.tokens for h in hypotheses] == [tokens for tokens, _ in wanted]
        np.testing.assert_allclose([h.score for h in hypotheses], [score for _, score in wanted], atol=1e-5)


def test_khmer_letters(asset):
    decoder = seq2seq.khmer(asset("khmer"))
    options = Beam(
        num_beams=5, length_penalty=0.0, decoder_start_token_id=seq2seq.KHMER_START,
        eos_token_id=seq2seq.KHMER_END, max_new_tokens=31, output_attentions=True,
    )  # fmt: skip
    (hypotheses,) = tinyseq.generate(decoder, seq2seq.latin("phnompenh"), options)
    best = hypotheses[0]
    assert "".join(seq2seq.KHMER[token - 2] for token in best.tokens) == "ភ្នំពេញ"
    assert best.attention.shape == (len(best.tokens) + 1, seq2seq.MOST_LETTERS)
    np.testing.assert_allclose(best.attention.sum(1), 1, atol=1e-5)


KHMER_NAMES = """
phnompenh siemreap battambang angkor bayon sokha srey khmer kampuchea mekong tonle sap kompong cham kep kampot
takeo prey veng svay rieng pursat ratanakiri mondulkiri sihanouk sophea dara bopha chan makara sreymom
"""


@pytest.mark.parametrize("width", [3, 5])
def test_khmer_letters_against_the_package(asset, width):
    """The package ends when enough hypotheses have ended and may then return one that has not: a part of a
    word, likelier than any whole one. tinyseq goes on: it returns that part's continuation."""
    decoder = seq2seq.khmer(asset("khmer"))
    options = Beam(
        num_beams=width, length_penalty=0.0, decoder_start_token_id=seq2seq.KHMER_START,
        eos_token_id=seq2seq.KHMER_END, max_new_tokens=31,
    )  # fmt: skip
    names, package = KHMER_NAMES.split(), seq2seq.PackageKhmer(decoder)
    found = tinyseq.generate(decoder, [seq2seq.latin(name) for name in names], options)
    shorter = 0
    for name, (best,) in zip(names, found):
        tokens, probability, ended = package.search(name, width)[0]
        if ended:
            assert best.tokens == tokens, name
            np.testing.assert_allclose(np.exp(best.score), probability, rtol=1e-4)
        else:
            assert best.tokens[: len(tokens)] == tokens, name
            shorter += 1
    assert shorter < len(names) / 3
