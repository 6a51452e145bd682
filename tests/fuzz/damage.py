"""Ways to damage a file: any bytes, and what the formats hold inside."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from functools import cache
from random import Random
from typing import Any

import onnx
from onnx import helper

NUMBERS = [
    0,
    1,
    -1,
    7,
    127,
    128,
    255,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32,
    2**40,
    2**62,
    2**63 - 1,
    -(2**63),
]
WORDS = ["", "x", "y", "../../../../etc/passwd", "/etc/passwd", "\0", "é" * 40, "lambda x: x", "Loop"]
BOMB = 2**27
"""Bytes that an entry of a few kilobytes inflates to."""


def of_bytes(rng: Random, data: bytes) -> bytes:
    """A few changes anywhere: bits, numbers, runs left out, doubled or zeroed, the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        place = rng.randrange(len(changed) + 1)
        length = rng.choice([1, 1, 2, 4, 8, rng.randrange(1, 200)])
        rng.choice(_CHANGES)(rng, changed, place, length)
    return bytes(changed)


def _flip(rng: Random, data: bytearray, place: int, length: int) -> None:
    if place < len(data):
        data[place] ^= 1 << rng.randrange(8)


def _set(rng: Random, data: bytearray, place: int, length: int) -> None:
    if place < len(data):
        data[place] = rng.randrange(256)


def _number(rng: Random, data: bytearray, place: int, length: int) -> None:
    size, letter = rng.choice([(1, "B"), (2, "H"), (4, "I"), (8, "Q")])
    number = struct.pack("<Q", rng.choice(NUMBERS) % 2**64)[:size]
    data[place : place + size] = struct.pack(f"<{letter}", *struct.unpack(f"<{letter}", number))


def _varint(rng: Random, data: bytearray, place: int, length: int) -> None:
    number, coded = rng.choice(NUMBERS) % 2**64, bytearray()
    while number > 127:
        coded.append(number & 127 | 128)
        number >>= 7
    data[place : place + rng.choice([0, 1, len(coded) + 1])] = [*coded, number]


def _remove(rng: Random, data: bytearray, place: int, length: int) -> None:
    del data[place : place + length]


def _double(rng: Random, data: bytearray, place: int, length: int) -> None:
    data[place:place] = data[place : place + length]


def _move(rng: Random, data: bytearray, place: int, length: int) -> None:
    source = rng.randrange(len(data) + 1)
    data[place : place + length] = data[source : source + length]


def _zero(rng: Random, data: bytearray, place: int, length: int) -> None:
    length = min(length, len(data) - place)
    data[place : place + length] = bytes(length)


def _cut(rng: Random, data: bytearray, place: int, length: int) -> None:
    del data[place:]


_CHANGES = [_flip, _flip, _set, _number, _number, _varint, _remove, _double, _move, _zero, _cut]


def of_json(rng: Random, text: bytes) -> bytes:
    """One place of a JSON document replaced, left out or doubled."""
    document = json.loads(text)
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys)
        inner = place[key]
        # Documents within strings: Keras and tinyseq have them.
        if isinstance(inner, str) and inner[:1] == "{":
            place[key] = of_json(rng, inner.encode()).decode(errors="replace")
            break
        if not (isinstance(inner, (dict, list)) and inner) or rng.random() < 0.1:
            _replace(rng, place, key)
            break
        place = inner
    return json.dumps(document).encode()


def _replace(rng: Random, place: Any, key: Any) -> None:
    kind = rng.randrange(8)
    if kind == 0:
        del place[key]
    elif kind == 1 and isinstance(place, list):
        place.insert(key, place[key])
    elif kind == 2:
        others = list(place.values()) if isinstance(place, dict) else place
        place[key] = json.loads(json.dumps(rng.choice(others)))
    else:
        nested = [[[0] * rng.randrange(3)] * rng.randrange(4)] * 2
        place[key] = rng.choice(
            [None, True, 1.5, 1e300, [], {}, nested, rng.choice(NUMBERS), rng.choice(WORDS)]
        )


def of_header(rng: Random, data: bytes) -> bytes:
    """The JSON header of a safetensors file, its length made right."""
    (size,) = struct.unpack("<Q", data[:8])
    text = of_json(rng, data[8 : 8 + size])
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


class _Runs:
    """Pickles to a call of a function."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call[0], self.call[1:]


def hostile_pickle(rng: Random, canary: str) -> bytes:
    """A pickle that, were it run, would make the file ``canary``."""
    import os
    import subprocess

    calls = [(os.system, f"touch {canary}"), (exec, f"open({canary!r}, 'w')"), (open, canary, "w"),
             (subprocess.call, ["touch", canary]), (eval, f"open({canary!r}, 'w')")]  # fmt: skip
    evil = _Runs(*rng.choice(calls))
    return pickle.dumps(rng.choice([evil, {"weight": evil}, [evil] * 3]), protocol=rng.choice([0, 2, 4, 5]))


def of_archive(rng: Random, data: bytes, canary: str) -> bytes:
    """One entry of a zip archive damaged, left out, renamed, doubled, compressed or made a bomb."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    place = rng.randrange(len(entries))
    name, content = entries[place]
    kind, compression = rng.randrange(40), zipfile.ZIP_STORED
    if kind == 0:
        del entries[place]
    elif kind == 1:
        entries[place] = (rng.choice([*WORDS[1:5], name.upper()]), content)
    elif kind == 2:
        entries.append(entries[place])
    elif kind == 3:
        compression = rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    elif kind == 4:
        return _bomb(name)
    elif kind < 8 and name.endswith(".pkl"):
        entries[place] = (name, hostile_pickle(rng, canary))
    elif name.endswith(".json") and kind < 36:
        entries[place] = (name, of_json(rng, content))
    else:
        entries[place] = (name, of_bytes(rng, content))
    return _zipped(entries, compression)


