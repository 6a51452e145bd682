"""What is said to the demonstration: digits, numbers and commands, as a grammar that says random phrases."""

from __future__ import annotations

import random

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEENS = [
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
RANKS = [*DIGITS[2:], "ten", "ace", "jack", "queen", "king"]
SUITS = ["clubs", "diamonds", "hearts", "spades"]
DIRECTIONS = ["forward", "backward", "left", "right", "up", "down"]
THINGS = ["light", "door", "window", "volume", "music"]
SINGLE = ["yes", "no", "stop", "go", "start", "pause", "play", "next", "back", "open", "close", "on", "off"]

FIRST = sorted([*DIGITS, "oh", "yes", "no", "stop", "go", *DIRECTIONS, "on", "off"])
"""The words of the first lessons."""
WORDS = sorted(
    {*FIRST, *TEENS, *TENS, "hundred", "thousand", "and", "minus", "point"}
    | {*RANKS, *SUITS, "of", *DIRECTIONS, "meters", "turn", "the", *THINGS, *SINGLE}
)
"""All words: those that the model knows."""
LETTERS = " '" + "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = ["", *LETTERS]
"""The strings of the model's outputs; the first is the blank."""


def digits(draw: random.Random, longest: int = 8) -> list[str]:
    """A string of digits, as a telephone number."""
    words = [draw.choice(DIGITS) for _ in range(draw.choice([1, 2, 3, 3, 4, 4, 5, 6, 7, longest]))]
    return ["oh" if word == "zero" and draw.random() < 0.5 else word for word in words]


def below_hundred(number: int) -> list[str]:
    """How a number from 1 to 99 is said."""
    if number < 10:
        return [DIGITS[number]]
    if number < 20:
        return [TEENS[number - 10]]
    return [TENS[number // 10 - 2], *([DIGITS[number % 10]] if number % 10 else [])]


def number(draw: random.Random) -> list[str]:
    """A number up to a hundred thousand."""
    words = below_hundred(draw.randint(1, 99))
    if draw.random() < 0.35:
        rest = words if draw.random() < 0.6 else []
        link = ["and"] if rest and draw.random() < 0.4 else []
        words = [DIGITS[draw.randint(1, 9)], "hundred", *link, *rest]
    if draw.random() < 0.2:
        words = [*below_hundred(draw.randint(1, 99)), "thousand", *(words if draw.random() < 0.7 else [])]
    if draw.random() < 0.12:
        words = [*words, "point", *digits(draw, 3)[:3]]
    return ["minus", *words] if draw.random() < 0.1 else words


def card(draw: random.Random) -> list[str]:
    """One card, or its rank alone."""
    rank = draw.choice(RANKS)
    return [rank] if draw.random() < 0.25 else [rank, "of", draw.choice(SUITS)]


def command(draw: random.Random) -> list[str]:
    """A command."""
    kind = draw.random()
    if kind < 0.3:
        return [draw.choice(SINGLE)]
    if kind < 0.4:
        return [draw.choice(["go", "turn"]), draw.choice(DIRECTIONS)]
    if kind < 0.6:
        count = below_hundred(draw.choice([*range(1, 13), draw.randint(1, 99)]))
        return ["go", draw.choice(DIRECTIONS), *count, "meters"]
    if kind < 0.75:
        return ["turn", "the", draw.choice(THINGS), draw.choice(["on", "off", "up", "down"])]
    if kind < 0.85:
        return [draw.choice(["open", "close"]), "the", draw.choice(THINGS)]
    if kind < 0.93:
        return [draw.choice(["play", "stop", "pause", "start"]), "the", "music"]
    return ["volume", draw.choice(["up", "down", *DIGITS, "ten"])]


def loose(draw: random.Random, words: list[str] = WORDS) -> list[str]:
    """Words without order, so that a network learns to hear them and not the grammar."""
    return draw.choices(words, k=draw.choice([1, 1, 1, 2, 3, 4]))


def phrase(draw: random.Random) -> list[str]:
    """A phrase, as it would be said without a break."""
    kind = draw.random()
    if kind < 0.38:
        return digits(draw)
    if kind < 0.55:
        return number(draw)
    if kind < 0.75:
        return command(draw)
    if kind < 0.86:
        return [word for _ in range(draw.choice([1, 1, 2, 3])) for word in card(draw)]
    return loose(draw)


def first_phrase(draw: random.Random) -> list[str]:
    """A phrase of the words of the first lessons."""
    kind = draw.random()
    if kind < 0.6:
        return digits(draw)
    return ["go", draw.choice(DIRECTIONS)] if kind < 0.7 else loose(draw, FIRST)
