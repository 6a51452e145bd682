"""Tensors and bodies as messages have them: what is taken of bytes, lists and what is packed."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from tinyseq.errors import FeedError
from tinyseq.serve.errors import BadRequestError, TooLargeError
from tinyseq.serve.protocols import packing
from tinyseq.serve.protocols.tensors import DATATYPES, array_of, from_bytes, tensor_of


def test_truth_values_are_bytes_of_0_or_1():
    tensor = tensor_of("x", "BOOL", [3])
    np.testing.assert_array_equal(from_bytes(tensor, b"\0\1\0"), [False, True, False])
    with pytest.raises(BadRequestError, match="not 2"):
        from_bytes(tensor, b"\0\1\2")


@pytest.mark.parametrize("count", [0, 7, 8, 11, 13, 16])
def test_bytes_are_as_many_as_the_shape_has(count):
    with pytest.raises(BadRequestError, match=rf"takes 12 bytes, and {count} are given"):
        from_bytes(tensor_of("x", "FP32", [3]), bytes(count))


@pytest.mark.parametrize("kind", DATATYPES)
def test_numbers_beyond_a_type_are_refused(kind):
    dtype = DATATYPES[kind]
    wrong: list[Any] = {"b": [0, 1.5], "f": [True, "1"]}.get(dtype.kind, [1.5, True])
    if dtype.kind in "iu":
        wrong += [np.iinfo(dtype).max + 1, np.iinfo(dtype).min - 1, 2**70]
    elif dtype.kind == "f" and kind != "FP64":
        wrong += [float(np.finfo(dtype).max) * 2]
    for number in wrong:
        with pytest.raises((FeedError, BadRequestError)):
            array_of(tensor_of("x", kind, [2]), [number, number])


@pytest.mark.parametrize("way", packing.WINDOW)
def test_what_unpacks_to_too_much_is_refused_before_it_does(way):
    bomb = packing.packed(bytes(2**26), way)
    tracemalloc.start()
    with pytest.raises(TooLargeError, match="65536"):
        packing.unpacked(bomb, way, 65536)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20
