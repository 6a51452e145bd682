"""What models and kernels give, as a file: made here and on other processors, to compare every bit.

``python tests/results.py FOLDER FILE`` needs tinyseq and NumPy alone. FOLDER holds models, each with inputs
of the same name: of a run, with ``step`` in front of the name of many steps of a stream, with ``pool`` those
of a pool whose rows lie along axis 1; and rows for searches.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

import tinyseq
from tinyseq.kernels.instructions import FUNCTION_CODES, FUNCTIONS
from tinyseq.kernels.program import Buffer, Program

STORED = {"f": np.float32, "i": np.int64, "b": np.uint8, "w": np.int32}
COUNT = 4096
ROWS = "rows.npy"
"""Log-probabilities for searches."""


def elementwise() -> Iterator[tuple[str, np.ndarray]]:
    """Every function of the table on numbers of all magnitudes, and what is none."""
    rng = np.random.default_rng(0)
    for row in FUNCTIONS:
        arrays = [drawn(rng, kind) for kind in row.operands]
        y = np.zeros(COUNT, STORED[row.result])
        buffers = [*map(Buffer, (*arrays, *arrays[:1] * 2)[:3]), Buffer(y)]
        program = Program()
        strides = [buffer.array.itemsize for buffer in buffers]
        code = FUNCTION_CODES[row.name, row.operands]
        program.add("elementwise", code, *buffers, 1, COUNT, *strides)
        program.run()
        yield f"elementwise {row.name} {row.operands}", y


def drawn(rng: np.random.Generator, kind: str) -> np.ndarray:
    if kind == "f":
        whole = rng.integers(0, 2**32, COUNT, np.uint64).astype(np.uint32).view(np.float32)
        return np.where(rng.random(COUNT) < 0.5, rng.standard_normal(COUNT).astype(np.float32), whole)
    low, high = {"i": (-9, 10), "b": (0, 256), "w": (-(2**31), 2**31)}[kind]
    return rng.integers(low, high, COUNT).astype(STORED[kind])


def searches(rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Tokens and scores of CTC searches."""
    for options in (tinyseq.CtcGreedy(), tinyseq.CtcBeamSearch(nbest=5)):
        for number, found in enumerate(tinyseq.CtcDecoder(options).decode(rows)):
            name = f"{type(options).__name__} {number}"
            yield f"{name} tokens", np.array(found.tokens)
            # NumPy's exponentials, in float64, have last bits of their own on each processor.
            yield f"{name} scores", np.array([found.score, *found.confidences], np.float32)


def model(path: Path, given: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    session = tinyseq.load(path)
    kind = path.stem.partition(" ")[0]
    if kind == "step":
        stream = session.stream()
        results = [stream.step(dict(zip(given, chunk))) for chunk in zip(*given.values())]
    elif kind == "pool":
        (first, *_) = given.values()
        pool = session.pool(first.shape[2])
        rows = [pool.open() for _ in range(first.shape[2])]
        results = [pool.step(rows, dict(zip(given, chunk))) for chunk in zip(*given.values())]
    else:
        results = [session.run(given)]
    for number, result in enumerate(results):
        for name, array in result.items():
            yield f"{path.stem} {number} {name}", array


def results(folder: Path) -> dict[str, np.ndarray]:
    """All of them by what they are of."""
    found = dict([*elementwise(), *searches(np.load(folder / ROWS))])
    for path in sorted(folder.glob("*.tinyseq")):
        with np.load(path.with_suffix(".npz")) as given:
            found |= model(path, dict(given))
    return found


if __name__ == "__main__":
    np.savez(sys.argv[2], **results(Path(sys.argv[1])))
