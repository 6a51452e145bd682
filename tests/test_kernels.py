"""The compiled kernels: what is in the libraries, and each kernel against NumPy."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests.models import one_node
from tinyseq.kernels import library
from tinyseq.kernels.instructions import BINARY, FUNCTIONS, OPCODES, SEGMENT_SHIFT, UNARY
from tinyseq.kernels.isa import ISAS

TINY = 2.0**-126
"""The smallest normal float32; what is below counts as zero."""


def lines(*command: str) -> list[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize("name", ISAS)
def test_a_library_needs_nothing_and_offers_two_functions(name):
    path = str(library.FOLDER / library.library_file(name))
    assert lines("nm", "-D", "--undefined-only", path) == []
    exports = {line.split()[-1] for line in lines("nm", "-D", "--defined-only", path)}
    assert exports == {"tinyseq_run", "tinyseq_cpu_level"}
    assert [line for line in lines("readelf", "-dW", path) if "NEEDED" in line] == []


def execute(isa: str, instruction: str, *operands) -> None:
    """Runs one instruction. An array stands for an address: a segment that starts at its first element."""
    words: list[int] = []
    segments: list[int] = []
    for operand in operands:
        if isinstance(operand, np.ndarray):
            words.append(len(segments) << SEGMENT_SHIFT)
            segments.append(operand.ctypes.data)
        else:
            words += operand if isinstance(operand, list) else [operand]
    program = np.array([OPCODES[instruction], len(words) + 2, *words], np.int64)
    context = np.array([program.ctypes.data, program.size, *segments], np.int64)
    library.load(isa).tinyseq_run(context.ctypes.data)


def elementwise(isa: str, function: str, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """y = function(a, b) for views of one shape with any strides."""
    assert y.shape == a.shape == b.shape
    dims = [*y.shape, *(stride // 4 for view in (a, b, y) for stride in view.strides)]
    execute(isa, "elementwise", FUNCTIONS[function], a, b, y, y.ndim, dims)


# Each scalar function in float64 and the most that it may differ: in units in the last place of the
# exact result (0.5 is correct rounding), and beside them by an absolute amount where intermediate
# results become denormal or, in sigmoid, the argument is held above -87.
SCALARS = {
    "copy": (lambda a: a, 0.5, 0),
    "negate": (np.negative, 0.5, 0),
    "absolute": (np.abs, 0.5, 0),
    "relu": (lambda a: np.maximum(a, 0), 0.5, 0),
    "sigmoid": (lambda a: 1 / (1 + np.exp(-a)), 2.5, 2 * TINY),
    "tanh": (np.tanh, 3, TINY),
    "exp": (np.exp, 1.5, TINY),
    "sqrt": (np.sqrt, 0.5, 0),
    "square": (np.square, 0.5, 0),
    "reciprocal": (np.reciprocal, 0.5, 0),
    "add": (np.add, 0.5, 0),
    "subtract": (np.subtract, 0.5, 0),
    "multiply": (np.multiply, 0.5, 0),
    "divide": (np.divide, 0.5, 0),
    "maximum": (np.maximum, 0.5, 0),
    "minimum": (np.minimum, 0.5, 0),
}


def assert_exact(function: str, result: np.ndarray, *operands: np.ndarray) -> None:
    """Holds a result against the table, with denormal operands and results counted as zero."""
    exact_function, units, absolute = SCALARS[function]
    with np.errstate(all="ignore"):
        exact = exact_function(*(np.where(np.abs(x) < TINY, x * 0.0, x.astype(np.float64)) for x in operands))
        rounded = exact.astype(np.float32)
        error = np.abs(result.astype(np.float64) - exact)
        close = error <= units * np.spacing(np.abs(rounded)) + absolute
    same = (result == rounded) | (np.isnan(result) & np.isnan(rounded))
    denormal = (np.abs(exact) < TINY) & (np.abs(result) < TINY)
    wrong = ~(same | close | denormal)
    worst = [(*(x[wrong][0] for x in operands), result[wrong][0], exact[wrong][0])] if wrong.any() else []
    assert not wrong.any(), f"{function} is wrong {wrong.sum()} times; operands, result, exact: {worst}"


def test_every_scalar_function_is_in_the_table():
    assert set(SCALARS) == {*UNARY, *BINARY}


EDGES = [0.0, 1.0, 88.0, 87.33654, 88.72283, 88.73, 100.0, 1e30, np.inf, np.nan, TINY, TINY / 2, 1e-45, 3e38]


def numbers() -> np.ndarray:
    """Every binade, the range where functions bend, and the edges; both signs."""
    infinity = np.float32(np.inf).view(np.uint32)
    bits = np.arange(0, infinity, 4099, np.uint32).view(np.float32)
    values = np.concatenate([bits, np.linspace(0, 100, 500_001), EDGES]).astype(np.float32)
    return np.concatenate([values, -values])


@pytest.mark.parametrize("function", UNARY)
def test_unary_function_over_all_magnitudes(isa, function):
    x = numbers()
    y = np.empty_like(x)
    elementwise(isa, function, y, x, x)
    assert_exact(function, y, x)


@pytest.mark.parametrize("function", BINARY)
def test_binary_function_on_edges(isa, function):
    values = np.array([*EDGES, *(-edge for edge in EDGES)], np.float32)
    a, b = (np.ravel(x).copy() for x in np.meshgrid(values, values))
    y = np.empty_like(a)
    elementwise(isa, function, y, a, b)
    assert_exact(function, y, a, b)


@st.composite
def views(draw, shape: tuple[int, ...], repeats: bool) -> np.ndarray:
    """A float32 view of a shape: dimensions in any order, steps of either sign, perhaps repeated ones."""
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 2, -1, -3])) for _ in shape]
    repeated = [repeats and draw(st.booleans()) for _ in shape]
    sizes = [1 if again else size for size, again in zip(shape, repeated)]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    whole = rng.standard_normal([sizes[axis] * abs(steps[axis]) for axis in order]).astype(np.float32)
    view = whole[tuple(slice(None, None, steps[axis]) for axis in order)]
    return np.broadcast_to(np.transpose(view, np.argsort(order)), shape)


@pytest.mark.parametrize("function", FUNCTIONS)
@given(data=st.data())
def test_elementwise_on_any_strides(isa, function, data):
    shape = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5)))
    a, b = (data.draw(views(shape, repeats=True)) for _ in range(2))
    y = data.draw(views(shape, repeats=False)).copy(order="K")
    y.flags.writeable = True
    elementwise(isa, function, y, a, b)
    assert_exact(function, y, *((a,) if function in UNARY else (a, b)))


@given(data=st.data())
def test_elementwise_writes_nothing_beside_its_output(isa, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    whole = np.zeros([2 * size + 1 for size in shape], np.float32)
    inside = tuple(slice(1, None, 2) for _ in shape)
    ones = np.ones(shape, np.float32)
    elementwise(isa, "copy", whole[inside], ones, ones)
    expected = np.zeros_like(whole)
    expected[inside] = 1
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("function", ["add", "multiply", "maximum", "minimum"])
@given(rows=st.integers(1, 5), count=st.integers(1, 40), step=st.integers(1, 3))
def test_a_fold_runs_in_order(isa, function, rows, count, step):
    b = np.random.default_rng(count).standard_normal((rows, count * step)).astype(np.float32)[:, ::step]
    y = np.ones(rows, np.float32)
    elementwise(isa, function, *(np.broadcast_to(y[:, None], b.shape),) * 2, b)
    in_order = getattr(np, function).accumulate(np.insert(b, 0, 1, axis=1), axis=1)[:, -1]
    np.testing.assert_array_equal(y, in_order)


SIZES = st.integers(1, 40) | st.sampled_from([64, 65, 100, 129])


def gemm(rows: int, inner: int, columns: int, seed: int):
    rng = np.random.default_rng(seed)
    x, w, c = (rng.standard_normal(s).astype(np.float32) for s in ((rows, inner), (inner, columns), columns))
    return one_node("Gemm", [x, w, c], fed=[0]), (x, w, c)


@given(rows=SIZES, inner=SIZES, columns=SIZES, seed=st.integers(0, 99))
def test_product_is_right_and_its_rows_are_independent(isa, rows, inner, columns, seed):
    case, (x, w, c) = gemm(rows, inner, columns, seed)
    session = tinyseq.load(case.model)
    y = session.run(case.feeds)["y"]
    wide = [array.astype(np.float64) for array in (x, w, c)]
    # Of a sum of n terms, each rounded addition errs by at most 2**-24 of the sum of magnitudes.
    magnitude = np.abs(wide[0]) @ np.abs(wide[1]) + np.abs(wide[2])
    bound = (inner + 2) * 2.0**-24 * magnitude * (1 if ISAS[isa].fma else 2)
    assert (np.abs(y - (wide[0] @ wide[1] + wide[2])) <= bound).all()

    row = seed % rows
    np.testing.assert_array_equal(session.run({"a": x[row : row + 1]})["y"], y[row : row + 1])
    poisoned = x.copy()
    poisoned[row] = np.nan
    z = session.run({"a": poisoned})["y"]
    assert np.isnan(z[row]).all()
    np.testing.assert_array_equal(np.delete(z, row, 0), np.delete(y, row, 0))


@pytest.mark.skipif("avx512" not in library.available(), reason="this machine has no AVX-512")
@given(rows=SIZES, inner=SIZES, columns=SIZES, seed=st.integers(0, 99))
def test_fused_isas_agree_in_every_bit(monkeypatch, rows, inner, columns, seed):
    case, _ = gemm(rows, inner, columns, seed)
    results = []
    for name in ("avx2", "avx512"):
        monkeypatch.setenv(library.ISA_VARIABLE, name)
        results.append(tinyseq.load(case.model).run(case.feeds)["y"])
    np.testing.assert_array_equal(*results)
