"""Matrices of windowed Fourier transforms, and the tables from which products with them take few steps.

A column of such a matrix is ``window[i] * cos(2 pi i f / N)``, or the same with a sine, ``f`` being its bin:
what models of sound are exported with where a transform is a convolution or a product. With N = 16 R, i =
16 p + q and f = r + R s the sum over i falls into R-point and 16-point ones (Cooley and Tukey, An algorithm
for the machine calculation of complex Fourier series, 1965)::

    X[r + R s] = sum over q of e(q s / 16) e(q r / N) (sum over p of e(p r / R) window[i] x[i])

where e(t) = exp(-2 pi i t). Since x is real, r = 0 ... R / 2 is enough: X[N - f] is the conjugate of X[f].
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinyseq.kernels.instructions import PANEL

HEADER = 64
"""Bytes in front of the tables: R, an int64."""

TOGETHER = 4
"""Rows whose second transform is one product."""

LEAST = 4
"""A product with so many times the numbers takes longer than a transform."""

LONGEST = 2**15
"""Numbers up to which tables are small."""

CLOSE = 2.0**-22
"""How far numbers of a matrix may be from those of a transform, as a part of the largest of their row:
cosines, windows and their products are rounded to float32."""

FEW = 8
"""Columns that tell nearly all other matrices from transforms."""

ALMOST = 1e-4
"""How well they do."""

FAINT = 2.0**-40
"""How far besides, as a part of the matrix's largest: sines of whole turns need not come out as zeros."""

ROWS = 64
"""Rows that are compared at a time."""


