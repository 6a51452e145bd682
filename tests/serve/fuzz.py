"""Malformed requests of the Open Inference Protocol, made from good ones.

``python -m tests.serve.fuzz COUNT SEED`` asks a server in this process by so many; what is not refused as it
should be is printed, with what was sent.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.models import lstm_with_state
from tests.serve.inside import Inside, inside
from tests.serve.test_inference import EXTREMES
from tinyseq.serve.protocols.inference import Inference
from tinyseq.serve.protocols.messages import SERVICE, messages

PATHS = [
    "/v2/models/m/infer",
    "/v2/models/m/versions/1/infer",
    "/v2/models/m/versions/2/infer",
    "/v2/models/n/infer",
    "/v2/repository/index",
    "/v2/repository/models/n/load",
    "/v2/repository/models/../unload",
    "/v2/models/%00/infer",
]

STRANGE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 2**200, -(2**63)),
    *(0.5, 1e39, 1e308, float("nan"), float("inf")),
    *("", "x", "y", "h", "FP32", "FP64", "BOOL", "BYTES", "BF16", "\0", "\ud800", "a" * 300),
    *([], [[]], {}, [None], {"": None}, [1, [2]], [1] * 100, [2**40] * 5, [0, 2**39, 2**39]),
    *({"binary_data_size": 12}, {"binary_data": 1}, {"sequence_id": 1}, {"binary_data_output": True}),
    *({"sequence_id": 1, "sequence_start": True}, {"sequence_id": "s", "sequence_end": True}),
    *({"shared_memory_region": "r"}, {"classification": 2}, {"timeout": 1}),
]
"""What is put in the place of something."""

X = np.arange(6, dtype=np.float32).reshape(2, 1, 3)

SPOILED = [
    b"\xff\xfe",
    b"null",
    b"[" * 50_000,
    b'{"inputs":' * 20_000,
    b"1" * 6000,
    b'"' + b"\\u0000" * 99 + b'"',
]


def good(alone: bool = True) -> dict[str, Any]:
    """A request that is answered; one that stands alone feeds a state, as bytes."""
    asked: dict[str, Any] = {
        "id": "1",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 1, 3], "data": X.ravel().tolist()}],
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
    }
    if alone:
        state = {"name": "h", "datatype": "FP32", "shape": [1, 1, 4], "parameters": {"binary_data_size": 16}}
        asked["inputs"].append(state)
    else:
        asked["parameters"] = {"sequence_id": 5, "sequence_start": True, "sequence_end": True, "timeout": 5}
    return asked


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key within a value of JSON."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    found = [(value, key) for key in keys]
    for key in keys:
        found += places(value[key])
    return found


def spoiled(rng: np.random.Generator, value: Any) -> Any:
    """A value of JSON, changed in some places."""
    value = copy.deepcopy(value)
    for _ in range(rng.integers(1, 4)):
        container, key = pick(rng, places(value) or [([0], 0)])
        kind = rng.integers(5)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, dict):
            container[pick(rng, ["name", "datatype", "shape", "data", "parameters", "zz"])] = container.pop(
                key
            )
        elif kind == 2 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        else:
            container[key] = copy.deepcopy(pick(rng, STRANGE))
    return value


def pick(rng: np.random.Generator, choices: list[Any]) -> Any:
    """One of some."""
    return choices[int(rng.integers(len(choices)))]


def damaged(rng: np.random.Generator, data: bytes) -> bytes:
    """Bytes, some of them changed, cut off or put in."""
    array = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(len(array) + 1))
        kind = rng.integers(4)
        if kind == 0:
            array[place : place + 1] = rng.bytes(1)
        elif kind == 1:
            del array[place : place + int(rng.integers(1, 20))]
        elif kind == 2:
            array[place:place] = rng.bytes(int(rng.integers(1, 20)))
        else:
            array[place:place] = array[: int(rng.integers(40))]
    return bytes(array)


def http_request(rng: np.random.Generator) -> tuple[str, bytes, dict[str, str]]:
    """Path, body and headers of a request that is wrong in one way or two, or in none."""
    alone = rng.random() < 0.5
    value = good(alone)
    seldom = lambda: rng.random() < 0.1  # noqa: E731
    if rng.random() < 0.6:
        value = spoiled(rng, value)
    text = json.dumps(value).encode()
    if seldom():
        text = damaged(rng, text)
    if seldom() and seldom():
        text = pick(rng, SPOILED)
    body = text + (bytes(16) if alone else b"")
    body = body + bytes(int(rng.integers(40))) if seldom() else body
    length: Any = len(text)
    if seldom():
        length = pick(rng, [0, -1, length - 1, length + 1, 2**70, "x", "1.0", "+1", " 1", ""])
    headers = {"Inference-Header-Content-Length": str(length)}
    if seldom():
        headers = {"Accept-Encoding": pick(rng, ["gzip", "deflate;q=x", "*", "gzip;q=0, deflate;q=0.1"])}
    if seldom():
        way = pick(rng, ["gzip", "deflate", "deflate", "br", "identity", "", "gzip, gzip", "\xff"])
        headers["Content-Encoding"] = way
        body = zlib.compress(body) if way == "deflate" else body
        body = damaged(rng, body) if rng.random() < 0.5 else body
    return pick(rng, PATHS) if seldom() else PATHS[0], body, headers


def message(rng: np.random.Generator) -> bytes:
    """A message for inference that is wrong in one way or two, or in none."""
    seldom = lambda: rng.random() < 0.1  # noqa: E731
    name = pick(rng, ["", "n", "\0", "m" * 300]) if seldom() else "m"
    made = messages().ModelInferRequest(model_name=name, model_version="2" if seldom() else "")
    raw = rng.random() < 0.5
    names = ["x", *([pick(rng, ["x", "h", "c", ""])] if seldom() else [])]
    for name in names:
        kind = pick(rng, [*EXTREMES, "BYTES", ""]) if seldom() else "FP32"
        strange = [[], [-1], [2**62, 4], [2**63 - 1] * 9, [0, 2**39, 2**39], [1] * 99, [0, 1, 3], [3, 2]]
        tensor = made.inputs.add(name=name, datatype=kind, shape=pick(rng, strange) if seldom() else X.shape)
        if raw != seldom():
            made.raw_input_contents.append(
                pick(rng, [b"", bytes(7), bytes(8), b"\xff" * 24]) if seldom() else X.tobytes()
            )
        else:
            numbers = [1, 2, float("nan")] if seldom() else X.ravel().tolist()
            tensor.contents.fp32_contents.extend(numbers)
        if seldom():
            tensor.contents.int_contents.extend([2**31 - 1, -1])
        if seldom():
            tensor.parameters[pick(rng, ["shared_memory_region", ""])].string_param = "r"
    for name in ("sequence_id", "sequence_start", "sequence_end", "timeout", "priority", "zz"):
        if seldom():
            parameter = made.parameters[name]
            field = pick(rng, ["bool_param", "int64_param", "string_param", "double_param", ""])
            if field:
                setattr(parameter, field, "s" if field == "string_param" else 1)
    if seldom():
        made.outputs.add(name=pick(rng, ["y", "hn", "zz", ""]))
    data = made.SerializeToString()
    return damaged(rng, data) if rng.random() < 0.2 else data


Report = Callable[[str, Any], None]


async def ask_http(app: Inside, rng: np.random.Generator, count: int, wrong: Report) -> dict[int, int]:
    """Asks by HTTP; how often each status was answered. What is wrong is reported."""
    statuses: dict[int, int] = {}
    for _ in range(count):
        path, body, headers = http_request(rng)
        answer = await app.ask(path, body, headers)
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        said = answer.status == 200 or len(answer.json["error"]) < 2000
        if not said or (answer.status >= 500 and answer.status != 503):
            wrong(f"{answer.status} {answer.body[:200]!r}", (path, headers, body[:2000]))
    return statuses


async def ask_grpc(app: Inside, rng: np.random.Generator, count: int, wrong: Report) -> dict[str, int]:
    """Asks by gRPC, alone and in a stream; how often each code was answered. What is wrong is reported."""
    import grpc

    codes: dict[str, int] = {}
    (server,) = app.app._others
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        alone = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")()
        for _ in range(count):
            data = message(rng)
            try:
                await alone(data)
                code = "OK"
            except grpc.aio.AioRpcError as error:
                code = error.code().name
                if code not in ("INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE"):
                    wrong(f"{code} {error.details()}", data)
            codes[code] = codes.get(code, 0) + 1
            await stream.write(data)
            answer = messages().ModelStreamInferResponse.FromString(await stream.read())
            if "failed" in answer.error_message:
                wrong(answer.error_message, data)
    return codes


def fuzz(count: int, seed: int, folder: Path, wrong: Report) -> tuple[dict[int, int], dict[str, int]]:
    """Asks a server so often by HTTP, and so often by gRPC; what was answered. Afterwards it must answer as
    ever, and nothing may be left of what was asked but sequences that were begun."""
    found: list[Any] = []
    rng = np.random.default_rng(seed)

    async def use(app: Inside) -> None:
        found.append(await ask_http(app, rng, count, wrong))
        found.append(await ask_grpc(app, rng, count, wrong))
        answer = await app.ask(PATHS[0], {"inputs": good(alone=False)["inputs"]})
        admission, sequences = app.services.admission, Inference.of(app.services).sequences
        left = admission.queued_bytes, admission.requests, admission.streams - len(sequences)
        if answer.status != 200 or left != (0, 0, 0):
            wrong(f"{answer} {left}", None)

    inside(use, {"m": lstm_with_state()}, folder, grpc=0)
    return found[0], found[1]


def main() -> None:
    count, seed = (int(text) for text in sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        print(*fuzz(count, seed, Path(folder), lambda what, sent: print(what, sent)), sep="\n")


if __name__ == "__main__":
    main()
