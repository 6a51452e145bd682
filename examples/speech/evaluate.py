"""Word error rates on recordings of people: ``python -m examples.speech.evaluate``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from tinyseq.speech.recognizer import Recognizer

from ..report import table
from .recognizer import MODEL, SEARCHES, recognizer
from .sets import Spoken, sets, unknown


def heard(recogniser: Recognizer, spoken: list[Spoken]) -> Iterator[list[str]]:
    """What is heard of each recording, all of it streamed, 30 ms at a time; several streams step together."""
    streams = []
    for each in spoken:
        stream = recogniser.create_stream()
        stream.accept_waveform(each.rate, each.samples)
        stream.input_finished()
        streams.append(stream)
    while ready := [stream for stream in streams if recogniser.is_ready(stream)]:
        recogniser.decode(ready)
    for stream in streams:
        yield (recogniser.get_result(stream).text or "").split()


def errors(said: list[str], heard: list[str]) -> int:
    """The fewest words to change, leave out or add, by Levenshtein."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, start=1):
        before, row[0] = row[0], number
        for place, other in enumerate(heard, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1]


def in_parts(recogniser: Recognizer, spoken: list[Spoken]) -> Iterator[list[str]]:
    """The same of any number of recordings, 32 at a time."""
    for start in range(0, len(spoken), 32):
        yield from heard(recogniser, spoken[start : start + 32])


def rate(recogniser: Recognizer, spoken: list[Spoken], shows: bool = False) -> tuple[int, int]:
    """How many words were wrong, and how many there were."""
    wrong = words = 0
    for each, found in zip(spoken, in_parts(recogniser, spoken)):
        count = errors(each.words, found)
        wrong, words = wrong + count, words + len(each.words)
        if shows and count:
            print(f"  {each.name}: {' '.join(each.words)} | {' '.join(found)}")
    return wrong, words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="of Speech Commands")
    parser.add_argument("--fsdd", type=Path, metavar="FOLDER", help="of the Free Spoken Digit Dataset")
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="what examples.speech.data has made")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--only", default="", help="sets whose names hold this")
    parser.add_argument("--search", nargs="*", default=SEARCHES, choices=SEARCHES)
    parser.add_argument("--shows", action="store_true", help="print what was heard wrong")
    args = parser.parse_args()
    rows = []
    found = sets(args.recordings, args.fsdd, args.corpus)
    recognizers = {search: recognizer(search, args.model) for search in args.search}
    for name, spoken in found.items():
        if args.only in name and spoken:
            limited = recognizer("lexicon", args.model).limited_to(
                {word for each in spoken for word in each.words}
            )
            rates = [rate(each, spoken, args.shows) for each in (*recognizers.values(), limited)]
            percent = [f"{100 * wrong / words:.1f}" for wrong, words in rates]
            rows.append([name, len(spoken), rates[0][1], *percent])
            print("  ".join(map(str, rows[-1])), flush=True)
    print()
    print(*table(["word error rate, %", "recordings", "words", *recognizers, "its words"], rows), sep="\n")
    for search, each in recognizers.items():
        strange = [] if search == "greedy" else list(in_parts(each, unknown(args.recordings)))
        if strange:
            known = sum(map(bool, strange))
            print(f"{search}: of {len(strange)} words that are not known {known} were heard as known ones")
    for name in (name for name, spoken in found.items() if not spoken):
        print(f"{name}: not there")


if __name__ == "__main__":
    main()
