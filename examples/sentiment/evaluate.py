"""Accuracy on held-out reviews: ``python -m examples.sentiment.evaluate``. Fetches the reviews."""

from __future__ import annotations

from collections.abc import Callable

from ..report import table
from . import data
from .bag import BagOfWords
from .run import Judge


def main() -> None:
    """Prints the table."""
    parts, judge = data.split(), Judge()
    bag = BagOfWords(parts.train)
    majority = sum(review.favourable for review in parts.train) * 2 > len(parts.train)
    methods: dict[str, Callable[[str], bool]] = {
        "the majority": lambda text: majority,
        "bag of words and pairs": bag.favourable,
        "GRU, forward only": lambda text: judge.live(text)[-1] > 0.5,
        "GRU, both directions": lambda text: judge(text) > 0.5,
    }
    clear = [review for review in parts.test if abs(review.rating) >= 1]
    rows = [
        (name, f"{100 * _right(method, parts.test):.1f} %", f"{100 * _right(method, clear):.1f} %")
        for name, method in methods.items()
    ]
    print(
        f"{len(parts.train):,} reviews to train on, {len(parts.test):,} held out, {len(clear)} of them clear"
    )
    print(*table(("", "right", "of the clear"), rows), sep="\n")


def _right(method: Callable[[str], bool], reviews: list[data.Review]) -> float:
    return sum(method(review.text) == review.favourable for review in reviews) / len(reviews)


if __name__ == "__main__":
    main()
