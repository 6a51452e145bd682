"""The compiled kernels: what is in the libraries, and each kernel against NumPy."""

from __future__ import annotations

import math
import re
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests.models import GATES, one_node, recurrent
from tinyseq.errors import KernelsError
from tinyseq.kernels import library
from tinyseq.kernels.build import native
from tinyseq.kernels.cells import Variant
from tinyseq.kernels.compute.rows import _Passes
from tinyseq.kernels.instructions import FUNCTION_CODES, FUNCTIONS, OPCODES, SEGMENT_SHIFT, Function
from tinyseq.kernels.llvm.architecture import HERE, ISAS

TINY = 2.0**-126
"""The smallest normal float32; what is below counts as zero."""


def lines(*command: str) -> list[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize("name", library.available())
def test_a_library_needs_nothing_and_offers_its_functions(name):
    path = f"{library.FOLDER}/{library.library_file(name)}"
    assert lines("nm", "-D", "--undefined-only", path) == []
    exports = {line.split()[-1] for line in lines("nm", "-D", "--defined-only", path)}
    own = HERE.CPU_LEVEL + (HERE.MATRIX_UNIT if HERE.ISAS[name].matrix_unit else "")
    assert exports == {"tinyseq_run"} | set(re.findall(r"define i64 @(\w+)\(", own))
    assert [line for line in lines("readelf", "-dW", path) if "NEEDED" in line] == []


def test_the_build_knows_the_machine_as_libraries_do():
    functions = library.load(library.available()[0])
    assert HERE.ISAS[native()].level == HERE.cpu_level(partial(getattr, functions))


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A file in a folder of a checkout's sources, and a record of a build from them."""
    folder = tmp_path / "tinyseq" / "kernels" / "inner"
    folder.mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    (folder / "tiles.py").write_text("def f(x):\n    return x + 1\n")
    monkeypatch.setattr(library, "SOURCES", str(folder.parent))
    monkeypatch.setattr(library, "FOLDER", str(folder.parent))
    (folder.parent / library.FINGERPRINT_FILE).write_text(library.fingerprint())
    library._check_sources.__wrapped__()
    return folder / "tiles.py"


def test_a_checkout_refuses_libraries_of_other_sources(checkout):
    checkout.write_text("def f(x):\n    return x + 2\n")
    with pytest.raises(KernelsError, match="rebuild"):
        library._check_sources.__wrapped__()


def test_what_is_said_of_sources_needs_no_build(checkout):
    checkout.write_text('"""Tiles."""\n\n\ndef f(x):\n    """One more."""\n    return x + 1  # so\n')
    library._check_sources.__wrapped__()


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
    context = np.array([program.ctypes.data, program.size, 0, 0, *segments], np.int64)
    library.load(isa).tinyseq_run(context.ctypes.data)


STORED = {"f": np.float32, "i": np.int64, "b": np.uint8, "w": np.int32}
"""What elements of each kind are."""


def elementwise(isa: str, name: str, y: np.ndarray, *operands: np.ndarray) -> None:
    """y = function(operands) for views of one shape with any strides."""
    kind_of = {np.dtype(dtype): kind for kind, dtype in STORED.items()}
    kinds = "".join(kind_of[operand.dtype] for operand in operands)
    a, b, c = (*operands, *operands[:1] * 2)[:3]
    dims = [*y.shape, *(stride for view in (a, b, c, y) for stride in view.strides)]
    execute(isa, "elementwise", FUNCTION_CODES[name, kinds], a, b, c, y, y.ndim, dims)


erf = np.vectorize(math.erf, otypes=[float])

# Each float function in float64 and the most that it may differ: in units in the last place of the
# exact result (0.5 is correct rounding), and beside them by an absolute amount where intermediate
# results become denormal.
SCALARS = {
    "copy": (lambda a: a, 0.5, 0),
    "negate": (np.negative, 0.5, 0),
    "absolute": (np.abs, 0.5, 0),
    "relu": (lambda a: np.maximum(a, 0), 0.5, 0),
    "sigmoid": (lambda a: 1 / (1 + np.exp(-a)), 2.5, TINY),
    "tanh": (np.tanh, 3, TINY),
    "exp": (np.exp, 1.5, TINY),
    "log": (np.log, 2.5, TINY),
    "sqrt": (np.sqrt, 0.5, 0),
    "square": (np.square, 0.5, 0),
    "reciprocal": (np.reciprocal, 0.5, 0),
    "floor": (np.floor, 0.5, 0),
    "ceil": (np.ceil, 0.5, 0),
    "round": (np.rint, 0.5, 0),
    "sign": (np.sign, 0.5, 0),
    "erf": (erf, 4, 3e-7),
    "sine": (np.sin, 1, 2.5e-7),
    "cosine": (np.cos, 1, 2.5e-7),
    "softplus": (lambda a: np.logaddexp(a, 0), 4, 2 * TINY),
    "truncate": (lambda a: np.nan_to_num(np.clip(np.trunc(a), -(2.0**63), 2.0**63)), 0.5, 0),
    "nonzero": (lambda a: a != 0, 0, 0),
    "is_nan": (np.isnan, 0, 0),
    "add": (np.add, 0.5, 0),
    "subtract": (np.subtract, 0.5, 0),
    "multiply": (np.multiply, 0.5, 0),
    "divide": (np.divide, 0.5, 0),
    "maximum": (np.maximum, 0.5, 0),
    "minimum": (np.minimum, 0.5, 0),
    "power": (np.power, 1, TINY),
    "modulo": (np.mod, 0.5, 0),
    "remainder": (np.fmod, 0.5, 0),
    "leaky_relu": (lambda a, b: np.where(a < 0, a * b, a), 0.5, 0),
    "equal": (np.equal, 0, 0),
    "less": (np.less, 0, 0),
    "less_equal": (np.less_equal, 0, 0),
    "fma": (lambda a, b, c: a * b + c, 1, 2e-6),
    "clip": (lambda a, b, c: np.minimum(np.maximum(a, b), c), 0.5, 0),
    "elu": (lambda a, b, c: np.where(a > 0, a, b * np.expm1(np.minimum(a, 0) / c)), 8, 2 * TINY),
    "selu": (lambda a, b, c: c * np.where(a > 0, a, b * np.expm1(np.minimum(a, 0))), 8, 2 * TINY),
}
FLOATS = [row for row in FUNCTIONS if set(row.operands) == {"f"}]
FOLDS = ["add", "multiply", "maximum", "minimum"]


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


def test_every_float_function_is_in_the_table():
    assert set(SCALARS) == {row.name for row in FLOATS}


def empty_result(row: Function, shape: tuple[int, ...]) -> np.ndarray:
    return np.empty(shape, STORED[row.result])


def of_arity(count: int) -> list[Function]:
    return [row for row in FLOATS if len(row.operands) == count]


EDGES = [0.0, 1.0, 88.0, 87.33654, 88.72283, 88.73, 100.0, 1e30, np.inf, np.nan, TINY, TINY / 2, 1e-45, 3e38]


def numbers() -> np.ndarray:
    """Every binade, the range where functions bend, and the edges; both signs."""
    infinity = np.float32(np.inf).view(np.uint32)
    bits = np.arange(0, infinity, 4099, np.uint32).view(np.float32)
    values = np.concatenate([bits, np.linspace(0, 100, 500_001), EDGES]).astype(np.float32)
    return np.concatenate([values, -values])


@pytest.mark.parametrize("row", of_arity(1), ids=lambda row: row.name)
def test_unary_function_over_all_magnitudes(isa, row):
    x = numbers()
    y = empty_result(row, x.shape)
    elementwise(isa, row.name, y, x)
    assert_exact(row.name, y, x)


@pytest.mark.parametrize("row", of_arity(2), ids=lambda row: row.name)
def test_binary_function_on_edges(isa, row):
    values = np.array([*EDGES, 2, 3, 0.5, 7, *(-edge for edge in EDGES), -2, -3, -0.5], np.float32)
    a, b = (np.ravel(x).copy() for x in np.meshgrid(values, values))
    y = empty_result(row, a.shape)
    elementwise(isa, row.name, y, a, b)
    if row.name == "power":
        assert_power(y, a, b)
    else:
        assert_exact(row.name, y, a, b)


def assert_power(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """As C's pow; where the exponent is beyond what float32 can tell, only the magnitude is held."""
    with np.errstate(all="ignore"):
        exact = np.power(np.where(np.abs(a) < TINY, a * 0, a).astype(float), np.where(np.abs(b) < TINY, 0, b))
        rounded = exact.astype(np.float32)
        close = np.abs(y - exact) <= 2e-7 * np.abs(exact)
    small = (np.abs(exact) <= TINY) & (np.abs(y) <= TINY)
    same = (y == rounded) | (np.isnan(y) & np.isnan(exact)) | close | small
    assert same.all(), [*zip(a[~same], b[~same], y[~same], exact[~same])][:5]


INTEGERS = {
    "to_float": lambda a: a.astype(np.float32),
    "copy": lambda a: a,
    "negate": np.negative,
    "absolute": np.abs,
    "square": np.square,
    "sign": np.sign,
    "nonzero": lambda a: a != 0,
    "not": lambda a: a == 0,
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": lambda a, b: np.where(b == 0, 0, np.sign(a) * np.sign(b) * (abs(a) // np.maximum(abs(b), 1))),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "modulo": lambda a, b: np.where(b == 0, 0, np.mod(a, np.where(b == 0, 1, b))),
    "power": lambda a, b: np.array([power_of_integers(*map(int, pair)) for pair in zip(a, b)]),
    "remainder": lambda a, b: np.where(b == 0, 0, np.fmod(a, np.where(b == 0, 1, b))),
    "equal": np.equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "where": lambda a, b, c: np.where(a != 0, b, c),
    "to_byte": lambda a: a.astype(np.uint8),
    "to_word": lambda a: a.astype(np.int32),
}


def power_of_integers(a: int, b: int) -> int:
    """a ** b in 64 bits that wrap around; a fraction is cut off."""
    if b < 0:
        return a ** (b % 2) if abs(a) == 1 else 0
    return (pow(a, b, 2**64) + 2**63) % 2**64 - 2**63


@pytest.mark.parametrize(
    "row",
    [row for row in FUNCTIONS if set(row.operands) == {"i"}],
    ids=lambda row: f"{row.name}-{row.operands}",
)
@given(seed=st.integers(0, 99), size=st.integers(1, 70))
def test_integer_function_is_exact(isa, row, seed, size):
    rng = np.random.default_rng(seed)
    operands = [rng.integers(-6, 7, size) * rng.choice([1, 2**40], size) for _ in row.operands]
    y = empty_result(row, (size,))
    if row.name == "wrap":
        operands[1] = np.full(size, 8 if seed % 2 else -16)
        expected = operands[0].astype(np.uint8 if seed % 2 else np.int16)
    else:
        expected = INTEGERS[row.name](*operands)
    elementwise(isa, row.name, y, *operands)
    np.testing.assert_array_equal(y, expected)


@given(seed=st.integers(0, 99), size=st.integers(1, 70))
def test_where_picks_floats(isa, seed, size):
    rng = np.random.default_rng(seed)
    condition, a, b = rng.integers(0, 2, size), *rng.standard_normal((2, size)).astype(np.float32)
    y = np.empty(size, np.float32)
    elementwise(isa, "where", y, condition, a, b)
    np.testing.assert_array_equal(y, np.where(condition, a, b))


POSITIVE = {("elu", 2)}
"""Which operands of which functions are above 0."""


@st.composite
def views(draw, shape: tuple[int, ...], repeats: bool, positive: bool = False) -> np.ndarray:
    """A float32 view of a shape: dimensions in any order, steps of either sign, perhaps repeated ones."""
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 2, -1, -3])) for _ in shape]
    repeated = [repeats and draw(st.booleans()) for _ in shape]
    sizes = [1 if again else size for size, again in zip(shape, repeated)]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    whole = rng.standard_normal([sizes[axis] * abs(steps[axis]) for axis in order]).astype(np.float32)
    whole = np.abs(whole) + np.float32(0.1) if positive else whole
    view = whole[tuple(slice(None, None, steps[axis]) for axis in order)]
    return np.broadcast_to(np.transpose(view, np.argsort(order)), shape)


