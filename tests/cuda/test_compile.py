"""Gates that every kernel must pass when it is compiled, which needs no device.

What a kernel keeps is in registers and shared memory, all of its threads fit a multiprocessor, it computes in
float32, and a product loads by sixteen bytes. The twins say which kernels there are: they are asked for the
launches of operations of all sizes. A kernel is compiled for the oldest architecture that it can run on, and
that is made into machine code for each.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import pytest
from hypothesis import settings
from numba import types

from tinyseq.backends import PRECISIONS
from tinyseq.kernels.cells import CELLS, VARIANT_CODES, VARIANTS, Variant
from tinyseq.kernels.compute.math import ONE, ZERO
from tinyseq.kernels.cuda import compiler
from tinyseq.kernels.cuda.carrying import Carried, carrying
from tinyseq.kernels.cuda.chains import chain, codes_of
from tinyseq.kernels.cuda.elementwise import HEAVY
from tinyseq.kernels.cuda.gathering import PlacedInstruction, gathered
from tinyseq.kernels.cuda.intrinsics import barrier, load4, registers, shared, thread
from tinyseq.kernels.cuda.launch import EXACT, Facts, Failure, Kernel, Launch, Tail
from tinyseq.kernels.cuda.multiplying import UNROLLED
from tinyseq.kernels.cuda.product import CORE_FORMS, FORMS, Tile, _linear_of, _products_of
from tinyseq.kernels.cuda.rebinding import HOME
from tinyseq.kernels.cuda.schedule import ASKING, TWINS
from tinyseq.kernels.cuda.searches import leave
from tinyseq.kernels.cuda.weighted import LINEARS
from tinyseq.kernels.formats import BYTE_BLOCK, FLOAT32
from tinyseq.kernels.instructions import (
    APART,
    FUNCTION_CODES,
    FUNCTIONS,
    GATHER,
    INSTRUCTIONS,
    OPCODES,
    OPERANDS,
    PROJECTED,
    STORES,
)
from tinyseq.kernels.llvm.intrinsics import floats

CAPABILITIES = [(8, 0), (9, 0), (12, 0)]
CLUSTERS = (9, 0)
"""The oldest architecture that has them."""

MOST_REGISTERS = 65536
"""Registers of a multiprocessor."""

SIZES = {
    "rank": [1],
    "store": [
        GATHER,
        APART,
        STORES.index(("none", "")),
        STORES.index(("add", "f")),
        STORES.index(("maximum", "i")),
    ],
    "inner": [1, 4, 8, 64, 4096],
    "bytes": [1, 4, 8],
    "rows": [1, 8, 64],
    "n": [100, 1024],
    "count": [100, 100_000],
    "frames": [9, 2, 2048],
    "hidden": [64, 512],
    "cell": range(len(VARIANTS)),
    "flags": [0, PROJECTED],
    "format": list(LINEARS),
    "kind": range(3),
}
"""What operands of these names are; others are 2, addresses are multiples of a large number."""

TAILS = {"pick": [0, 1, 4, 1, 1, 2], "beam": [1, 1, 4, 2, 0, 0, 1, 4, 0, 0, 0, 0, 1, 2]}
"""The integers at the end of an instruction, where they are not dimensions."""

IN_FLOAT64 = {"softmax", "normalise", "log_softmax", "penalize_repetition", "pick", "beam"}
"""What adds up in float64 as the CPU does, or is given numbers in it."""


DEVICES = Facts(CAPABILITIES[0], 1, 2**30), *(Facts(one, 132, 2**30) for one in CAPABILITIES)
"""A small one, and one of each architecture."""


def operations(name: str) -> Iterator[dict]:
    """Operands of an instruction, one or two of them in all their sizes."""
    row = next(row for row in INSTRUCTIONS if row.name == name)
    usual = {"failure": Failure(0, 0)} if row.failure else {}
    for place, (operand, plain) in enumerate(zip(row.operands, OPERANDS[name])):
        usual[plain] = 2**20 * (place + 1) if operand[0] == "&" else SIZES.get(operand, [2])[0]
        if operand[0] == "*":
            usual[plain] = Tail(0, TAILS.get(name, [4, 4, 4]))
    # The oldest first: what it runs, newer ones run too.
    for facts in DEVICES if name in ASKING else (None,):
        if facts is not None:
            usual["facts"] = facts
        if not SIZES.keys() & {*row.operands}:
            yield dict(usual)
        for operand in row.operands:
            yield from ({**usual, operand: size} for size in SIZES.get(operand, []))
        if "cell" in usual:
            units = (64, 96, 128, 256, 512, 1024)
            sizes = itertools.product(SIZES["cell"], SIZES["rows"], units)
            yield from ({**usual, "cell": cell, "rows": rows, "hidden": n} for cell, rows, n in sizes)
            lstms = VARIANT_CODES[Variant("LSTM")], VARIANT_CODES[Variant("LSTM", True, True, True)]
            options = itertools.product(
                lstms, (("flags", PROJECTED), ("format", BYTE_BLOCK.code)), SIZES["rows"]
            )
            yield from ({**usual, "cell": cell, key: of, "rows": n} for cell, (key, of), n in options)
            uneven = itertools.product(lstms, (1, 8, 64, 256), (2, 9), (66, 2050))
            for cell, rows, frames, n in uneven:
                yield {**usual, "cell": cell, "rows": rows, "frames": frames, "hidden": n, "units": n}


def gathered_launches() -> Iterator[tuple[str, Launch, tuple[int, int]]]:
    """Of layers with their input, which commit their state or do not: what ``launches_of_instructions``
    gives."""
    cells = [VARIANT_CODES[Variant(name)] for name in CELLS]
    others = VARIANT_CODES[Variant("LSTM", False, True, True)]
    few = itertools.product((*cells, others), (1, 8), (64, 66, 256, 1024, 1026), DEVICES[1:])
    some = itertools.product(cells, (40,), (62, 64, 256), DEVICES[2:])
    for cell, rows, hidden, facts in (*few, *some):
        width, places = len(VARIANTS[cell].cell.gates) * hidden, [2**30 * place for place in range(1, 20)]
        x = (places[13], 1, 0, rows, 64, 64)
        linear = (*x, places[14], width, places[15], places[0], width, 0, 0, 0, FLOAT32.code)
        counts = (1, rows, hidden, hidden, 0, rows * hidden, hidden, 0, FLOAT32.code)
        layer = PlacedInstruction("recurrent", (cell, *places[:12], *counts))
        made = [PlacedInstruction("linear", linear), layer]
        name = f"gathered, {rows} rows of {hidden} units"
        yield from ((name, launch, facts.capability) for launch in gathered(made, facts).launches)
        states = [layer.value(state) for state in ("h", "c")[: 1 + VARIANTS[cell].cell.has_c]]
        begin = [copied(2**20 * (n + 1), state, rows * hidden) for n, state in enumerate(states)]
        keep = [copied(state, 2**20 * (n + 1), rows * hidden) for n, state in enumerate(states)]
        whole = [*begin, *made, *keep]
        yield from ((name, launch, facts.capability) for launch in gathered(whole, facts).launches)


def copied(source: int, target: int, count: int) -> PlacedInstruction:
    operands = FUNCTION_CODES["copy", "f"], *[source] * 3, target, 1, Tail(0, [count, *[4] * 4])
    return PlacedInstruction("elementwise", operands)


def rounded_layers() -> Iterator[dict]:
    """Operands of layers whose weights are rounded: of all cells in one precision, of one in the other."""
    usual, lstm = next(operations("recurrent")), VARIANT_CODES[Variant("LSTM")]
    others = [VARIANT_CODES[Variant(cell)] for cell in ("GRU, reset after", "RNN")]
    sizes = {CAPABILITIES[0]: [(256, 16), (512, 64)], CLUSTERS: [(64, 8), (256, 8), (1024, 16)]}
    for capability, shapes in sizes.items():
        for (hidden, rows), cell in itertools.product(shapes, (lstm, *others)):
            facts = Facts(capability, 132, 2**30, "bfloat16")
            yield {**usual, "facts": facts, "cell": cell, "hidden": hidden, "rows": rows}
        facts = Facts(capability, 132, 2**30, "float16")
        yield {**usual, "facts": facts, "cell": lstm, "hidden": 256, "rows": 1}


def elementwise_launches(function: int) -> Iterator[Launch]:
    """Over one dimension, aligned and not, over three and over four."""
    twin, shapes = TWINS["elementwise"], [([64], [4]), ([4] * 3, [64, 16, 8]), ([4] * 4, [1024, 256, 64, 8])]
    for skip, (sizes, steps) in ((0, shapes[0]), (4, shapes[0]), (0, shapes[1]), (0, shapes[2])):
        places = [2**20 * place + skip for place in (1, 2, 3, 4)]
        yield from twin(function, *places, len(sizes), Tail(0, [*sizes, *steps * 4]))


def folding_launches(function: int) -> Iterator[Launch]:
    """Of short and of long runs, of one dimension and of two."""
    for run in (4, 100):
        for sizes, steps, kept in (([8, run], [400, 4], [4, 0]), ([8, run, 3], [9999, 12, 4], [4, 0, 0])):
            dims = Tail(0, [*sizes, *kept, *steps, *kept, *kept])
            yield from TWINS["elementwise"](function, 0, 0, 0, 0, len(sizes), dims)


class Gated(NamedTuple):
    """A kernel to be compiled: what it is of, and for which architectures, the oldest first."""

    kernel: Kernel
    name: str
    capabilities: list[tuple[int, int]]


def cell_name(code: int) -> str:
    variant = VARIANTS[code]
    return ", ".join(
        [variant.name, *(one for one in ("general", "peepholes", "coupled") if getattr(variant, one))]
    )


def launches_of_instructions() -> Iterator[tuple[str, Launch, tuple[int, int]]]:
    """What they are of, and the architecture that asks for them."""
    oldest = CAPABILITIES[0]
    for name in TWINS:
        if name != "elementwise":
            for operands in operations(name):
                asked = operands["facts"].capability if name in ASKING else oldest
                called = f"{name}, {cell_name(operands['cell'])}" if "cell" in operands else name
                yield from ((called, launch, asked) for launch in TWINS[name](**operands))
    for operands in rounded_layers():
        asked = operands["facts"].capability
        yield from (("recurrent, rounded", launch, asked) for launch in TWINS["recurrent"](**operands))
    yield from (("leave", launch, oldest) for launch in leave(2**20, 2**21))
    yield from (("carry", launch, oldest) for launch in carrying([Carried(2**20, 2**21, 400)]))
    yield from gathered_launches()
    for name, kinds in (("copy", "f"), ("add", "ii"), ("power", "ff"), ("where", "iff")):
        launches = elementwise_launches(FUNCTION_CODES[name, kinds])
        yield from ((f"{name}({kinds})", launch, oldest) for launch in launches)
    for codes in ((), (code for code, row in enumerate(FUNCTIONS) if row.name not in HEAVY)):
        rows = [[OPCODES["elementwise"], 13, code, 0, 0, 0, 0, 1, 4, 4, 4, 4, 4] for code in codes]
        yield "chain", chain(codes_of(rows), 0, 0, 0, 0, 0), oldest
    for kinds in ("ff", "ii"):
        yield from (("fold", launch, oldest) for launch in folding_launches(FUNCTION_CODES["add", kinds]))


def gated() -> list[Gated]:
    """Every kernel but those of functions in all their forms, which differ in what one element is."""
    found: dict[Kernel, Gated] = {}
    for name, launch, asked in launches_of_instructions():
        one = found.setdefault(launch.kernel, Gated(launch.kernel, name, []))
        own = name.partition(",")[0] in {*ASKING, "gathered"}
        more = [asked] if own else [newer for newer in CAPABILITIES if newer >= asked]
        one.capabilities[:] = sorted({*one.capabilities, *more})
    products = [(form, EXACT) for form in FORMS]
    products += itertools.product(CORE_FORMS, PRECISIONS["cuda"][1:])
    for form, precision in products:
        kernel = _linear_of(form, precision)
        # Two blocks of the largest form take all registers, and on the newest architecture a few more.
        capabilities = CAPABILITIES[:-1] if form.resident == 2 else CAPABILITIES
        found[kernel] = Gated(kernel, f"linear, {precision}", list(capabilities))
    for form, along_k in itertools.product(FORMS[1:], (False, True)):
        kernel = _products_of(form, along_k)
        found.setdefault(kernel, Gated(kernel, "products", list(CAPABILITIES)))
    for function, row in enumerate(FUNCTIONS):
        launch = next(elementwise_launches(function))
        name = f"{row.name}({row.operands})"
        found.setdefault(launch.kernel, Gated(launch.kernel, name, CAPABILITIES[:1]))
    return list(found.values())


def one_of_each(kernels: list[Gated]) -> list[Gated]:
    """The last of those of one function, name and architectures: that of the largest sizes."""
    return list({(one.kernel.name, one.name, *one.capabilities): one for one in kernels}.values())


GATED = gated() if settings.get_current_profile_name() == "many" else one_of_each(gated())


class Assembled:
    """A kernel in PTX, and what becomes of it."""

    def __init__(self, kernel: Kernel, capability: tuple[int, int] = CAPABILITIES[0]) -> None:
        self.threads = kernel.threads
        self.text = compiler.assembly(kernel, capability)

    def count(self, instruction: str) -> int:
        return self.text.count(instruction)

    def faults(self, capability: tuple[int, int] = CAPABILITIES[0], threads: int = 0) -> list[str]:
        """What the gates find for a device."""
        report = compiler.linked(self.text, capability).report
        amounts = {
            "stack": _numbers(r"(\d+) (?:bytes )?stack", report),
            "spills": _numbers(r"(\d+) bytes spill", report),
        }
        each = max(_numbers(r"[Uu]sed (\d+) registers", report))
        assert all(amounts.values()), f"the linker's report has another form: {report}"
        found = [name for name, numbers in amounts.items() if max(numbers)]
        found += ["registers"] * (each * (threads or self.threads) > MOST_REGISTERS)
        return found + ["float64"] * (".f64" in self.text)


def _numbers(pattern: str, report: str) -> list[int]:
    return [int(number) for number in re.findall(pattern, report)]


@pytest.mark.parametrize("one", GATED, ids=[f"{place}-{one.name}" for place, one in enumerate(GATED)])
def test_every_kernel_passes_the_gates(one):
    assembled = Assembled(one.kernel, one.capabilities[0])
    function, _, kinds = one.name.partition("(")
    # These are computed in float64 on every device.
    fine = {"float64"} if function in IN_FLOAT64 or (function in HEAVY and "f" in kinds) else set()
    for capability in one.capabilities:
        assert set(assembled.faults(capability)) <= fine, capability


SHARED_BYTES = {(8, 0): 163 * 1024, (9, 0): 227 * 1024, (12, 0): 99 * 1024}
"""The shared memory that a block may ask for; what is asked for alike everywhere has to fit the least."""


def test_shared_memory_fits_the_device():
    for name, launch, asked in launches_of_instructions():
        own = name.partition(",")[0] in {*ASKING, "gathered"}
        assert launch.shared <= (SHARED_BYTES[asked] if own else min(SHARED_BYTES.values())), (name, asked)


def test_kernels_of_all_twins_are_here():
    assert {one.name.partition(",")[0] for one in GATED} >= TWINS.keys() - {"elementwise"}
    functions = {one.kernel.name.rpartition(".")[2] for one in GATED}
    assert functions >= {"chain", "line", "fours", "box", "space", "short_fold", "long_fold"}


@cache
def assembled_product(form: Tile) -> Assembled:
    return Assembled(_linear_of(form, EXACT))


@pytest.mark.parametrize("form", FORMS)
def test_products_copy_and_load_by_sixteen_bytes(form):
    product, steps = assembled_product(form), min(form.steps, UNROLLED)
    assert product.count("cp.async.cg") >= form.steps * form.columns // (4 * form.threads)
    assert product.count("fma.rn.f32") >= form.rows_each * form.columns_each * steps
    if form.rows_each >= 4:
        assert product.count("ld.shared.v4.f32") >= (form.rows_each + form.columns_each) // 4 * (steps - 1)


@pytest.mark.parametrize("precision", PRECISIONS["cuda"][1:])
def test_products_run_on_tensor_cores(precision):
    form, operand = CORE_FORMS[-1], {"tf32": "k8.row.col.f32.tf32", "bfloat16": "k16.row.col.f32.bf16"}
    product = Assembled(_linear_of(form, precision))
    name = f"mma.sync.aligned.m16n8{operand.get(precision, 'k16.row.col.f32.f16')}"
    assert product.count(name) >= form.rows_each * form.columns_each // 4
    assert product.count("fma.rn.f32") == 0


def test_dense_elements_are_loaded_by_sixteen_bytes():
    launch = next(elementwise_launches(FUNCTION_CODES["add", "ff"]))
    dense = Assembled(launch.kernel)
    assert dense.count("ld.global.v4.f32") >= 2
    assert dense.count("st.global.v4.f32") >= 1


def planted(function: Callable) -> Kernel:
    """The kernel of a function that is taken for one of the package's."""
    function.__module__ = f"{HOME}.planted"
    return Kernel(function)


