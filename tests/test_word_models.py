"""Quantised recurrent models of words, by their packages' own code: with onnxruntime and with tinyseq in its
place."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import onnxruntime
import pytest

import tinyseq.onnxruntime
from tests.packages import imported

NAMES = [
    "chatgptlogin",
    "bestrestaurantsnearme",
    "thequickbrownfoxjumpsoverthelazydog",
    "iphone15promax",
    "x",
]
LEMMAS = {"mangeaient": "manger", "chevaux": "cheval", "finissons": "finir", "journaux": "journal"}


def both(asset, package: str, module: str, use: Callable[[ModuleType], list]) -> tuple[list, list]:
    """What the use of a package gives with onnxruntime and with tinyseq."""
    results = []
    for stand_in in (onnxruntime, tinyseq.onnxruntime):
        with imported(asset(package), module, {"onnxruntime": stand_in}) as found:
            results.append(use(found))
    return results[0], results[1]


def test_names_are_split_into_words(asset):
    def use(dksplit: ModuleType) -> list:
        splitter = dksplit.Splitter(num_threads=1)
        chars = np.random.default_rng(0).integers(2, 38, (1, 40))
        (emissions,) = splitter.session.run(None, {"chars": chars})
        return [emissions, [splitter.split(name) for name in NAMES], splitter.split_topk("pikahug", k=3)]

    (theirs, *expected), (ours, *found) = both(asset, "names-package", "dksplit", use)
    assert found == expected and found[0][0] == ["chatgpt", "login"]
    # Quantised: a number beside the edge of two bytes may become either.
    assert np.abs(ours - theirs).max() < 0.02 * np.abs(theirs).max()


def test_lemmas_and_forms_of_french_words(asset):
    def use(pyfrspell: ModuleType) -> list:
        model = pyfrspell.FrSpell()
        found = [model.lemma(word) for word in LEMMAS]
        found += [
            model.noun_derive("chat", "THD_PLF"),
            model.adje_derive("beau", "THD_F"),
            model.verb_derive("manger", "FST_PL", "INDI", "PRES"),
        ]
        return found

    expected, found = both(asset, "french-package", "pyfrspell", use)
    for own, other in zip(found, expected, strict=True):
        assert own["confidence"] == pytest.approx(other["confidence"], abs=0.02)
        changing = ("confidence", "timeMs")
        assert [v for k, v in own.items() if k not in changing] == [
            v for k, v in other.items() if k not in changing
        ]
    assert [one["lemma"] for one in found[:4]] == list(LEMMAS.values())
    assert [one["output"] for one in found[4:]] == ["chattes", "belle", "mangeons"]