class FourierMatrix:
    """The matrix [len(window), len(bins)] of a transform of ``length`` numbers, zeros behind the window.

    Attributes:
        window: float64, as many as the matrix has rows.
        bins: the bin of each column.
        sines: for each column 0 if it is a cosine, else what the sine is multiplied with, 1 or -1.
    """

    __slots__ = ("bins", "length", "sines", "window")

    def __init__(self, length: int, window: np.ndarray, bins: np.ndarray, sines: np.ndarray) -> None:
        self.length = length
        self.window = window
        self.bins = bins
        self.sines = sines

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.window), len(self.bins)

    def numbers(self) -> np.ndarray:
        """The matrix's own numbers, float64."""
        return self.window[:, None] * self._waves(slice(None))

    def _waves(self, rows: slice) -> np.ndarray:
        sines = np.sin(2 * np.pi / self.length * np.arange(self.length))
        # A cosine is a sine a quarter of a turn on.
        steps = np.outer(np.arange(len(self.window))[rows], self.bins)
        steps += np.where(self.sines == 0, self.length // 4, 0)
        waves = sines[steps % self.length]
        waves[:, self.sines < 0] *= -1
        return waves

    def window_of(self, matrix: np.ndarray) -> np.ndarray | None:
        """The window with which this gives a matrix, but for rounding (by least squares)."""
        window, faint = np.zeros(len(matrix)), FAINT * np.abs(matrix).max()
        for start in range(0, len(matrix), ROWS):
            rows = slice(start, start + ROWS)
            waves, own = self._waves(rows), matrix[rows]
            weight = np.square(waves).sum(1)
            window[rows] = (waves * own).sum(1) / np.where(weight < ALMOST, 1, weight)
            far = np.abs(window[rows, None] * waves - own).max(1)
            if not (far <= CLOSE * np.abs(own).max(1) + faint).all():
                return None
        return window


def found(matrix: np.ndarray) -> FourierMatrix | None:
    """The transform that a matrix [k, n] is, if it is one and large enough to be worth it."""
    k, n = matrix.shape
    lengths = dict.fromkeys((k, 1 << (k - 1).bit_length(), n - 2, 2 * (n - 1)))
    with np.errstate(invalid="ignore", over="ignore"):
        for length in lengths:
            if k <= length and n <= length + 2 and is_worth(k, n, length) and _may_be(matrix, length):
                for bins, sines in _columns(n, length):
                    window = FourierMatrix(length, np.ones(k), bins, sines).window_of(matrix)
                    if window is not None:
                        return FourierMatrix(length, window, bins, sines)
    return None


def is_worth(k: int, n: int, length: int) -> bool:
    """Whether a product with a matrix [k, n] of a transform of so many numbers takes longer than the
    transform."""
    steps = length * (length // PANEL + 2 * PANEL)
    return length % PANEL == 0 and length < 2 * k and length <= LONGEST and LEAST * steps <= k * n


def _may_be(matrix: np.ndarray, length: int) -> bool:
    """Whether the first columns of a row are cosines, or sines, at equal distances of their angles."""
    i = len(matrix) // 3
    row = matrix[i, :FEW].astype(np.float64)
    for step in (1, 2):
        own = row[::step]
        between = own[:-2] + own[2:] - 2 * np.cos(2 * np.pi * i / length) * own[1:-1]
        if np.abs(between).max() <= ALMOST * np.abs(own).max() > 0:
            return True
    return False


def _columns(n: int, length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The bins and sines that the columns of a transform may be, from bin 0 or 1 on: cosines and then sines,
    in turns, or of one kind."""
    for lowest in (0, 1):
        bins = np.arange(lowest, length // 2 + 1)
        if n % 2 == 0 and n // 2 <= len(bins):
            half = bins[: n // 2]
            for sign in (-1, 1):
                pair = np.array([0, sign])
                yield np.tile(half, 2), np.repeat(pair, n // 2)
                yield np.repeat(half, 2), np.tile(pair, n // 2)
        if n <= len(bins):
            for sine in (0, 1):
                yield bins[:n], np.full(n, sine)


def scratch(k: int) -> int:
    """The bytes in which a product with a matrix of k rows works: the windowed numbers of one row, and the
    results of both transforms of ``TOGETHER``."""
    length = 2 * k
    return 4 * (length + TOGETHER * 2 * 2 * PANEL * (length // PANEL // 2 + 1))


def tables(matrix: FourierMatrix) -> np.ndarray:
    """What ``compute/fourier.py`` multiplies with, as bytes: R, padded to ``HEADER``, then float32 numbers.

    They are window [N]; the turns between both transforms [2, R / 2 + 1, 16]; the 16-point one [2, 16, 2,
    16]; zeros [32]; the R-point one [2, R / 2 + 1, R], behind which nothing need be aligned; for each column
    what it is multiplied with, and where in the results [R / 2 + 1, 2, 16] it lies, an int32.
    """
    length, radix = matrix.length, matrix.length // PANEL
    pairs = radix // 2 + 1
    window = np.zeros(length)
    window[: len(matrix.window)] = matrix.window
    first = _roots(np.outer(np.arange(pairs), np.arange(radix)), radix)
    turns = _roots(np.outer(np.arange(pairs), np.arange(PANEL)), length)
    real, imaginary = _roots(np.outer(np.arange(PANEL), np.arange(PANEL)), PANEL)
    second = np.array([[real, imaginary], [-imaginary, real]]).transpose(0, 2, 1, 3)
    mirrored = matrix.bins % radix >= pairs
    place = np.where(mirrored, length - matrix.bins, matrix.bins)
    sines = matrix.sines != 0
    places = 2 * PANEL * (place % radix) + PANEL * sines + place // radix
    # Results are real and imaginary parts, the latter minus the sine of a bin.
    scales = np.where(sines, np.where(mirrored, 1, -1) * matrix.sines, 1)
    numbers = [window, turns, second, np.zeros(2 * PANEL), first, scales]
    head = np.zeros(HEADER // 8, np.int64)
    head[0] = radix
    parts = [head, *(table.astype(np.float32) for table in numbers), places.astype(np.int32)]
    return np.concatenate([np.ascontiguousarray(part).reshape(-1).view(np.uint8) for part in parts])


def _roots(steps: np.ndarray, length: int) -> np.ndarray:
    """The real and the imaginary parts of exp(-2 pi i steps / length)."""
    angles = 2 * np.pi / length * (steps % length)
    return np.stack([np.cos(angles), -np.sin(angles)])