def _halved(x, y):
    floats(y)[thread()] = floats(x)[thread()] * 0.1


_many = registers(types.float32, 200)


def _too_much(x, y):
    kept = _many()
    for i in range(200):
        kept[i] = floats(x)[i]
    floats(y)[0] = kept[thread()]


def test_a_python_number_is_a_fault():
    assert Assembled(planted(_halved)).faults() == ["float64"]


def test_registers_that_have_no_names_are_a_fault():
    assert Assembled(planted(_too_much)).faults() == ["stack"]


def test_threads_that_leave_too_few_registers_are_a_fault():
    assert "spills" in Assembled(Kernel(_linear_of(FORMS[-1], EXACT).function, 1024)).faults()
    assert assembled_product(FORMS[-1]).faults(threads=1024) == ["registers"]


def _one_by_one(x, y):
    total = ZERO
    for i in range(4):
        total += floats(x)[4 * thread() + i]
    floats(y)[thread()] = total * ONE


def _by_four(x, y):
    a, b, c, d = load4(x + 16 * thread())
    floats(y)[thread()] = a + b + c + d


def test_loads_one_by_one_are_no_wide_loads():
    assert Assembled(planted(_one_by_one)).count("ld.global.nc.v4.f32") == 0
    assert Assembled(planted(_by_four)).count("ld.global.nc.v4.f32") == 1


_vast = shared(types.float32, 64 * 1024)


def _share(x, y):
    held = _vast()
    held[thread()] = floats(x)[thread()]
    barrier()
    floats(y)[thread()] = held[0]


def test_too_much_shared_memory_is_a_fault():
    with pytest.raises(Exception, match="too much shared data"):
        Assembled(planted(_share)).faults()
