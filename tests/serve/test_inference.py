"""Inference by HTTP: datatypes, bytes and lists, what is packed, what is refused."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest
from onnx import helper

import tinyseq
from tests.models import lstm_with_state, model, running_sum, value
from tests.serve.inside import Answered, Inside, inside
from tinyseq.serve.protocols.tensors import DATATYPES

INFER = "/v2/models/m/infer"


def each_datatype() -> bytes:
    """A model that gives what it takes, one tensor of each datatype."""
    return model(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in DATATYPES],
        [value(name, dtype, ("n", 2)) for name, dtype in DATATYPES.items()],
        [value(f"{name}_out", dtype, ("n", 2)) for name, dtype in DATATYPES.items()],
    )


def extremes(dtype: np.dtype) -> np.ndarray:
    """Numbers of a type that are easily lost, four of them; of those that float32 holds, too."""
    if dtype.kind == "b":
        numbers = [True, False, False, True]
    elif dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        numbers = [bounds.min, bounds.max, 0, 1]
    else:
        bounds = np.finfo(np.float16 if dtype == np.float16 else np.float32)
        numbers = [bounds.min, bounds.tiny, -0.0, bounds.dtype.type(1 / 3)]
    return np.array(numbers, dtype).reshape(2, 2)


EXTREMES = {name: extremes(dtype) for name, dtype in DATATYPES.items()}


def binary(
    feeds: dict[str, np.ndarray], outputs: list[Any] | None = None, **parameters: Any
) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a request whose tensors are bytes."""
    names = {dtype: name for name, dtype in DATATYPES.items()}
    inputs = [
        {
            "name": name,
            "datatype": names[array.dtype],
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in feeds.items()
    ]
    header: dict[str, Any] = {"inputs": inputs, "parameters": parameters}
    if outputs is not None:
        header["outputs"] = outputs
    text = json.dumps(header).encode()
    data = b"".join(array.tobytes() for array in feeds.values())
    return text + data, {"Inference-Header-Content-Length": str(len(text))}


def arrays(answer: Answered) -> dict[str, np.ndarray]:
    """The outputs of an answer."""
    assert answer.status == 200, answer.body
    length = int(answer.headers.get("inference-header-content-length", len(answer.body)))
    header, data = json.loads(answer.body[:length]), answer.body[length:]
    found = {}
    for tensor in header["outputs"]:
        dtype = DATATYPES[tensor["datatype"]]
        if "data" in tensor:
            array = np.array(tensor["data"], dtype)
        else:
            size = tensor["parameters"]["binary_data_size"]
            array, data = np.frombuffer(data[:size], dtype), data[size:]
        found[tensor["name"]] = array.reshape(tensor["shape"])
    assert not data
    return found


@pytest.mark.filterwarnings("ignore::tinyseq.ConversionWarning")
@pytest.mark.parametrize("written", ["lists", "bytes", "both"])
def test_every_datatype_comes_back_as_it_was_sent(written, tmp_path):
    wanted = {f"{name}_out": array for name, array in EXTREMES.items()}

    async def use(app: Inside) -> None:
        if written == "lists":
            inputs = [
                {"name": name, "datatype": name, "shape": list(array.shape), "data": array.tolist()}
                for name, array in EXTREMES.items()
            ]
            answer = await app.ask(INFER, {"inputs": inputs})
            assert answer.headers["content-type"] == "application/json"
        else:
            outputs = [
                {"name": name, "parameters": {"binary_data": written == "bytes" or place % 2 == 0}}
                for place, name in enumerate(wanted)
            ]
            answer = await app.ask(INFER, *binary(EXTREMES, outputs))
        found = arrays(answer)
        assert list(found) == list(wanted)
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array, strict=True, err_msg=name)
            assert found[name].tobytes() == array.tobytes()

    inside(use, {"m": each_datatype()}, tmp_path)