@pytest.mark.parametrize("row", FLOATS, ids=lambda row: row.name)
@given(data=st.data())
def test_elementwise_on_any_strides(isa, row, data):
    shape = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5)))
    if len(shape) < 3:
        shape = (*shape[:-1], data.draw(st.integers(0, 40)))
    above = [(row.name, place) in POSITIVE for place in range(len(row.operands))]
    operands = [data.draw(views(shape, True, positive)) for positive in above]
    y = data.draw(views(shape, repeats=False)).copy(order="K")
    y = np.empty_like(y, dtype=empty_result(row, ()).dtype)
    elementwise(isa, row.name, y, *operands)
    assert_exact(row.name, y, *operands)


@given(data=st.data())
def test_elementwise_writes_nothing_beside_its_output(isa, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    whole = np.zeros([2 * size + 1 for size in shape], np.float32)
    inside = tuple(slice(1, None, 2) for _ in shape)
    ones = np.ones(shape, np.float32)
    elementwise(isa, "copy", whole[inside], ones)
    expected = np.zeros_like(whole)
    expected[inside] = 1
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("kind", ["f", "i"])
@pytest.mark.parametrize("function", FOLDS)
@given(
    outer=st.integers(1, 3),
    rows=st.integers(1, 40),
    count=st.integers(1, 40),
    step=st.integers(1, 3),
    turned=st.booleans(),
)
def test_a_fold_runs_in_order(isa, function, kind, outer, rows, count, step, turned):
    """Rows one behind the other, or ``turned``: one beside the other."""
    b = np.random.default_rng(count).standard_normal((outer, rows, count * step)) * (1 if kind == "f" else 9)
    b = b.astype(STORED[kind])
    b = (np.ascontiguousarray(b.swapaxes(1, 2)).swapaxes(1, 2) if turned else b)[..., ::step]
    y = np.ones((outer, rows), b.dtype)
    elementwise(isa, function, *(np.broadcast_to(y[..., None], b.shape),) * 2, b)
    in_order = getattr(np, function).accumulate(np.insert(b, 0, 1, axis=2), axis=2)[..., -1]
    np.testing.assert_array_equal(y, in_order)


@given(data=st.data())
def test_channels_apart_are_weighed_in_order(isa, data):
    """Windows anywhere in x; a baseline multiplies and adds, others fuse."""
    channels, taps = data.draw(st.sampled_from([1, 5, 16, 17, 31, 64])), data.draw(st.integers(0, 6))
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=0, max_size=2)) + [data.draw(st.integers(1, 16))]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    strides, offsets = rng.integers(0, 4, len(sizes)), rng.integers(0, 9, taps)
    x = rng.standard_normal((int(np.dot(strides, sizes)) + 10, channels)).astype(np.float32)
    w, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((taps, channels), channels))
    y = np.empty((*sizes, channels), np.float32)
    step = 4 * channels
    dims = [*sizes, *(strides * step).tolist(), *(offsets * step).tolist()]
    execute(isa, "depthwise", x, w, bias, y, channels, taps, len(sizes), dims)
    for place in np.ndindex(*sizes):
        total = bias
        for offset, weights in zip(offsets, w):
            met = x[np.dot(place, strides) + offset]
            if ISAS[isa].fma:
                total = (met.astype(np.float64) * weights + total).astype(np.float32)
            else:
                total = met * weights + total
        np.testing.assert_allclose(y[place], total, rtol=1e-6, atol=1e-6)


