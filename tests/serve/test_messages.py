"""The messages of gRPC: they are those of the real client, by any protobuf."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tinyseq
from tests.serve.environments import TRITON, environment

ROOT = Path(tinyseq.__file__).parent.parent

TRIED = """
from tinyseq.serve.protocols.messages import messages
made = messages()
request = made.ModelInferRequest(model_name="m", raw_input_contents=[b"12"])
request.inputs.add(name="x", datatype="FP32", shape=[1, 2]).parameters["p"].int64_param = 3
request.parameters["sequence_id"].string_param = "s"
again = made.ModelInferRequest.FromString(request.SerializeToString())
assert again == request and again.parameters["sequence_id"].WhichOneof("parameter_choice") == "string_param"
assert again.inputs[0].shape == [1, 2]
"""

COMPARED = """
import sys
from tinyseq.serve.protocols.messages import messages
from tritonclient.grpc import model_config_pb2, service_pb2

def fields(message):
    return {
        each.name: (each.number, each.type, each.message_type and each.message_type.name, each.is_repeated)
        for each in message.DESCRIPTOR.fields
    }

renamed = {"SequenceState": model_config_pb2.ModelSequenceBatching.State}
inner = {"TensorMetadata": "ModelMetadataResponse", "InferInputTensor": "ModelInferRequest",
    "InferRequestedOutputTensor": "ModelInferRequest", "InferOutputTensor": "ModelInferResponse",
    "ModelIndex": "RepositoryIndexResponse"}
compared = 0
for name, own in vars(messages()).items():
    outer = getattr(service_pb2, inner[name]) if name in inner else service_pb2
    theirs = renamed.get(name) or getattr(outer, name, None) or getattr(model_config_pb2, name)
    known = fields(theirs)
    for field, what in fields(own).items():
        if what[2] in renamed:
            what = (*what[:2], renamed[what[2]].DESCRIPTOR.name, what[3])
        assert known[field] == what, (name, field, known[field], what)
        compared += 1
types = messages().ModelInput.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_name
assert {name: value.number for name, value in types.items()} == dict(model_config_pb2.DataType.items())
assert compared > 100, compared
"""


def run(python: Path, script: str) -> None:
    """Runs a script by another Python, tinyseq's sources in its path."""
    ran = subprocess.run(
        [python, "-c", script], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr


def test_they_are_made_by_the_oldest_protobuf():
    run(environment("protobuf==4.25.*", "numpy", "safetensors"), TRIED)


def test_they_are_made_by_this_protobuf():
    pytest.importorskip("google.protobuf", reason="gRPC needs tinyseq[grpc]")
    run(Path(sys.executable), TRIED)


def test_their_fields_are_those_of_the_real_client():
    run(environment(*TRITON), COMPARED)
