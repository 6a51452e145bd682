"""The op table is whole: each row has its reference function, its lowering and a way in from ONNX."""

from __future__ import annotations

import functools
import inspect
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import CASES, op_of
from tinyseq import reference
from tinyseq.ir.ops import FAMILIES, FAMILY, OPS
from tinyseq.plan.lower import lowering
from tinyseq.reference.recurrent import LayerAttributes
from tinyseq.runtime.loading import read


@pytest.mark.parametrize("op", OPS)
def test_reference_takes_what_the_row_says(op):
    row = OPS[op]
    function = reference.meaning(op)
    if FAMILY[op] == "control":
        function = functools.partial(function, None)
    parameters = inspect.signature(function).parameters.values()
    keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        keywords |= set(LayerAttributes._fields)
    assert keywords == {attribute.name for attribute in row.attributes}

    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    ports = [port for port in row.inputs if port.supported and not port.variadic]
    assert variadic == any(port.variadic for port in row.inputs)
    required = max((index for index, port in enumerate(ports, start=1) if not port.optional), default=0)
    assert [p.default is p.empty for p in positional] == [index < required for index in range(len(ports))]


@pytest.mark.parametrize("op", OPS)
def test_an_op_is_lowered_unless_its_inputs_are_known(op):
    assert (lowering(op) is None) == all(port.known for port in OPS[op].inputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_defines_its_ops_and_no_others(family):
    ops = {row.name for row in FAMILIES[family]}
    assert {op for op in OPS if reference.meaning(op).__module__ == f"tinyseq.reference.{family}"} == ops
    assert import_module(f"tinyseq.plan.lower.{family}").LOWERINGS.keys() <= ops


@pytest.mark.parametrize("form", CASES)
@given(data=st.data())
def test_the_shape_rule_says_what_the_reference_gives(form, data):
    case = data.draw(CASES[form])
    graph = read(case.model).graph
    names = graph.constants | case.feeds
    for node in graph.nodes:
        if FAMILY[node.op] == "control":
            return
        inputs = [names[name] if name else None for name in node.inputs]
        shapes = [None if array is None else array.shape for array in inputs]
        values = [array if node.row.port(index).known else None for index, array in enumerate(inputs)]
        results = reference.apply(node, inputs)
        rule = node.row.shape(node.attributes, shapes, values)
        assert [array.shape for array in results] == list(map(tuple, rule))[: len(results)]
        names |= dict(zip(node.outputs, results))


@pytest.mark.parametrize("form", CASES)
@given(data=st.data())
def test_a_node_is_imported_with_every_attribute_of_its_row(form, data):
    op = op_of(form)
    graph = read(data.draw(CASES[form]).model).graph
    node = next(node for node in graph.nodes if node.op == op)
    assert set(node.attributes) == {attribute.name for attribute in OPS[op].attributes}
    assert len(node.inputs) <= len(OPS[op].inputs) or OPS[op].inputs[-1].variadic
