"""The real tritonclient against a server: ``python triton.py HTTP_ADDRESS GRPC_ADDRESS RESULTS.npz``.

Runs in an environment of its own, without tinyseq. What must hold of answers is asserted here; outputs
are written, and the test compares them with those of the model.
"""

from __future__ import annotations

import asyncio
import queue
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from chunks import CHUNKS, RATE
from tritonclient.utils import InferenceServerException

MODEL = "silero_vad"


def inputs(module: Any, chunk: np.ndarray, binary: bool = True) -> list[Any]:
    """The inputs of a request."""
    made = [
        module.InferInput("input", list(chunk.shape), "FP32"),
        module.InferInput("sr", list(RATE.shape), "INT64"),
    ]
    more = {} if binary else {"binary_data": False}
    made[0].set_data_from_numpy(chunk, **more)
    made[1].set_data_from_numpy(RATE, **more)
    return made


def refused(call: Callable[[], Any], *words: str) -> str:
    """The status with which a call is refused, by a message that has some words."""
    try:
        call()
    except InferenceServerException as error:
        assert all(word in error.message() for word in words), error.message()
        return str(error.status())
    raise AssertionError("it was not refused")


async def refused_later(call: Any, *words: str) -> str:
    """``refused``, of what is awaited."""
    try:
        await call
    except InferenceServerException as error:
        assert all(word in error.message() for word in words), error.message()
        return str(error.status())
    raise AssertionError("it was not refused")


def over_http(address: str) -> dict[str, np.ndarray]:
    """Everything by the client of HTTP."""
    client = triton_http.InferenceServerClient(address)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(MODEL) and client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("none") and not client.is_model_ready(MODEL, "2")
    assert client.get_server_metadata()["name"] == "tinyseq"
    metadata = client.get_model_metadata(MODEL)
    assert [each["name"] for each in metadata["inputs"]] == ["input", "sr"], metadata
    assert client.get_model_config(MODEL, "1")["input"][0]["data_type"] == "TYPE_FP32"
    found = {}

    def infer(chunk: np.ndarray, **more: Any) -> np.ndarray:
        return client.infer(MODEL, inputs(triton_http, chunk), **more).as_numpy("output")

    found["alone"] = infer(CHUNKS[0])
    text = triton_http.InferRequestedOutput("output", binary_data=False)
    result = client.infer(MODEL, inputs(triton_http, CHUNKS[0], False), outputs=[text], request_id="seven")
    assert result.get_response()["id"] == "seven"
    found["text"] = result.as_numpy("output")
    wanted = [triton_http.InferRequestedOutput("stateN"), text]
    result = client.infer(MODEL, inputs(triton_http, CHUNKS[0]), outputs=wanted, model_version="1")
    assert [each["name"] for each in result.get_response()["outputs"]] == ["stateN", "output"]
    found["state"] = result.as_numpy("stateN")
    for way in ("gzip", "deflate"):
        found[way] = client.infer(
            MODEL,
            inputs(triton_http, CHUNKS[0]),
            request_compression_algorithm=way,
            response_compression_algorithm=way,
        ).as_numpy("stateN")
    found["later"] = (
        client.async_infer(MODEL, inputs(triton_http, CHUNKS[1]), priority=1, timeout=10_000_000)
        .get_result()
        .as_numpy("output")
    )
    for name in (42, "forty-two"):
        found[f"sequence_{name}"] = sequence(infer, name)
    assert refused(lambda: infer(CHUNKS[0], sequence_id=5), "START", "5") == "400"
    assert refused(lambda: client.infer("none", inputs(triton_http, CHUNKS[0])), "none") == "404"
    assert refused(lambda: infer(CHUNKS[0][:, :0]), "input") == "400"
    statistics = client.get_inference_statistics(MODEL)["model_stats"][0]
    assert statistics["inference_count"] >= 18 and statistics["inference_stats"]["fail"]["count"] >= 2
    assert client.get_inference_statistics()["model_stats"]
    repository(client, found, infer)
    client.close()
    return found


