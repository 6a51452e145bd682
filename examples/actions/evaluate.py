"""How often the model is right about people whom it was not trained on, by how long it has watched.

python -m examples.actions.evaluate
"""

from __future__ import annotations

import numpy as np

from ..report import table
from .classifier import Classifier
from .data import HELD_OUT, MEAN_OF, RATE, exercises


def main() -> None:
    """The command."""
    classifier = Classifier()
    held = [one for one in exercises() if one.person in HELD_OUT]
    made = [classifier.whole(one.steps) for one in held]
    labels = np.array([one.label for one in held])
    rate = RATE / MEAN_OF
    rows = []
    for seconds in (1, 2, 4, 8, 16):
        steps = int(seconds * rate)
        now = np.array([probabilities[steps - 1].argmax() for probabilities in made])
        mean = np.array([probabilities[:steps].mean(0).argmax() for probabilities in made])
        rows.append((f"{seconds} s", f"{np.mean(now == labels):.1%}", f"{np.mean(mean == labels):.1%}"))
    mean = np.array([probabilities.mean(0).argmax() for probabilities in made])
    rows.append(("all", "", f"{np.mean(mean == labels):.1%}"))
    people = ", ".join(map(str, HELD_OUT))
    print(f"{len(held)} recordings of {len(classifier.names)} exercises, of people {people}")
    print(*table(("watched", "right at that step", "right by the mean so far"), rows), sep="\n")
    wrong = [(one, found) for one, found in zip(held, mean) if one.label != found]
    for one, found in wrong:
        print(f"person {one.person}: {classifier.names[one.label]} taken for {classifier.names[found]}")


if __name__ == "__main__":
    main()
