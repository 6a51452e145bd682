"""Inference by gRPC: what is answered, and by what code what is refused."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from tests.models import lstm_with_state, running_sum
from tests.serve.inside import Inside, inside
from tests.serve.test_inference import EXTREMES, each_datatype
from tinyseq.errors import OptionError
from tinyseq.serve.protocols.messages import SERVICE, messages

grpc = pytest.importorskip("grpc", reason="gRPC needs tinyseq[grpc]")

X = np.arange(12, dtype=np.float32).reshape(4, 1, 3)

CONTENTS = {
    "BOOL": "bool_contents",
    "UINT64": "uint64_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
}


class Client:
    """Calls a server by bytes."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    async def call(self, name: str, data: Any = b"", metadata: Any = (), **options: Any) -> Any:
        """The message that answers a call; its request is bytes, or the fields of its message."""
        if isinstance(data, dict):
            data = getattr(messages(), f"{name}Request")(**data)
        sent = data if isinstance(data, bytes) else data.SerializeToString()
        answer = await self._channel.unary_unary(f"/{SERVICE}/{name}")(sent, metadata=metadata, **options)
        return getattr(messages(), f"{name}Response").FromString(answer)

    async def refused(
        self, name: str, data: Any = b"", metadata: Any = (), **options: Any
    ) -> tuple[str, str]:
        """The code and the message of a refusal."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(name, data, metadata, **options)
        return caught.value.code().name, caught.value.details()

    def stream(self) -> Any:
        """A stream of requests and answers, as bytes."""
        return self._channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")()


def calling(use: Callable[[Client, Inside], Awaitable[None]], folder, data: bytes, **given: Any) -> None:
    """Uses a client of a server with one model, ``m``."""

    async def both(app: Inside) -> None:
        (server,) = app.app._others
        options = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
            await use(Client(channel), app)

    inside(both, {"m": data}, folder, grpc=0, **given)


def request(x: np.ndarray | None, name: Any = 0, start: bool = False, end: bool = False, **more: Any) -> Any:
    """A request for inference, of a sequence if it has a name."""
    made = messages().ModelInferRequest(model_name="m", **more)
    if x is not None:
        made.inputs.add(name="x", datatype="FP32", shape=x.shape)
        made.raw_input_contents.append(x.tobytes())
    if name:
        field = "string_param" if isinstance(name, str) else "int64_param"
        setattr(made.parameters["sequence_id"], field, name)
        made.parameters["sequence_start"].bool_param = start
        made.parameters["sequence_end"].bool_param = end
    return made


def arrays(answer: Any) -> dict[str, np.ndarray]:
    """The outputs of an answer."""
    dtypes = {name: array.dtype for name, array in EXTREMES.items()}
    return {
        tensor.name: np.frombuffer(data, dtypes[tensor.datatype]).reshape(tensor.shape)
        for tensor, data in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


@pytest.mark.filterwarnings("ignore::tinyseq.ConversionWarning")
def test_every_datatype_comes_back_as_it_was_sent(tmp_path):
    raw = messages().ModelInferRequest(model_name="m")
    listed = messages().ModelInferRequest(model_name="m")
    for name, array in EXTREMES.items():
        raw.inputs.add(name=name, datatype=name, shape=array.shape)
        raw.raw_input_contents.append(array.tobytes())
        tensor = listed.inputs.add(name=name, datatype=name, shape=array.shape)
        if name in CONTENTS:
            getattr(tensor.contents, CONTENTS[name]).extend(array.ravel().tolist())

    async def use(client: Client, app: Inside) -> None:
        found = arrays(await client.call("ModelInfer", raw))
        for name, array in EXTREMES.items():
            np.testing.assert_array_equal(found[f"{name}_out"], array, strict=True, err_msg=name)
        code, message = await client.refused("ModelInfer", listed)
        assert code == "INVALID_ARGUMENT" and "FP16 is given in raw_input_contents" in message

    calling(use, tmp_path, each_datatype())


@pytest.mark.parametrize("name", CONTENTS)
def test_numbers_in_the_message_are_taken(name):
    from tinyseq.serve.protocols.inference_messages import read_request

    array = EXTREMES[name]
    made = messages().ModelInferRequest(model_name="m")
    tensor = made.inputs.add(name="x", datatype=name, shape=array.shape)
    getattr(tensor.contents, CONTENTS[name]).extend(array.ravel().tolist())
    np.testing.assert_array_equal(read_request(made).feeds["x"], array, strict=True)


def test_what_is_wrong_is_refused_by_its_code(tmp_path):
    made = messages()
    two = request(X[0])
    two.raw_input_contents.append(b"")
    twice = request(X[0])
    twice.inputs.append(twice.inputs[0])
    twice.raw_input_contents.append(twice.raw_input_contents[0])
    both = request(X[0])
    both.inputs[0].contents.fp32_contents.extend([1, 2, 3])
    negative = request(X[0])
    negative.inputs[0].shape[0] = -1
    memory = request(X[0])
    memory.inputs[0].parameters["shared_memory_region"].string_param = "r"
    nothing = request(X[0])
    nothing.parameters["sequence_id"].Clear()
    output = request(X[0])
    output.outputs.add(name="z")
    other = made.ModelInferRequest(model_name="m")
    other.inputs.add(name="x", datatype="FP32", shape=[1, 3]).contents.int_contents.extend([1, 2, 3])
    texts = made.ModelInferRequest(model_name="m")
    texts.inputs.add(name="x", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"x")
    wrong = {
        "no message": (b"\xff\xff\xff", "no ModelInferRequest"),
        "more bytes than inputs": (two, "2 tensors"),
        "an input twice": (twice, "twice"),
        "bytes and numbers": (both, "beside"),
        "a negative size": (negative, "shape"),
        "shared memory": (memory, "shared_memory_region"),
        "a sequence id without a value": (nothing, "sequence_id"),
        "an unknown output": (output, "'z'"),
        "numbers of another field": (other, "fp32_contents"),
        "texts": (texts, "BYTES"),
        "no input": (request(None), "missing"),
        "another size": (request(X[0][:, :2]), "shape"),
        "no start": (request(X[0], 5), "START"),
    }

    async def use(client: Client, app: Inside) -> None:
        for case, (data, words) in wrong.items():
            code, message = await client.refused("ModelInfer", data)
            assert code == "INVALID_ARGUMENT" and words in message, (case, code, message)
        for name in ("ModelMetadata", "ModelConfig", "ModelStatistics"):
            assert (await client.refused(name, {"name": "none"}))[0] == "NOT_FOUND"
            assert (await client.refused(name, b"\xff\xff"))[0] == "INVALID_ARGUMENT"
        unknown = made.ModelInferRequest(model_name="m", model_version="9")
        assert (await client.refused("ModelInfer", unknown))[0] == "NOT_FOUND"
        for name in ("SystemSharedMemoryStatus", "LogSettings", "None", ""):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client._channel.unary_unary(f"/{SERVICE}/{name}")(b"")
            assert caught.value.code().name == "UNIMPLEMENTED"
        assert arrays(await client.call("ModelInfer", request(X[0])))["y"].tolist() == (-X[0]).tolist()
        assert (await client.call("ModelReady", {"name": "m"})).ready
        assert not (await client.call("ModelReady", {"name": "none"})).ready

    calling(use, tmp_path, running_sum())


def test_what_is_too_large_is_refused_packed_or_not(tmp_path):
    big = np.zeros((40_000, 1, 3), np.float32)

    async def use(client: Client, app: Inside) -> None:
        for packed in (grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate):
            code, _ = await client.refused("ModelInfer", request(big), compression=packed)
            assert code == "RESOURCE_EXHAUSTED"
            answer = await client.call("ModelInfer", request(big[:100]), compression=packed)
            assert arrays(answer)["y"].shape == (100, 1, 1, 4)

    calling(use, tmp_path, lstm_with_state(), body_bytes=65536)


def test_limits_say_when_to_come_again(tmp_path):
    async def use(client: Client, app: Inside) -> None:
        await client.call("ModelInfer", request(X[0], 1, start=True))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.call("ModelInfer", request(X[0], 2, start=True))
        assert caught.value.code().name == "UNAVAILABLE"
        assert dict(caught.value.trailing_metadata())["retry-after"] == "5"
        assert app.services.metrics.refused["streams"] == 1

    calling(use, tmp_path, running_sum(), streams=1)


def test_bearer_tokens_are_asked_for(tmp_path):
    shown = [("authorization", "Bearer secret")]

    async def use(client: Client, app: Inside) -> None:
        assert (await client.call("ServerLive")).live and (await client.call("ServerReady")).ready
        for metadata in ((), [("authorization", "Bearer wrong")]):
            for name in ("ModelInfer", "ModelMetadata", "RepositoryModelUnload"):
                assert (await client.refused(name, b"", metadata))[0] == "UNAUTHENTICATED"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.stream().read()
        assert caught.value.code().name == "UNAUTHENTICATED"
        assert (await client.call("ModelInfer", request(X[0]), shown)).model_name == "m"

    calling(use, tmp_path, running_sum(), tokens=("secret",))


def test_with_a_certificate_it_is_encrypted(tmp_path):
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "certificate.pem"]
    try:
        subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    except OSError:
        pytest.skip("openssl, which makes a certificate, is not installed")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())

    async def use(app: Inside) -> None:
        (server,) = app.app._others
        known = grpc.ssl_channel_credentials(certificate.read_bytes())
        async with grpc.aio.secure_channel(f"localhost:{server.port}", known) as channel:
            assert (await Client(channel).call("ServerLive")).live
        async with grpc.aio.insecure_channel(f"localhost:{server.port}") as channel:
            assert (await Client(channel).refused("ServerLive"))[0] == "UNAVAILABLE"

    models = {"m": running_sum()}
    inside(use, models, tmp_path, grpc=0, certificate=certificate, key=key)
    inside(use, models, tmp_path, grpc=0, certificate=both)
    with pytest.raises(OptionError, match="missing"):
        inside(use, models, tmp_path, grpc=0, certificate=tmp_path / "missing")


def test_a_stream_is_answered_in_order_and_goes_on_after_what_is_refused(tmp_path):
    answer = messages().ModelStreamInferResponse

    async def use(client: Client, app: Inside) -> None:
        stream = client.stream()
        asked = [request(X[place % 4], 1, place == 0, id=str(place)) for place in range(300)]
        asked[10] = request(X[0][:, :2], 1, id="10")
        wrong = {10: "shape", 20: "no ModelInferRequest"}

        async def write() -> None:
            for place, each in enumerate(asked):
                await stream.write(b"\xff" if place == 20 else each.SerializeToString())
            await stream.done_writing()

        writing = asyncio.create_task(write())
        total = np.zeros_like(X[0])
        for place in range(300):
            found = answer.FromString(await stream.read())
            if place in wrong:
                assert wrong[place] in found.error_message
                assert found.infer_response.id == ("" if place == 20 else str(place))
                continue
            assert not found.error_message and found.infer_response.id == str(place)
            total = total + X[place % 4]
            np.testing.assert_array_equal(arrays(found.infer_response)["y"], -total)
        assert await stream.read() is grpc.aio.EOF
        await writing

    calling(use, tmp_path, running_sum(), chunks_ahead=64)


def test_a_stream_that_is_cut_leaves_nothing_behind(tmp_path):
    async def use(client: Client, app: Inside) -> None:
        before = len(asyncio.all_tasks())
        for _ in range(5):
            stream = client.stream()
            await stream.write(request(X[0], 1, start=True).SerializeToString())
            await stream.read()
            await stream.write(request(X[0], 1).SerializeToString())
            stream.cancel()
        # The sequence is there: it may be gone on with by another call.
        await client.call("ModelInfer", request(X[0], 1, end=True))
        assert app.services.admission.streams == 0
        for _ in range(100):
            await asyncio.sleep(0.02)
            if len(asyncio.all_tasks()) <= before:
                break
        assert len(asyncio.all_tasks()) <= before

    calling(use, tmp_path, running_sum())
