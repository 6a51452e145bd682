"""Writes ``docs/ops.md`` from the op table and from what came of ONNX's own tests of its ops.

pip install -e '.[test]' && python docs/make/ops.py
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import onnx

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tinyseq.converters.onnx import OLDEST_OPSET  # noqa: E402
from tinyseq.converters.onnx.upgrades import UPGRADES  # noqa: E402

from tests import onnx_nodes  # noqa: E402
from tinyseq.ir.op import REQUIRED, Attribute, Op, Port  # noqa: E402
from tinyseq.ir.ops import OPS  # noqa: E402
from tinyseq.plan.lower import lowering  # noqa: E402

TARGET = ROOT / "docs" / "ops.md"

HEAD = """# Ops

What tinyseq runs, written by `python docs/make/ops.py` from the op table (`tinyseq/ir/ops.py`) and from runs
of the tests of nodes in onnx {version}; a test keeps it so. Every op is on `device="reference"`.

- **Inputs**: `?` may be absent, `*` any number; the value of one marked `!` must be known when a plan is
  made: a constant, a shape, an integer input of the model, or computed from those. What is struck
  out is refused.
- **Types** stand behind a colon: `f` floating numbers, `i` integers, `n` numbers of either kind, `q` int8
  and uint8, `b` booleans, `a` any of these, a name that type alone. All with the same capital letter are of
  one type of its class; floating numbers of any precision count as one. Of an output, `@to` is the type that
  the attribute tells, and `/` stands before what holds where the former is absent. A model whose types do
  not fit is refused when it is loaded.
- **Attributes**: with their defaults; where only some values are taken, those. Everything else is refused by
  name.
- **Opsets**: the versions of the op in ONNX from opset {oldest} to {newest}; all are read, but for what the
  last table names.
- **CPU**: `yes`; or `known`, where the result is worked out when a plan is made and costs nothing afterwards.
  Integers and booleans are computed as int64: unsigned 64-bit numbers from 2**63 on count as negative.
- **Lengths of 0** (`sequence_lens` of RNN, GRU and LSTM): such a row's outputs are zeros, its last states the
  initial ones. onnxruntime gives zeros for the last states too.
- **Tests**: how many of ONNX's tests of the op pass on the CPU and on the reference, of how many there are.

## The table

| op | CPU | inputs | outputs | attributes | opsets | tests |
|---|---|---|---|---|---|---|
"""

OTHERS = """
## Ops that become others

When an ONNX file is read, these become ops of the table, as do older forms of those that are in it. Of ONNX,
with its tests; for those that ONNX defines as functions, the onnx package writes the function out:

{onnx}

Of onnxruntime (`com.microsoft`), which its optimised and quantised files hold: {microsoft}.
"""

TAIL = """
## What is refused

Tests of ONNX, of all ops of the table and of what becomes of them, that are refused, by reason:

| reason | CPU | reference |
|---|---|---|
"""

LAST = """
Of {count} tests the CPU passes {cpu} and the reference {reference}. Different from what a test wants, some
only on the reference, which computes in float64, are:

{different}
"""


def text() -> str:
    """The document."""
    parts = [
        HEAD.format(version=onnx.__version__, oldest=OLDEST_OPSET, newest=onnx.defs.onnx_opset_version())
    ]
    parts += [_row(OPS[name]) for name in sorted(OPS)]
    microsoft = sorted(op for domain, op in UPGRADES if domain and op not in OPS)
    named = [f"`{op}`" + (f" ({_tests(op)})" if _tests(op) else "") for op in onnx_nodes.OTHERS]
    parts.append(OTHERS.format(onnx=", ".join(named), microsoft=", ".join(f"`{op}`" for op in microsoft)))
    parts.append(TAIL)
    refused = {
        device: Counter(o.why for o in onnx_nodes.outcomes(device).values() if o.verdict == "refused")
        for device in onnx_nodes.BACKENDS
    }
    parts += [
        f"| {why} | {refused['cpu'][why] or ''} | {refused['reference'][why] or ''} |\n"
        for why in onnx_nodes.REFUSED
    ]
    passed = {device: _passed(device, None) for device in onnx_nodes.BACKENDS}
    different = "".join(f"- `{name}`: {why}\n" for name, why in onnx_nodes.DIFFERENT.items())
    parts.append(LAST.format(count=len(onnx_nodes.cases()), different=different, **passed))
    return "".join(parts).rstrip() + "\n"


def _row(op: Op) -> str:
    name = f"`{op.name}`" + (f" ({op.domain})" if op.domain else "")
    inputs, outputs = (" ".join(map(_port, ports)) for ports in (op.inputs, op.outputs))
    attributes = ", ".join(map(_attribute, op.attributes))
    cells = name, _on_cpu(op), inputs, outputs, attributes, _opsets(op), _tests(op.name)
    return f"| {' | '.join(cells)} |\n"


def _port(port: Port) -> str:
    if not port.supported:
        return f"~~{port.name}~~"
    type_ = f":{port.type}" if port.type else ""
    return port.name + "?" * port.optional + "\\*" * port.variadic + "!" * port.known + type_


def _attribute(attribute: Attribute) -> str:
    if attribute.allowed is not None and len(attribute.allowed) > 1:
        return f"{attribute.name}: {' '.join(map(str, attribute.allowed))}"
    if attribute.allowed is not None:
        return f"{attribute.name}: only {_value(attribute.allowed[0])}"
    if attribute.default is REQUIRED or attribute.default is None:
        return attribute.name
    return f"{attribute.name}={_value(attribute.default)}"


def _value(value: object) -> str:
    if value is None:
        return "left out"
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _on_cpu(op: Op) -> str:
    return "yes" if lowering(op.name) else "known"


def _opsets(op: Op) -> str:
    """The versions of an op that a model of a supported opset may mean."""
    if op.domain:
        return "1"
    history = [
        s.since_version
        for s in onnx.defs.get_all_schemas_with_history()
        if (s.name, s.domain) == (op.name, "")
    ]
    first = max((version for version in history if version <= OLDEST_OPSET), default=0)
    versions = sorted({max(version, OLDEST_OPSET) for version in history if version >= first})
    return " ".join(map(str, versions))


def _passed(device: str, op: str | None) -> int:
    outcomes = onnx_nodes.outcomes(device)
    own = [case for case in onnx_nodes.cases() if op in (None, case.op)]
    return sum(outcomes[case.name].verdict == "passed" for case in own)


def _tests(op: str) -> str:
    count = sum(case.op == op for case in onnx_nodes.cases())
    if not count:
        return ""
    return f"{_passed('cpu', op)}, {_passed('reference', op)} of {count}"


if __name__ == "__main__":
    TARGET.write_text(text())
