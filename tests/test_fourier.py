"""Products with matrices of Fourier transforms: found, right, of the same bits whatever lies beside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests.test_bits import same_bits
from tests.test_formats import formats_used
from tinyseq.backends.planned import PlannedBackend
from tinyseq.kernels import fourier
from tinyseq.kernels.formats import FLOAT32, FOURIER

LAYOUTS = ("cosines, then sines", "in turns", "cosines", "sines")


def matrix_of(
    length: int,
    k: int,
    layout: str = LAYOUTS[0],
    sign: float = -1,
    window: np.ndarray | None = None,
    bins: slice = slice(None),
) -> np.ndarray:
    """As exporters write them: float32, worked out in float64."""
    angles = 2 * np.pi / length * np.outer(np.arange(k), np.arange(length // 2 + 1)[bins])
    window = np.hanning(k + 1)[1:, None] if window is None else window[:, None]
    cosines, sines = window * np.cos(angles), window * np.sin(angles) * sign
    return {
        LAYOUTS[0]: np.concatenate([cosines, sines], 1),
        LAYOUTS[1]: np.stack([cosines, sines], 2).reshape(k, -1),
        LAYOUTS[2]: cosines,
        LAYOUTS[3]: sines,
    }[layout].astype(np.float32)


@st.composite
def matrices(draw) -> np.ndarray:
    """Of transforms that are worth it, some with fewer rows than numbers, some with fewer bins."""
    layout = draw(st.sampled_from(LAYOUTS))
    halves = layout in LAYOUTS[2:]
    length = draw(st.sampled_from([640, 1024] if halves else [240, 256, 320, 400, 512, 720]))
    k = draw(st.sampled_from([length, length, length - 12])) if length in (256, 512, 1024) else length
    seed = draw(st.integers(0, 99))
    window = np.random.default_rng(seed).uniform(-1, 1, k) if seed % 2 else None
    bins = draw(st.sampled_from([slice(None), slice(1, None), slice(1, -1), slice(-9)]))
    return matrix_of(length, k, layout, draw(st.sampled_from([-1, 1])), window, bins)


@given(matrices())
def test_transforms_are_found_and_their_numbers_are_the_matrix(matrix):
    found = fourier.found(matrix)
    assert found is not None and found.shape == matrix.shape
    far = np.abs(found.numbers() - matrix).max(1)
    assert (far <= 2.0**-22 * np.abs(matrix).max(1) + 1e-12 * np.abs(matrix).max()).all()


@given(matrices(), st.integers(0, 2**32), st.sampled_from([1e-5, 1e-2, 1]))
def test_what_differs_in_one_number_is_none(matrix, seed, by):
    rng = np.random.default_rng(seed)
    place = tuple(rng.integers(matrix.shape))
    matrix[place] += by * np.abs(matrix).max()
    assert fourier.found(matrix) is None


def test_one_large_row_hides_no_others():
    matrix = 1e-3 * np.random.default_rng(0).standard_normal((256, 258)).astype(np.float32)
    matrix[0, :129], matrix[0, 129:], matrix[85] = 1e5, 0, 0
    assert fourier.found(matrix) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_none(value):
    matrix = matrix_of(256, 256)
    matrix[100, 50] = value
    assert fourier.found(matrix) is None


@pytest.mark.parametrize("shape", [(256, 258), (512, 514), (256, 1024), (16, 16), (1, 1), (300, 2)])
def test_others_are_none(shape):
    rng = np.random.default_rng(0)
    assert fourier.found(rng.standard_normal(shape).astype(np.float32)) is None
    assert fourier.found(np.zeros(shape, np.float32)) is None


def convolved(matrix: np.ndarray, stride: int, rows: int, frames: int, bias: bool = False) -> tinyseq.Graph:
    """Windows of sound, ``stride`` apart, times a matrix, as a convolution."""
    g, (k, n) = tinyseq.Graph(), matrix.shape
    x = g.input("x", [rows, 1, k + stride * (frames - 1)])
    inputs = [matrix.T[:, None], *([np.linspace(-1, 1, n, dtype=np.float32)] if bias else [])]
    g.output("y", g.apply("Conv", x, *inputs, kernel_shape=(k,), strides=(stride,)))
    return g


def multiplied(matrix: np.ndarray, op: str, rows: int) -> tinyseq.Graph:
    g, (k, n) = tinyseq.Graph(), matrix.shape
    x = g.input("x", [rows, k])
    if op == "MatMul":
        g.output("y", g.apply("MatMul", x, matrix))
    else:
        bias = np.linspace(-1, 1, n, dtype=np.float32)
        g.output("y", g.apply("Gemm", x, matrix.T.copy(), bias, transB=1))
    return g


def sound(shape: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


def used(session: tinyseq.Session, feeds: dict) -> list[int]:
    return [code for name, code in formats_used(session, feeds)[0] if name == "linear"]


@given(matrices(), st.integers(1, 3), st.sampled_from([7, 80, 128]), st.integers(1, 5), st.booleans())
def test_convolutions_are_right(matrix, rows, stride, frames, bias):
    k, n = matrix.shape
    session = tinyseq.load(convolved(matrix, stride, rows, frames, bias))
    feeds = sound((rows, 1, k + stride * (frames - 1)))
    assert used(session, feeds) == [FOURIER.code]
    windows = np.lib.stride_tricks.sliding_window_view(feeds["x"][:, 0], k, axis=1)[:, ::stride]
    expected = windows.astype(np.float64) @ matrix + (np.linspace(-1, 1, n) if bias else 0)
    close(session.run(feeds)["y"], expected.swapaxes(1, 2))


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(np.abs(expected).max(), 1))


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
@pytest.mark.parametrize("rows", [1, 7, 130])
def test_products_are_right(op, rows):
    matrix = matrix_of(512, 400)
    session, feeds = tinyseq.load(multiplied(matrix, op, rows)), sound((rows, 400))
    assert used(session, feeds) == [FOURIER.code]
    bias = 0 if op == "MatMul" else np.linspace(-1, 1, matrix.shape[1])
    close(session.run(feeds)["y"], feeds["x"].astype(np.float64) @ matrix + bias)


@given(matrices(), st.integers(2, 9))
def test_a_row_has_the_same_bits_alone(matrix, rows):
    feeds = sound((rows, matrix.shape[0]))
    whole = tinyseq.load(multiplied(matrix, "Gemm", rows)).run(feeds)["y"]
    one = tinyseq.load(multiplied(matrix, "Gemm", 1))
    for row in range(rows):
        same_bits(one.run({"x": feeds["x"][row : row + 1]})["y"], whole[row : row + 1])


@pytest.mark.parametrize("chunks", [[128] * 6, [512, 256], [256, 128, 384]])
def test_chunks_have_the_bits_of_the_whole(chunks):
    matrix, g = matrix_of(256, 256), tinyseq.Graph()
    x = g.input("x", [1, 1, "samples"])
    padded = g.apply("Pad", x, np.array([0, 0, 128, 0, 0, 0]))
    g.output("y", g.apply("Conv", padded, matrix.T[:, None], kernel_shape=(256,), strides=(128,)))
    model, feeds = tinyseq.load(g), sound((1, 1, sum(chunks)))
    stream = model.stream()
    parts = np.split(feeds["x"], np.cumsum(chunks)[:-1], axis=2)
    streamed = np.concatenate([stream.step({"x": part})["y"] for part in parts], axis=2)
    same_bits(streamed, model.run(feeds)["y"])


@pytest.mark.parametrize("before, stride", [(128, 128), (255, 1), (100, 60)])
def test_windows_that_meet_padding_have_the_bits_of_whole_ones(before, stride):
    matrix, g = matrix_of(256, 256), tinyseq.Graph()
    x = g.input("x", [1, 1, "samples"])
    inputs = x, matrix.T[:, None]
    g.output("y", g.apply("Conv", *inputs, kernel_shape=(256,), strides=(stride,), pads=(before, 0)))
    model = tinyseq.load(g)
    longer = sound((1, 1, 900))
    whole = model.run(longer)["y"]
    for samples in (256 - before, 200, 300):
        feeds = {"x": longer["x"][:, :, :samples]}
        alone = model.run(feeds)["y"]
        same_bits(alone, whole[:, :, : alone.shape[2]])
        same_bits(alone, model.stream().step(feeds)["y"])


def test_what_is_not_finite_stays_in_its_row():
    matrix, feeds = matrix_of(256, 256), sound((3, 256))
    session = tinyseq.load(multiplied(matrix, "MatMul", 3))
    right = session.run(feeds)["y"]
    feeds["x"][1, 5] = np.nan
    found = session.run(feeds)["y"]
    assert np.isnan(found[1]).all()
    same_bits(found[[0, 2]], right[[0, 2]])


def test_two_threads_give_the_same_bits():
    matrix, feeds = matrix_of(512, 512), sound((64, 512))
    one, two = (tinyseq.load(multiplied(matrix, "MatMul", 64), threads=n).run(feeds)["y"] for n in (1, 2))
    same_bits(one, two)


def test_rounded_weights_are_multiplied_as_they_are():
    session = tinyseq.load(multiplied(matrix_of(256, 256), "MatMul", 2), precision="bfloat16")
    assert FOURIER.code not in used(session, sound((2, 256)))


def test_devices_without_a_way_of_their_own_multiply(monkeypatch):
    monkeypatch.setattr(PlannedBackend, "transforms", False)
    matrix, feeds = matrix_of(256, 256), sound((2, 256))
    plain = tinyseq.load(multiplied(matrix, "MatMul", 2)).run(feeds)["y"]
    monkeypatch.undo()
    transformed = tinyseq.load(multiplied(matrix, "MatMul", 2)).run(feeds)["y"]
    close(transformed, plain)
    assert (plain != transformed).any()


@pytest.mark.parametrize("op", ["DFT", "STFT"])
@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("length", [256, 400, 1024])
def test_the_ops_of_transforms_take_this_way(op, half, length):
    g, feeds = tinyseq.Graph(), sound((2, length + 96))
    window = np.hamming(length).astype(np.float32)
    x = g.input("x", [2, length + 96])
    x = g.apply("Reshape", x, np.array([2, -1, 1]))
    if op == "DFT":
        y = g.apply("DFT", x, np.array(length), np.array(1), onesided=int(half))
        frames, window = feeds["x"][:, None, :length], np.float32(1)
    else:
        y = g.apply("STFT", x, np.array(32), window, np.array(length), onesided=int(half))
        frames = np.lib.stride_tricks.sliding_window_view(feeds["x"], length, axis=1)[:, ::32]
    g.output("y", y)
    session = tinyseq.load(g)
    assert used(session, feeds) == [FOURIER.code]
    expected = (np.fft.rfft if half else np.fft.fft)(frames.astype(np.float64) * window)
    expected = np.stack([expected.real, expected.imag], -1)
    close(session.run(feeds)["y"], expected[:, 0] if op == "DFT" else expected)


def test_float32_is_what_small_matrices_are_multiplied_in():
    session = tinyseq.load(multiplied(matrix_of(64, 64), "MatMul", 2))
    assert used(session, sound((2, 64))) == [FLOAT32.code]


def test_lengths_that_no_machine_holds_are_refused():
    g = tinyseq.Graph()
    x = g.apply("Reshape", g.input("x", [1, 16]), np.array([1, -1, 1]))
    g.output("y", g.apply("DFT", x, np.array(2**40), np.array(1), onesided=1))
    with pytest.raises(tinyseq.FeedError, match="more than this machine can hold"):
        tinyseq.load(g).run(sound((1, 16)))