def sequence(infer: Callable[..., np.ndarray], name: int | str) -> np.ndarray:
    """The outputs of a sequence that is begun, begun anew and ended."""
    infer(CHUNKS[5], sequence_id=name, sequence_start=True)
    last = len(CHUNKS) - 1
    outputs = [
        infer(chunk, sequence_id=name, sequence_start=place == 0, sequence_end=place == last)
        for place, chunk in enumerate(CHUNKS)
    ]
    assert refused(lambda: infer(CHUNKS[0], sequence_id=name), "START") in (
        "400",
        "StatusCode.INVALID_ARGUMENT",
    )
    return np.concatenate(outputs)


def repository(client: Any, found: dict[str, np.ndarray], infer: Callable[..., np.ndarray]) -> None:
    """Index, unload and load."""
    client.unload_model(MODEL)
    assert not client.is_model_ready(MODEL)
    refused(lambda: infer(CHUNKS[0]), MODEL)
    client.load_model(MODEL)
    assert client.is_model_ready(MODEL)
    found["reloaded"] = infer(CHUNKS[0])
    refused(lambda: client.load_model("../../etc/passwd"))
    refused(lambda: client.load_model(MODEL, config="{}"), "config")
    refused(lambda: client.load_model(MODEL, config="{}", files={"file:1/model.onnx": b"x"}))


async def over_http_later(address: str) -> dict[str, np.ndarray]:
    """Everything by the client of HTTP for asyncio."""
    async with triton_http_aio.InferenceServerClient(address) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready(MODEL)
        assert (await client.get_model_repository_index())[0]["name"] == MODEL

        async def infer(chunk: np.ndarray, **more: Any) -> np.ndarray:
            result = await client.infer(MODEL, inputs(triton_http_aio, chunk), **more)
            return result.as_numpy("output")

        found = {"alone": await infer(CHUNKS[0])}
        found["gzip"] = await infer(
            CHUNKS[0], request_compression_algorithm="gzip", response_compression_algorithm="gzip"
        )
        found["sequence"] = await sequence_later(infer, 9)
        both = await asyncio.gather(*(infer(chunk) for chunk in CHUNKS))
        found["together"] = np.concatenate(both)
        assert await refused_later(infer(CHUNKS[0], sequence_id="x"), "START") == "400"
    return found


async def sequence_later(infer: Callable[..., Any], name: int | str) -> np.ndarray:
    """The outputs of a sequence."""
    last = len(CHUNKS) - 1
    outputs = [
        await infer(chunk, sequence_id=name, sequence_start=place == 0, sequence_end=place == last)
        for place, chunk in enumerate(CHUNKS)
    ]
    return np.concatenate(outputs)


def over_grpc(address: str) -> dict[str, np.ndarray]:
    """Everything by the client of gRPC."""
    client = triton_grpc.InferenceServerClient(address)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(MODEL) and not client.is_model_ready("none")
    assert client.get_server_metadata().name == "tinyseq"
    assert client.get_model_metadata(MODEL).inputs[0].shape == [-1, -1]
    config = client.get_model_config(MODEL).config
    assert config.sequence_batching.state[0].input_name == "state", config

    def infer(chunk: np.ndarray, **more: Any) -> np.ndarray:
        return client.infer(MODEL, inputs(triton_grpc, chunk), **more).as_numpy("output")

    found = {"alone": infer(CHUNKS[0]), "packed": infer(CHUNKS[0], compression_algorithm="gzip")}
    wanted = [triton_grpc.InferRequestedOutput("stateN")]
    result = client.infer(MODEL, inputs(triton_grpc, CHUNKS[0]), outputs=wanted, request_id="a")
    assert result.get_response().id == "a"
    found["state"] = result.as_numpy("stateN")
    found["contents"] = by_contents(client)
    for name in (42, "forty-two"):
        found[f"sequence_{name}"] = sequence(infer, name)
    answers: queue.Queue[Any] = queue.Queue()
    client.async_infer(
        MODEL, inputs(triton_grpc, CHUNKS[1]), lambda result, error: answers.put(error or result)
    )
    found["later"] = answers.get(timeout=30).as_numpy("output")
    assert refused(lambda: infer(CHUNKS[0], sequence_id=5), "START") == "StatusCode.INVALID_ARGUMENT"
    assert refused(lambda: client.infer("none", inputs(triton_grpc, CHUNKS[0]))) == "StatusCode.NOT_FOUND"
    assert client.get_inference_statistics(MODEL).model_stats[0].inference_stats.success.count >= 12
    assert client.get_model_repository_index().models[0].state == "READY"
    repository(client, found, infer)
    found["stream"] = in_stream(client)
    client.close()
    return found