def _zipped(entries: list[tuple[str, bytes]], compression: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


@cache
def _bomb(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as entry:
        for _ in range(BOMB // 2**24):
            entry.write(bytes(2**24))
    return stream.getvalue()


def of_onnx(rng: Random, data: bytes) -> bytes:
    """One thing in an ONNX file: names that make cycles or lead nowhere, sizes, attributes, weights in
    other files, nodes left out, doubled or moved."""
    proto = onnx.load_from_string(data)
    for _ in range(rng.choice([1, 1, 2])):
        rng.choice(_EDITS)(rng, proto.graph)
    return proto.SerializeToString()


def _any_name(rng: Random, graph) -> str:
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    return rng.choice([*names, *(w.name for w in graph.initializer), "", "nowhere"])


def _rename_input(rng: Random, graph) -> None:
    if graph.node and (node := rng.choice(graph.node)).input:
        node.input[rng.randrange(len(node.input))] = _any_name(rng, graph)


def _rename_output(rng: Random, graph) -> None:
    if graph.node and (node := rng.choice(graph.node)).output:
        node.output[rng.randrange(len(node.output))] = _any_name(rng, graph)


def _other_op(rng: Random, graph) -> None:
    if graph.node:
        from tinyseq.ir.ops import OPS

        rng.choice(graph.node).op_type = rng.choice([*OPS, "", "Nonsense"])


def _edit_nodes(rng: Random, graph) -> None:
    nodes = [*graph.node]
    if rng.random() < 0.5:
        rng.shuffle(nodes)
    else:
        nodes = rng.choices(nodes, k=rng.randrange(len(nodes) + 2)) if nodes else nodes
    del graph.node[:]
    graph.node.extend(nodes)


def _attribute(rng: Random, graph) -> None:
    if not graph.node:
        return
    node = rng.choice(graph.node)
    values = [rng.choice(NUMBERS), 1.5, float("nan"), rng.choice(WORDS), [0.5, 1e30], ["Relu", "Affine"]]
    values += [[rng.choice(NUMBERS)] * rng.randrange(1, 4), *graph.initializer[:1]]
    names = [a.name for a in node.attribute] + ["axis", "axes", "hidden_size", "direction", "layout", "clip"]
    name = rng.choice(names)
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, rng.choice(values))])


def _size(rng: Random, graph) -> None:
    values = [v for v in (*graph.input, *graph.output) if v.type.tensor_type.shape.dim]
    if graph.initializer and rng.random() < 0.6:
        weight = rng.choice(graph.initializer)
        if weight.dims and rng.random() < 0.8:
            weight.dims[rng.randrange(len(weight.dims))] = rng.choice(NUMBERS)
        else:
            weight.dims.append(rng.choice(NUMBERS))
    elif values:
        dims = rng.choice(values).type.tensor_type.shape.dim
        rng.choice(dims).dim_value = rng.choice(NUMBERS)


def _type(rng: Random, graph) -> None:
    if graph.initializer and rng.random() < 0.5:
        rng.choice(graph.initializer).data_type = rng.randrange(0, 26)
    elif graph.input:
        rng.choice(graph.input).type.tensor_type.elem_type = rng.randrange(0, 26)


def _external(rng: Random, graph) -> None:
    if not graph.initializer:
        return
    weight = rng.choice(graph.initializer)
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.ClearField("raw_data")
    del weight.external_data[:]
    places = ["../secret", "/etc/passwd", "weights", "", ".", "./../../secret", "/dev/zero", "/proc/self/mem"]
    entries = {
        "location": rng.choice(places),
        "offset": str(rng.choice(NUMBERS)),
        "length": str(rng.choice(NUMBERS)),
    }
    for key, value in entries.items():
        if key == "location" or rng.random() < 0.5:
            entry = weight.external_data.add()
            entry.key, entry.value = key, value


def _numbers(rng: Random, graph) -> None:
    whole = [w for w in graph.initializer if w.data_type in (6, 7) and w.raw_data]
    if whole:
        weight = rng.choice(whole)
        count = len(weight.raw_data) // (8 if weight.data_type == 7 else 4)
        letter, mask = ("q", 2**63 - 1) if weight.data_type == 7 else ("i", 2**31 - 1)
        numbers = [max(-mask, min(mask, rng.choice(NUMBERS))) for _ in range(count)]
        weight.raw_data = struct.pack(f"<{count}{letter}", *numbers)


_EDITS = [
    *(_rename_input, _rename_input, _rename_output, _other_op, _other_op, _edit_nodes),
    *(_attribute, _attribute, _size, _size, _type, _external, _numbers),
]
