"""Pairs of sentences out of Home Assistant's translations, split by source sentence."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..fetch import fetch, manifest
from .languages import LANGUAGES

ASSETS = manifest(Path(__file__).with_name("manifest.toml"))
LONGEST = 100
"""Characters of a sentence."""
HELD_OUT = 500
"""Source sentences to choose by, and as many for each of the measurements."""
ALIKE = 0.7
"""Of two sources' words, the part that both have, from which on they count as near-duplicates."""
SEED = 1


class Pair(NamedTuple):
    """A sentence and its translation."""

    language: str
    source: str
    target: str


class Split(NamedTuple):
    """The pairs by use. Held-out sources have one pair a language, with the translation found most often."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]
    plain: list[Pair]
    """To measure with too: not read either, but pairs that are nearly the same may have been."""
    near_duplicates: int
    """Pairs that are in no part, since they are nearly those of a held-out source."""


def pairs() -> list[Pair]:
    """All pairs, each once."""
    found: dict[Pair, None] = {}
    for english in sorted(
        fetch(ASSETS["home-assistant"]).glob("homeassistant/components/*/translations/en.json")
    ):
        sources = _leaves(english)
        for language in LANGUAGES:
            other = english.with_name(f"{language}.json")
            targets = _leaves(other) if other.exists() else {}
            for path in sources.keys() & targets.keys():
                pair = Pair(language, sources[path], targets[path])
                if all(map(_is_sentence, pair[1:])) and pair.source != pair.target:
                    found[pair] = None
    return sorted(found)


def split() -> Split:
    """The pairs, split by source; what is nearly a source of validation or test is not trained on."""
    found = pairs()
    languages = defaultdict(set)
    for pair in found:
        languages[pair.source].add(pair.language)
    whole = sorted(source for source, known in languages.items() if len(known) == len(LANGUAGES))
    random.Random(SEED).shuffle(whole)
    # Of sources that are equal but for their case and names, one is held out.
    kinds = list({" ".join(words(source)): source for source in whole if words(source)}.values())
    validation, test = kinds[:HELD_OUT], kinds[HELD_OUT : 2 * HELD_OUT]
    held = {*validation, *test}
    plain = random.Random(SEED).sample([source for source in whole if source not in held], HELD_OUT)
    near = _Near([*validation, *test])
    held.update(plain)
    rest = [pair for pair in found if pair.source not in held]
    train = [pair for pair in rest if not near.has(pair.source)]
    chosen = (_each(found, sources) for sources in (validation, test, plain))
    return Split(train, *chosen, len(rest) - len(train))


def words(sentence: str) -> list[str]:
    """Its words in lower case; names in braces and numbers are all the same one."""
    plain = re.sub(r"\{[^}]*\}|\d+", " # ", sentence.lower())
    return re.findall(r"\w+|#", plain)


def _leaves(path: Path) -> dict[str, str]:
    return dict(_walk(json.loads(path.read_text(encoding="utf-8")), ""))


def _walk(node: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _walk(value, f"{path}/{key}")
    elif isinstance(node, str):
        yield path, " ".join(node.split())


def _is_sentence(text: str) -> bool:
    return 2 <= len(text) <= LONGEST and "://" not in text and "[%" not in text and "](" not in text


def _each(found: list[Pair], sources: list[str]) -> list[Pair]:
    targets: dict[tuple[str, str], Counter] = defaultdict(Counter)
    for pair in found:
        targets[pair.source, pair.language][pair.target] += 1
    return [
        Pair(language, source, targets[source, language].most_common(1)[0][0])
        for language in LANGUAGES
        for source in sources
    ]


class _Near:
    """Whether a sentence has nearly the words of one of many."""

    def __init__(self, sentences: list[str]) -> None:
        self._sets = [frozenset(words(sentence)) for sentence in sentences]
        self._by_word = defaultdict(list)
        for number, known in enumerate(self._sets):
            for word in known:
                self._by_word[word].append(number)

    def has(self, sentence: str) -> bool:
        own = frozenset(words(sentence))
        shared = Counter(number for word in own for number in self._by_word[word])
        return any(
            common >= ALIKE * (len(own) + len(self._sets[number]) - common)
            for number, common in shared.items()
        )
