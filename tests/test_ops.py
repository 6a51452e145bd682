"""The op table is whole: each row has its reference function, its lowering and a way in from ONNX."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests.strategies import CASES
from tinyseq import reference
from tinyseq.ops import OPS
from tinyseq.plan.lower import LOWERINGS

PLANNED = {"If"}
"""Decided by the planner itself, as are the ops whose every input is known."""


@pytest.mark.parametrize("op", sorted(set(OPS) - {"If"}))
def test_reference_takes_what_the_row_says(op):
    row = OPS[op]
    parameters = inspect.signature(reference.FUNCTIONS[op]).parameters.values()
    keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert keywords == {attribute.name for attribute in row.attributes}

    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    ports = [port for port in row.inputs if port.supported and not port.variadic]
    assert variadic == any(port.variadic for port in row.inputs)
    assert [p.default is p.empty for p in positional] == [not port.optional for port in ports]


def test_nothing_is_defined_beside_the_table():
    assert set(reference.FUNCTIONS) == set(OPS) - {"If"}
    assert set(LOWERINGS) == {
        row.name
        for row in OPS.values()
        if row.name not in PLANNED and not all(port.known for port in row.inputs)
    }


@pytest.mark.parametrize("op", CASES)
@given(data=st.data())
def test_a_node_is_imported_with_every_attribute_of_its_row(op, data):
    graph = tinyseq.load(data.draw(CASES[op]).model).model.graph
    node = next(node for node in graph.nodes if node.op == op)
    assert set(node.attributes) == {attribute.name for attribute in OPS[op].attributes}
    assert len(node.inputs) <= len(OPS[op].inputs) or OPS[op].inputs[-1].variadic