@pytest.mark.filterwarnings("ignore::tinyseq.ConversionWarning")
def test_every_datatype_is_declared(tmp_path):
    async def use(app: Inside) -> None:
        metadata = (await app.ask("/v2/models/m/versions/1")).json
        assert [(each["name"], each["datatype"], each["shape"]) for each in metadata["inputs"]] == [
            (name, name, [-1, 2]) for name in DATATYPES
        ]
        config = (await app.ask("/v2/models/m/config")).json
        assert [each["data_type"] for each in config["output"]] == [f"TYPE_{name}" for name in DATATYPES]

    inside(use, {"m": each_datatype()}, tmp_path)


def test_state_may_be_left_out_or_fed_and_is_not_declared(tmp_path):
    session = tinyseq.load(lstm_with_state())
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 2, 3)).astype(np.float32)
    state = {name: rng.normal(size=(1, 2, 4)).astype(np.float32) for name in "hc"}
    fresh = {name: np.zeros((1, 2, 4), np.float32) for name in "hc"}

    async def use(app: Inside) -> None:
        metadata = (await app.ask("/v2/models/m")).json
        assert [each["name"] for each in metadata["inputs"]] == ["x"]
        assert [each["name"] for each in metadata["outputs"]] == ["y"]
        for fed, given in (({}, fresh), (state, state), ({"h": state["h"]}, {**fresh, "h": state["h"]})):
            found = arrays(await app.ask(INFER, *binary({"x": x, **fed}, binary_data_output=True)))
            wanted = session.run({"x": x, **given})
            assert found.keys() == wanted.keys()
            for name, array in wanted.items():
                np.testing.assert_array_equal(found[name], array, strict=True)

    inside(use, {"m": lstm_with_state()}, tmp_path)


GOOD = {"name": "x", "datatype": "FP32", "shape": [1, 1, 3], "data": [1, 2, 3]}

BARE = {key: value for key, value in GOOD.items() if key != "data"}

WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{", "JSON"),
    "no UTF-8": (b'{"id": "\xff"}', "JSON"),
    "very deep": (b"[" * 100_000, "JSON"),
    "a very long number": (b'{"id": ' + b"1" * 10_000 + b"}", "JSON"),
    "a list": (b"[]", "object"),
    "an id that is a number": ({"id": 5, "inputs": [GOOD]}, "id"),
    "inputs that are an object": ({"inputs": {}}, "inputs"),
    "an input that is a text": ({"inputs": ["x"]}, "input"),
    "no input": ({"inputs": []}, "'x' is missing"),
    "two of a name": ({"inputs": [GOOD, GOOD]}, "twice"),
    "an unknown input": ({"inputs": [GOOD, {**GOOD, "name": "z"}]}, "'z' is unknown"),
    "an unknown key": ({"inputs": [GOOD], "outptus": []}, "outptus"),
    "an unknown key of an input": ({"inputs": [{**GOOD, "dtype": 1}]}, "dtype"),
    "an unknown output": ({"inputs": [GOOD], "outputs": [{"name": "z"}]}, "'z'"),
    "a nameless output": ({"inputs": [GOOD], "outputs": [{}]}, "name"),
    "no datatype": ({"inputs": [{**GOOD, "datatype": None}]}, "datatype"),
    "texts": ({"inputs": [{**GOOD, "datatype": "BYTES", "data": ["a"]}]}, "BYTES"),
    "bfloat16": ({"inputs": [{**GOOD, "datatype": "BF16"}]}, "BF16"),
    "another datatype": ({"inputs": [{**GOOD, "datatype": "FP64"}]}, "FP64 and must be FP32"),
    "another rank": ({"inputs": [{**GOOD, "shape": [3]}]}, "shape [3]"),
    "another size": ({"inputs": [{**GOOD, "shape": [1, 1, 2], "data": [1, 2]}]}, "shape [1, 1, 2]"),
    "a negative size": ({"inputs": [{**GOOD, "shape": [-1, -1, 3]}]}, "shape"),
    "a huge size": ({"inputs": [{**GOOD, "shape": [2**39, 2**39, 3]}]}, "3"),
    "a huge size beside a zero": ({"inputs": [{**GOOD, "shape": [0, 2**39, 2**39], "data": []}]}, "x"),
    "many sizes": ({"inputs": [{**GOOD, "shape": [1] * 40}]}, "shape"),
    "a fraction of a size": ({"inputs": [{**GOOD, "shape": [1, 1, 3.0]}]}, "shape"),
    "too few numbers": ({"inputs": [{**GOOD, "data": [1, 2]}]}, "2"),
    "no numbers": ({"inputs": [{**GOOD, "data": None}]}, "data"),
    "ragged lists": ({"inputs": [{**GOOD, "data": [[1], [2, 3]]}]}, "data"),
    "words": ({"inputs": [{**GOOD, "data": ["1", "2", "3"]}]}, "data"),
    "null": ({"inputs": [{**GOOD, "data": [1, None, 3]}]}, "data"),
    "a number that is too large": ({"inputs": [{**GOOD, "data": [1, 2, 1e39]}]}, "data"),
    "shared memory": (
        {"inputs": [{**GOOD, "parameters": {"shared_memory_region": "r"}}]},
        "shared_memory_region",
    ),
    "classes": (
        {"inputs": [GOOD], "outputs": [{"name": "y", "parameters": {"classification": 3}}]},
        "classification",
    ),
    "bytes beside numbers": (
        {"inputs": [{**GOOD, "parameters": {"binary_data_size": 12}}]},
        "has data and binary_data_size",
    ),
    "bytes that are not there": (
        {"inputs": [{**BARE, "parameters": {"binary_data_size": 12}}]},
        "binary_data_size is 12, and 0 bytes are left",
    ),
    "a size that is none": (
        {"inputs": [{**BARE, "parameters": {"binary_data_size": -1}}]},
        "binary_data_size is -1",
    ),
    "an unknown parameter": ({"inputs": [GOOD], "parameters": {"content_type": "np"}}, "content_type"),
    "parameters that are a list": ({"inputs": [GOOD], "parameters": []}, "parameters"),
}