@given(
    rows=st.integers(1, 9),
    count=st.sampled_from([1, 2, 7, 15, 16, 17, 40, 700]),
    gap=st.integers(0, 3),
    centred=st.booleans(),
    seed=st.integers(0, 99),
)
def test_normalised_rows(isa, rows, count, gap, centred, seed):
    """Each row is the same whatever is beside it, and right however far from 0 its numbers are."""
    rng = np.random.default_rng(seed)
    x = (rng.choice([0, 30]) + rng.standard_normal((rows, count + gap))).astype(np.float32)
    epsilon, scale, bias = np.float32([0.01]), *rng.standard_normal((2, count)).astype(np.float32)

    def normalised(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, statistics = np.empty((len(x), count), np.float32), np.empty((2, len(x)), np.float32)
        sizes = len(x), count + gap, count
        execute(isa, "normalise", x, *sizes, epsilon, scale, bias, y, statistics, int(centred))
        return y, statistics

    y, (means, shares) = normalised(x)
    own = x[:, :count].astype(np.float64)
    mean = own.mean(1) * centred
    share = 1 / np.sqrt(((own - mean[:, None]) ** 2).mean(1) + epsilon.astype(np.float64))
    np.testing.assert_allclose(means, mean, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(shares, share, rtol=1e-6)
    wanted = (own - mean[:, None]) * share[:, None] * scale + bias
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5 if mean.max(initial=1) < 9 else 5e-5)
    row = seed % rows
    alone, of_row = normalised(x[row : row + 1].copy())
    np.testing.assert_array_equal(alone[0], y[row])
    np.testing.assert_array_equal(of_row[:, 0], [means[row], shares[row]])


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@given(
    rows=st.integers(1, 9),
    count=st.sampled_from([1, 2, 7, 15, 16, 17, 40, 700, 2049]),
    gap=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_softmax_of_rows(isa, rows, count, gap, seed):
    """Each row is the same whatever is beside it; what is no number is nowhere but in its row."""
    x = 5 * np.random.default_rng(seed).standard_normal((rows, count + gap)).astype(np.float32)
    x[0, : count // 2] = -np.inf
    y, alone = np.empty((rows, count), np.float32), np.empty((1, count), np.float32)
    execute(isa, "softmax", x, rows, count + gap, count, y)
    np.testing.assert_allclose(y, softmax(x[:, :count]), rtol=5e-6, atol=1e-30)
    row = seed % rows
    execute(isa, "softmax", x[row : row + 1].copy(), 1, count + gap, count, alone)
    np.testing.assert_array_equal(alone[0], y[row])
    for strange in (np.nan, np.inf):
        x[row, count - 1] = strange
        execute(isa, "softmax", x, rows, count + gap, count, alone := np.empty((rows, count), np.float32))
        assert np.isnan(alone[row]).all()
        np.testing.assert_array_equal(np.delete(alone, row, 0), np.delete(y, row, 0))


LAYERS = {
    "rnn": ("RNN", {}),
    "lstm": ("LSTM", {}),
    "lstm, peepholes, coupled": ("LSTM", {"peepholes": True, "input_forget": 1}),
    "gru, reset after": ("GRU", {"linear_before_reset": 1}),
    "gru, reset before": ("GRU", {"linear_before_reset": 0}),
}


@pytest.mark.parametrize("layer", LAYERS)
@given(
    hidden=st.integers(1, 70),
    frames=st.integers(1, 4),
    rows=st.integers(1, 5),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
)
def test_activations_named_at_run_time_change_no_bit(isa, layer, hidden, frames, rows, direction):
    """A threshold that nothing reaches has a layer computed the general way."""
    op, attributes = LAYERS[layer]
    lengths = [row % (frames + 1) for row in range(rows)] if rows > 2 else None
    settings = {"direction": direction, "initial": True, "lengths": lengths, "seed": hidden, **attributes}
    plain, general = (recurrent(op, frames, rows, 3, hidden, clip=clip, **settings) for clip in (None, 1e6))
    expected = tinyseq.load(plain.model).run(plain.feeds)
    for name, found in tinyseq.load(general.model).run(general.feeds).items():
        assert found.tobytes() == expected[name].tobytes()


UNITS = {"rnn, named": ("RNN", {"clip": 1e6}), "lstm, named": ("LSTM", {"clip": 1e6}), **LAYERS}


@pytest.mark.parametrize("layer", UNITS)
@given(hidden=st.integers(1, 40), frames=st.integers(1, 3), rows=st.integers(1, 9), data=st.data())
def test_a_unit_is_the_same_among_any_number(isa, layer, hidden, frames, rows, data):
    """Where no unit sees another one, some of them give what they give among all."""
    op, attributes = UNITS[layer]
    attributes = dict(attributes)
    first = data.draw(st.integers(0, hidden - 1))
    some = slice(first, data.draw(st.integers(first + 1, hidden)))
    rng = np.random.default_rng(hidden)
    gates, x = GATES[op], rng.standard_normal((frames, rows, 3)).astype(np.float32)
    w, r, b = (rng.standard_normal((gates, hidden, *size)).astype(np.float32) for size in ((3,), (1,), (2,)))
    h, c = (rng.standard_normal((1, rows, hidden)).astype(np.float32) for _ in range(2))
    p = rng.standard_normal((3, hidden)).astype(np.float32) if attributes.pop("peepholes", False) else None

    def run(units: slice) -> dict[str, np.ndarray]:
        count = len(range(hidden)[units])
        own = [
            w[:, units].reshape(1, gates * count, 3),
            (r[:, units] * np.eye(count, dtype=np.float32)).reshape(1, gates * count, count),
            np.moveaxis(b, 2, 0)[:, :, units].reshape(1, 2 * gates * count),
        ]
        states = [h[..., units], c[..., units]] if op == "LSTM" else [h[..., units]]
        peepholes = [] if p is None else [p[:, units].reshape(1, 3 * count)]
        results = ["y", "hn", "cn"][: 1 + len(states)]
        inputs = [x, *own, None, *states, *peepholes]
        case = one_node(op, inputs, fed=[0], outputs=results, hidden_size=count, **attributes)
        return tinyseq.load(case.model).run(case.feeds)

    everything = run(slice(0, hidden))
    for name, found in run(some).items():
        np.testing.assert_array_equal(found, everything[name][..., some])


def _reading_a_gate_again(fma, activations, peepholes, coupled):
    return lambda x, s, h, c, k, options: (activations[0](x[0], options) * x[0], c)


def _reading_the_state_again(fma, activations, peepholes, coupled):
    return lambda x, s, h, c, k, options: (activations[0](c, options) * h, c)


def _activating_twice(fma, activations, peepholes, coupled):
    return lambda x, s, h, c, k, options: (activations[0](activations[0](x[0], options) + c, options), c)


def _activating_thrice(fma, activations, peepholes, coupled):
    (f,) = activations
    return lambda x, s, h, c, k, options: (f(f(f(x[0], options) + c, options) + c, options), c)


@pytest.mark.parametrize("formula", [_reading_a_gate_again, _reading_the_state_again])
def test_a_cell_whose_loops_would_overwrite_what_they_read_is_refused(formula):
    with pytest.raises(TypeError, match="taken the place"):
        _Passes(Variant("RNN", general=True), formula)


def test_activations_without_a_place_are_refused():
    _Passes(Variant("RNN", general=True), _activating_twice)
    with pytest.raises(TypeError, match="no place"):
        _Passes(Variant("RNN", general=True), _activating_thrice)


FUSED = [name for name in library.available() if ISAS[name].fma]

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


several = pytest.mark.skipif(len(FUSED) < 2, reason="this machine has no two ISAs with fused multiply-add")


@several
@given(rows=SIZES, inner=SIZES, columns=SIZES, seed=st.integers(0, 99))
def test_fused_isas_agree_in_every_bit(monkeypatch, rows, inner, columns, seed):
    case, _ = gemm(rows, inner, columns, seed)
    results = []
    for name in FUSED:
        monkeypatch.setenv(library.ISA_VARIABLE, name)
        results.append(tinyseq.load(case.model).run(case.feeds)["y"])
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@several
@given(rows=st.integers(1, 3), count=SIZES, seed=st.integers(0, 99))
def test_fused_isas_agree_in_every_bit_of_softmax(rows, count, seed):
    x = 3 * np.random.default_rng(seed).standard_normal((rows, count)).astype(np.float32)
    results = [np.empty_like(x) for _ in FUSED]
    for name, y in zip(FUSED, results):
        execute(name, "softmax", x, rows, count, count, y)
        np.testing.assert_array_equal(results[0], y)


@several
@given(rows=st.integers(1, 3), count=SIZES, seed=st.integers(0, 99))
def test_fused_isas_agree_in_every_bit_of_normalisation(rows, count, seed):
    rng = np.random.default_rng(seed)
    x = 1 + rng.standard_normal((rows, count)).astype(np.float32)
    terms = np.float32([1e-5]), *rng.standard_normal((2, count)).astype(np.float32)
    results = [(np.empty_like(x), np.empty((2, rows), np.float32)) for _ in FUSED]
    for name, made in zip(FUSED, results):
        execute(name, "normalise", x, rows, count, count, *terms, *made, 1)
        for one, other in zip(results[0], made):
            np.testing.assert_array_equal(one, other)


@several
@pytest.mark.parametrize("layer", LAYERS)
@given(frames=st.integers(1, 3), rows=st.integers(1, 9), hidden=SIZES, both=st.booleans())
def test_fused_isas_agree_in_every_bit_of_a_layer(monkeypatch, layer, frames, rows, hidden, both):
    op, attributes = LAYERS[layer]
    direction = "bidirectional" if both else "forward"
    case = recurrent(op, frames, rows, 3, hidden, initial=True, direction=direction, **attributes)
    results = []
    for name in FUSED:
        monkeypatch.setenv(library.ISA_VARIABLE, name)
        results.append(tinyseq.load(case.model).run(case.feeds))
    for other in results[1:]:
        for name, array in results[0].items():
            np.testing.assert_array_equal(array, other[name])