def by_contents(client: Any) -> np.ndarray:
    """A request whose tensors are numbers in the message, which the client's own inputs never are."""
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=MODEL)
    sound = request.inputs.add(name="input", datatype="FP32", shape=CHUNKS[0].shape)
    sound.contents.fp32_contents.extend(CHUNKS[0].ravel().tolist())
    rate = request.inputs.add(name="sr", datatype="INT64", shape=[])
    rate.contents.int64_contents.append(16000)
    response = client._client_stub.ModelInfer(request)
    return np.frombuffer(response.raw_output_contents[0], np.float32).reshape(1, 1)


def in_stream(client: Any) -> np.ndarray:
    """A sequence by a stream of requests, with one among them that is refused."""
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    last = len(CHUNKS) - 1
    for place, chunk in enumerate(CHUNKS):
        client.async_stream_infer(
            MODEL,
            inputs(triton_grpc, chunk),
            request_id=str(place),
            sequence_id=8,
            sequence_start=place == 0,
            sequence_end=place == last,
            enable_empty_final_response=True,
        )
    client.async_stream_infer("none", inputs(triton_grpc, CHUNKS[0]), request_id="bad")
    outputs = []
    for place in range(len(CHUNKS)):
        result, error = answers.get(timeout=30)
        assert error is None, error
        response = result.get_response()
        assert response.id == str(place), response.id
        assert response.parameters["triton_final_response"].bool_param
        outputs.append(result.as_numpy("output"))
    result, error = answers.get(timeout=30)
    assert result is None and "none" in error.message(), error
    client.stop_stream()
    return np.concatenate(outputs)


async def over_grpc_later(address: str) -> dict[str, np.ndarray]:
    """Everything by the client of gRPC for asyncio."""
    async with triton_grpc_aio.InferenceServerClient(address) as client:
        assert await client.is_server_live() and await client.is_model_ready(MODEL)

        async def infer(chunk: np.ndarray, **more: Any) -> np.ndarray:
            return (await client.infer(MODEL, inputs(triton_grpc_aio, chunk), **more)).as_numpy("output")

        found = {"alone": await infer(CHUNKS[0]), "sequence": await sequence_later(infer, "nine")}

        async def requests() -> Any:
            last = len(CHUNKS) - 1
            for place, chunk in enumerate(CHUNKS):
                yield {
                    "model_name": MODEL,
                    "inputs": inputs(triton_grpc_aio, chunk),
                    "sequence_id": "in a stream",
                    "sequence_start": place == 0,
                    "sequence_end": place == last,
                }

        outputs = []
        async for result, error in client.stream_infer(requests()):
            assert error is None, error
            outputs.append(result.as_numpy("output"))
        found["stream"] = np.concatenate(outputs)
    return found


def main() -> None:
    http, grpc, path = sys.argv[1:]
    found = {
        "http": over_http(http),
        "http_aio": asyncio.run(over_http_later(http)),
        "grpc": over_grpc(grpc),
        "grpc_aio": asyncio.run(over_grpc_later(grpc)),
    }
    np.savez(path, **{f"{way}.{name}": array for way, own in found.items() for name, array in own.items()})


if __name__ == "__main__":
    main()