def test_what_is_said_as_before_is_of_other_bytes(tmp_path):
    """The text of a request is remembered, and nothing of what stands behind it."""

    async def use(app: Inside) -> None:
        draw = np.random.default_rng(0)
        for _ in range(4):
            x = draw.standard_normal((1, 3)).astype(np.float32)
            for name in ("m", "other"):
                body, headers = binary({"x": x}, binary_data_output=True)
                answer = arrays(await app.ask(f"/v2/models/{name}/infer", body, headers))
                model = app.services.models.find(name).model
                expected = model.run({"x": x, "h": np.zeros((1, 3), np.float32)})
                assert all(np.array_equal(answer[key], expected[key]) for key in answer) and answer
            for wrong in (body[:-1], body + b"\0"):
                refused = await app.ask(INFER, wrong, headers)
                assert refused.status == 400 and "bytes" in refused.json["error"]
            numbers = {"inputs": [{**GOOD, "shape": [1, 3], "data": x.ravel().tolist()}]}
            for _ in range(2):
                told = arrays(await app.ask(INFER, numbers))
                assert all(np.array_equal(told[key], answer[key]) for key in answer)

    inside(use, {"m": running_sum(), "other": running_sum()}, tmp_path)


def test_what_is_wrong_is_refused_by_its_name(tmp_path):
    async def use(app: Inside) -> None:
        for case, (body, words) in WRONG.items():
            answer = await app.ask(INFER, body)
            assert answer.status == 400, (case, answer)
            assert words in answer.json["error"], (case, answer.json)
        statistics = (await app.ask("/v2/models/m/stats")).json["model_stats"][0]
        assert statistics["inference_stats"]["fail"]["count"] == len(WRONG)
        assert statistics["inference_count"] == 0
        assert (await app.ask(INFER, {"inputs": [GOOD]})).status == 200
        assert (await app.ask("/v2/models/none/infer", {"inputs": [GOOD]})).status == 404
        assert (await app.ask("/v2/models/m/versions/7/infer", {"inputs": [GOOD]})).status == 404

    inside(use, {"m": lstm_with_state()}, tmp_path)


