"""A bag of words: naive Bayes over words and pairs of words, to compare with (Wang & Manning 2012)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from math import log

from .data import Review
from .words import words


class BagOfWords:
    """Sums of what each word, and each two words side by side, say for either side."""

    def __init__(self, reviews: list[Review], smoothing: float = 1.0) -> None:
        sides = {True: Counter(), False: Counter()}
        for review in reviews:
            sides[review.favourable].update(set(features(review.text)))
        known = sides[True] | sides[False]
        totals = {side: counts.total() + smoothing * len(known) for side, counts in sides.items()}
        self._weights = {
            feature: log((sides[True][feature] + smoothing) / totals[True])
            - log((sides[False][feature] + smoothing) / totals[False])
            for feature in known
        }
        favourable = sum(review.favourable for review in reviews)
        self._start = log(favourable / (len(reviews) - favourable))

    def favourable(self, text: str) -> bool:
        """Which side the text is on."""
        return self._start + sum(self._weights.get(feature, 0.0) for feature in set(features(text))) > 0


def features(text: str) -> Iterator[str]:
    """Words, and pairs of them."""
    found = words(text)
    yield from found
    for pair in pairwise(found):
        yield " ".join(pair)
