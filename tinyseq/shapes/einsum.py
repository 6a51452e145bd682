"""The notation of Einsum, and its shape rule."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import NamedTuple

from tinyseq.shapes.common import Attributes, Mismatch, Shape

ELLIPSIS = "..."


class Equation(NamedTuple):
    """The labels of each input's axes and of the output's: letters, and of the axes that an ellipsis stands
    for numbers, counted from their end."""

    inputs: tuple[tuple[str, ...], ...]
    output: tuple[str, ...]

    def sizes(self, shapes) -> dict[str, int]:
        """The size of each label. Axes of an ellipsis that are of one element fit any size."""
        sizes: dict[str, int] = {}
        for labels, shape in zip(self.inputs, shapes):
            for label, size in zip(labels, shape):
                former = sizes.setdefault(label, size)
                if former != size and label.isdigit() and 1 in (former, size):
                    sizes[label] = max(former, size) if 0 not in (former, size) else 0
                elif former != size:
                    raise Mismatch(
                        f"{label!r} of the equation is {former} in one input and {size} in another"
                    )
        return sizes


@cache
def parsed(text: str) -> tuple[tuple[str, ...], str]:
    """The terms of the inputs and of the output, which is worked out where it is not written."""
    text = "".join(text.split())
    left, arrow, output = text.partition("->")
    terms = tuple(left.split(","))
    for term in (*terms, output):
        letters = term.replace(ELLIPSIS, "", 1)
        if not all(letter.isascii() and letter.isalpha() for letter in letters):
            raise Mismatch(f"the equation {text!r} has {term!r} where letters and one ellipsis may stand")
    if not arrow:
        counts = Counter("".join(terms).replace(ELLIPSIS, ""))
        once = "".join(sorted(letter for letter, count in counts.items() if count == 1))
        output = (ELLIPSIS if any(ELLIPSIS in term for term in terms) else "") + once
    given = output.replace(ELLIPSIS, "")
    if len(set(given)) < len(given) or not set(given) <= set("".join(terms)):
        raise Mismatch(f"the equation {text!r} gives a letter twice, or one that no input has")
    if ELLIPSIS in output and not any(ELLIPSIS in term for term in terms):
        raise Mismatch(f"the equation {text!r} gives an ellipsis, which no input has")
    return terms, output


def check_einsum(attributes: Attributes) -> None:
    """Refuses an equation that is none."""
    parsed(attributes["equation"])


@cache
def equation(text: str, ranks: tuple[int, ...]) -> Equation:
    """The equation over inputs of some ranks."""
    terms, output = parsed(text)
    if len(terms) != len(ranks):
        raise Mismatch(f"the equation {text!r} is of {len(terms)} inputs where there are {len(ranks)}")
    more = [rank - len(term.replace(ELLIPSIS, "")) for term, rank in zip(terms, ranks)]
    for term, rank, free in zip(terms, ranks, more):
        if free < 0 or (free and ELLIPSIS not in term):
            raise Mismatch(f"{term!r} of the equation stands for an input of {rank} dimensions")
    most = max((free for term, free in zip(terms, more) if ELLIPSIS in term), default=0)
    return Equation(tuple(_labels(term, free) for term, free in zip(terms, more)), _labels(output, most))


def _labels(term: str, free: int) -> tuple[str, ...]:
    before, dots, after = term.partition(ELLIPSIS)
    return (*before, *(str(number) for number in reversed(range(free if dots else 0))), *after)


def einsum(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    found = equation(attributes["equation"], tuple(map(len, shapes)))
    sizes = found.sizes(shapes)
    return (tuple(sizes[label] for label in found.output),)