def test_lengths_are_checked_before_anything_is_read(tmp_path):
    body, headers = binary({"x": np.ones((1, 1, 3), np.float32)})
    (name,) = headers
    length = int(headers[name])

    async def use(app: Inside) -> None:
        for wrong in (
            "-1",
            "1e3",
            "x",
            "",
            "9" * 30,
            str(len(body) + 1),
            "²",
            str(length - 1),
            str(length + 1),
        ):
            answer = await app.ask(INFER, body, {name: wrong.encode().decode("latin-1")})
            assert answer.status == 400, (wrong, answer)
        assert (await app.ask(INFER, body + b"x", headers)).status == 400
        assert (await app.ask(INFER, body[:-1], headers)).status == 400
        assert (await app.ask(INFER, body, headers)).status == 200
        assert (await app.ask(INFER, b"[" + b"0," * 40_000, headers)).status == 413

    inside(use, {"m": lstm_with_state()}, tmp_path, body_bytes=65536)


def test_bodies_are_packed_both_ways(tmp_path):
    x = np.zeros((200, 1, 3), np.float32)
    body, headers = binary({"x": x}, binary_data_output=True)
    ways = {"gzip": (gzip.compress, gzip.decompress), "deflate": (zlib.compress, zlib.decompress)}

    async def use(app: Inside) -> None:
        plain = await app.ask(INFER, body, headers)
        assert "content-encoding" not in plain.headers
        for way, (pack, unpack) in ways.items():
            more = {"Content-Encoding": way, "Accept-Encoding": f"br, {way};q=0.5"}
            answer = await app.ask(INFER, pack(body), {**headers, **more})
            assert answer.status == 200 and answer.headers["content-encoding"] == way
            assert len(answer.body) < len(plain.body) and unpack(answer.body) == plain.body
            refused = await app.ask(INFER, body, {**headers, "Content-Encoding": way})
            assert refused.status == 400 and way in refused.json["error"]
            refused = await app.ask(INFER, pack(body)[:-6], {**headers, "Content-Encoding": way})
            assert refused.status == 400 and "breaks off" in refused.json["error"]
            refused = await app.ask(INFER, pack(body) + b"x", {**headers, "Content-Encoding": way})
            assert refused.status == 400 and "follow" in refused.json["error"]
            never = await app.ask(INFER, body, {**headers, "Accept-Encoding": f"{way};q=0"})
            assert "content-encoding" not in never.headers
        assert (await app.ask(INFER, body, {**headers, "Content-Encoding": "br"})).status == 415

    inside(use, {"m": lstm_with_state()}, tmp_path)


def test_what_is_not_there_says_so(tmp_path):
    async def use(app: Inside) -> None:
        for path, body, status in (
            ("/v2/models/none", None, 404),
            ("/v2/models/none/config", None, 404),
            ("/v2/models/none/stats", None, 404),
            ("/v2/models/none/ready", None, 400),
            ("/v2/models/m/ready", None, 200),
            ("/v2/models/m/versions/2/ready", None, 400),
            ("/v2/repository/models/none/load", b"", 404),
            ("/v2/repository/models/none/unload", b"", 404),
            ("/v2/repository/models/m/load", {"parameters": {"config": "{}"}}, 400),
            ("/v2/repository/models/m/load", {"parameters": {"file:1/model.onnx": "AAAA"}}, 400),
            ("/v2/repository/index", {"ready": 1}, 400),
            ("/v2/repository/index", {"ready": True}, 200),
            ("/v2/logging", None, 501),
            ("/v2/trace/setting", {"x": 1}, 501),
            ("/v2/models/m/trace/setting", None, 501),
            ("/v2/systemsharedmemory/region/r/register", {"key": "/x"}, 501),
            ("/v2/cudasharedmemory/status", None, 501),
            ("/v2/models/m/generate", b"{}", 404),
            ("/v2/models/m", b"{}", 405),
        ):
            answer = await app.ask(path, body)
            assert answer.status == status, (path, answer)
            if status != 200 and not path.endswith("/ready"):
                assert answer.json["error"], path

    inside(use, {"m": lstm_with_state()}, tmp_path)


