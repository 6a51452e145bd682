"""The messages of the Open Inference Protocol over gRPC, made when they are first needed.

Descriptors are put together here, so that neither protoc nor a certain protobuf has to be there, and in a
pool of their own, so that a client's copy of them in the same process is not in their way.
"""

from __future__ import annotations

import re
from functools import cache
from types import SimpleNamespace
from typing import Any

from tinyseq.common.packages import package

SERVICE = "inference.GRPCInferenceService"

_MESSAGES = """
ServerLiveRequest:
ServerLiveResponse: bool live 1
ServerReadyRequest:
ServerReadyResponse: bool ready 1
ModelReadyRequest: string name 1, string version 2
ModelReadyResponse: bool ready 1
ServerMetadataRequest:
ServerMetadataResponse: string name 1, string version 2, string* extensions 3
ModelMetadataRequest: string name 1, string version 2
TensorMetadata: string name 1, string datatype 2, int64* shape 3
ModelMetadataResponse: string name 1, string* versions 2, string platform 3, TensorMetadata* inputs 4,
    TensorMetadata* outputs 5

InferParameter: bool bool_param 1|, int64 int64_param 2|, string string_param 3|, double double_param 4|,
    uint64 uint64_param 5|
InferTensorContents: bool* bool_contents 1, int32* int_contents 2, int64* int64_contents 3,
    uint32* uint_contents 4, uint64* uint64_contents 5, float* fp32_contents 6, double* fp64_contents 7,
    bytes* bytes_contents 8
InferInputTensor: string name 1, string datatype 2, int64* shape 3, InferParameter% parameters 4,
    InferTensorContents contents 5
InferRequestedOutputTensor: string name 1, InferParameter% parameters 2
ModelInferRequest: string model_name 1, string model_version 2, string id 3, InferParameter% parameters 4,
    InferInputTensor* inputs 5, InferRequestedOutputTensor* outputs 6, bytes* raw_input_contents 7
InferOutputTensor: string name 1, string datatype 2, int64* shape 3, InferParameter% parameters 4,
    InferTensorContents contents 5
ModelInferResponse: string model_name 1, string model_version 2, string id 3, InferParameter% parameters 4,
    InferOutputTensor* outputs 5, bytes* raw_output_contents 6
ModelStreamInferResponse: string error_message 1, ModelInferResponse infer_response 2

ModelInput: string name 1, DataType data_type 2, int64* dims 4, bool optional 8
ModelOutput: string name 1, DataType data_type 2, int64* dims 3
SequenceState: string input_name 1, string output_name 2, DataType data_type 3, int64* dims 4
ModelSequenceBatching: uint64 max_sequence_idle_microseconds 1, SequenceState* state 5
ModelParameter: string string_value 1
ModelConfig: string name 1, string platform 2, int32 max_batch_size 4, ModelInput* input 5,
    ModelOutput* output 6, ModelSequenceBatching sequence_batching 13, ModelParameter% parameters 14,
    string backend 17
ModelConfigRequest: string name 1, string version 2
ModelConfigResponse: ModelConfig config 1

ModelStatisticsRequest: string name 1, string version 2
StatisticDuration: uint64 count 1, uint64 ns 2
InferStatistics: StatisticDuration success 1, StatisticDuration fail 2, StatisticDuration queue 3,
    StatisticDuration compute_input 4, StatisticDuration compute_infer 5, StatisticDuration compute_output 6
InferBatchStatistics: uint64 batch_size 1, StatisticDuration compute_input 2,
    StatisticDuration compute_infer 3, StatisticDuration compute_output 4
ModelStatistics: string name 1, string version 2, uint64 last_inference 3, uint64 inference_count 4,
    uint64 execution_count 5, InferStatistics inference_stats 6, InferBatchStatistics* batch_stats 7
ModelStatisticsResponse: ModelStatistics* model_stats 1

ModelRepositoryParameter: bool bool_param 1|, int64 int64_param 2|, string string_param 3|,
    bytes bytes_param 4|
RepositoryIndexRequest: string repository_name 1, bool ready 2
ModelIndex: string name 1, string version 2, string state 3, string reason 4
RepositoryIndexResponse: ModelIndex* models 1
RepositoryModelLoadRequest: string repository_name 1, string model_name 2,
    ModelRepositoryParameter% parameters 3
RepositoryModelLoadResponse:
RepositoryModelUnloadRequest: string repository_name 1, string model_name 2,
    ModelRepositoryParameter% parameters 3
RepositoryModelUnloadResponse:
"""
"""A line for each message: the type, name and number of its fields. ``*`` marks what is repeated, ``%`` a map
from texts, ``|`` the members of a choice."""

_DATA_TYPES = "INVALID BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 STRING BF16"
"""The types of a configuration, from 0."""

_CHOICE = "parameter_choice"


@cache
def messages() -> SimpleNamespace:
    """The classes of all messages, by name.

    Raises:
        MissingPackageError: protobuf is not installed.
    """
    pools = package("google.protobuf.descriptor_pool", "gRPC", "grpc")
    factory = package("google.protobuf.message_factory", "gRPC", "grpc")
    pool = pools.DescriptorPool()
    file = _file()
    pool.AddSerializedFile(file.SerializeToString())
    found = {
        message.name: factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{message.name}"))
        for message in file.message_type
    }
    return SimpleNamespace(**found)


def _file() -> Any:
    """The description of them all, as protobuf's own message."""
    described = package("google.protobuf.descriptor_pb2", "gRPC", "grpc")
    file = described.FileDescriptorProto(name="tinyseq/inference.proto", package="inference", syntax="proto3")
    file.enum_type.add(name="DataType").value.extend(
        described.EnumValueDescriptorProto(name=f"TYPE_{name}", number=number)
        for number, name in enumerate(_DATA_TYPES.split())
    )
    lines = re.sub(r",\s+", ",", _MESSAGES)
    for line in lines.split("\n"):
        if line:
            name, _, fields = line.partition(":")
            message = file.message_type.add(name=name)
            for field in filter(None, fields.strip().split(",")):
                _add_field(message, field, described.FieldDescriptorProto)
    return file


def _add_field(message: Any, text: str, kinds: Any) -> None:
    kind, name, number = text.split()
    field = message.field.add(name=name, number=int(number.rstrip("|")), label=kinds.LABEL_OPTIONAL)
    if kind[-1] in "*%":
        field.label = kinds.LABEL_REPEATED
    if number.endswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name=_CHOICE)
        field.oneof_index = 0
    if kind.endswith("%"):
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "string key 1", kinds)
        _add_field(entry, f"{kind[:-1]} value 2", kinds)
        field.type, field.type_name = kinds.TYPE_MESSAGE, f".inference.{message.name}.{entry.name}"
        return
    kind = kind.rstrip("*")
    if kind[0].islower():
        field.type = getattr(kinds, f"TYPE_{kind.upper()}")
    else:
        field.type = kinds.TYPE_ENUM if kind == "DataType" else kinds.TYPE_MESSAGE
        field.type_name = f".inference.{kind}"