def test_what_takes_another_method_says_which(tmp_path):
    async def use(app: Inside) -> None:
        assert (await app.ask("/v2/models/m", b"{}")).headers["allow"] == "GET"
        assert (await app.ask(INFER)).headers["allow"] == "POST"

    inside(use, {"m": lstm_with_state()}, tmp_path)


def test_clients_load_models_only_where_they_may(tmp_path):
    async def use(app: Inside) -> None:
        for what in ("load", "unload"):
            answer = await app.ask(f"/v2/repository/models/m/{what}", b"")
            assert answer.status == 403 and "server.control" in answer.json["error"]
        assert (await app.ask("/v2/models/m/ready")).status == 200

    inside(use, {"m": lstm_with_state()}, tmp_path, control=False)


def test_many_at_a_time_get_their_own_answers_and_statistics_count_them(tmp_path):
    session = tinyseq.load(lstm_with_state())
    rng = np.random.default_rng(0)
    fed = [rng.normal(size=(3, 1, 3)).astype(np.float32) for _ in range(20)]
    fresh = {name: np.zeros((1, 1, 4), np.float32) for name in "hc"}

    async def use(app: Inside) -> None:
        asked = [app.ask(INFER, *binary({"x": x}, binary_data_output=True)) for x in fed]
        for x, answer in zip(fed, await asyncio.gather(*asked)):
            np.testing.assert_array_equal(arrays(answer)["y"], session.run({"x": x, **fresh})["y"])
        statistics = (await app.ask("/v2/models/stats")).json["model_stats"][0]
        assert statistics["inference_count"] == 20 and 1 <= statistics["execution_count"] <= 20
        spans = statistics["inference_stats"]
        parts = [spans[name]["ns"] for name in ("compute_input", "compute_infer", "compute_output")]
        assert sum(parts) == spans["success"]["ns"] and min(parts) > 0
        assert abs(statistics["last_inference"] / 1000 - 1.7e9) < 1e9

    inside(use, {"m": lstm_with_state()}, tmp_path)


def test_limits_of_requests_are_kept(tmp_path):
    async def use(app: Inside) -> None:
        asked = [app.ask(INFER, {"inputs": [GOOD]}) for _ in range(5)]
        statuses = sorted(answer.status for answer in await asyncio.gather(*asked))
        assert statuses == [200, 200, 503, 503, 503]
        assert app.services.admission.requests == 0

    inside(use, {"m": lstm_with_state()}, tmp_path, requests=2)


def test_bearer_tokens_are_asked_for(tmp_path):
    async def use(app: Inside) -> None:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            assert (await app.ask(INFER, {"inputs": [GOOD]}, headers)).status == 401
            assert (await app.ask("/v2/models/m", None, headers)).status == 401
            assert (await app.ask("/v2/health/ready", None, headers)).status == 200
        headers = {"Authorization": "Bearer secret"}
        assert (await app.ask(INFER, {"inputs": [GOOD]}, headers)).status == 200

    inside(use, {"m": lstm_with_state()}, tmp_path, tokens=("secret",))


def test_what_was_fed_is_not_remembered(tmp_path):
    """Kinds of requests and chunks are told apart without keeping their numbers."""

    async def use(app: Inside) -> None:
        served = app.services.models.find("m")
        for place in range(20):
            tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [place] * 3}
            for turn in ({}, {"sequence_id": 1, "sequence_start": True}):
                answer = await app.ask(INFER, {"inputs": [tensor], "parameters": turn})
                assert answer.status == 200
        assert len(served.whole._kinds) == len(served.rows.inputs._kinds) == 1

    inside(use, {"m": running_sum()}, tmp_path)
