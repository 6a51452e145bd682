"""The routes of inference in the words of OpenAPI, for what makes requests out of it."""

from __future__ import annotations

from typing import Any

from tinyseq.serve.protocols.tensors import DATATYPES

NAME = {"type": "string", "enum": ["silero_vad"]}

SCALAR: dict[str, Any] = {"type": ["number", "boolean"]}

TENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "datatype", "shape", "data"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "enum": ["input", "sr", "state"]},
        "datatype": {
            "type": "string",
            "enum": list(DATATYPES),
        },
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 4}, "maxItems": 4},
        "data": {"type": "array", "items": SCALAR, "maxItems": 16},
        "parameters": {
            "type": "object",
            "properties": {"binary_data_size": {"type": "integer", "minimum": 0}},
            "additionalProperties": False,
        },
    },
}

REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string"},
        "inputs": {"type": "array", "items": TENSOR, "minItems": 1, "maxItems": 4},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string", "enum": ["output", "stateN"]},
                    "parameters": {
                        "type": "object",
                        "properties": {"binary_data": {"type": "boolean"}},
                        "additionalProperties": False,
                    },
                },
            },
        },
        "parameters": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "sequence_id": {"type": ["integer", "string"], "minimum": 0, "maxLength": 128},
                "sequence_start": {"type": "boolean"},
                "sequence_end": {"type": "boolean"},
                "priority": {"type": "integer", "minimum": 0},
                "timeout": {"type": "integer", "minimum": 0},
                "binary_data_output": {"type": "boolean"},
            },
        },
    },
}

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "minLength": 1}},
    "additionalProperties": False,
}


def answers(*statuses: int, schema: Any = None) -> dict[str, Any]:
    """Answers of an operation: what is good, and what is refused with a text."""
    good: dict[str, Any] = {"description": "answered"}
    if schema is not None:
        good["content"] = {"application/json": {"schema": schema}}
    refused = {"description": "refused", "content": {"application/json": {"schema": ERROR}}}
    return {"200": good, **{str(status): refused for status in statuses}}


def operation(*names: str, body: Any = None, **answered: Any) -> dict[str, Any]:
    """An operation with parameters in its path."""
    kinds = {"name": NAME, "version": {"type": "string", "enum": ["1"]}}
    made: dict[str, Any] = {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": kinds[name]} for name in names
        ],
        **answered,
    }
    if body is not None:
        made["requestBody"] = {"required": body is REQUEST, "content": {"application/json": {"schema": body}}}
    return made


def description() -> dict[str, Any]:
    """All of it, as OpenAPI 3.1 has it."""
    thing = {"type": "object"}
    paths: dict[str, Any] = {
        "/v2": {"get": operation(responses=answers(schema=thing))},
        "/v2/health/live": {"get": operation(responses=answers())},
        "/v2/health/ready": {"get": operation(responses=answers())},
        "/v2/models/stats": {"get": operation(responses=answers(schema=thing))},
        "/v2/repository/index": {
            "post": operation(
                body={"type": "object", "properties": {"ready": {"type": "boolean"}}},
                responses=answers(400, schema={"type": "array"}),
            )
        },
        "/v2/repository/models/{name}/load": {
            "post": operation(
                "name",
                body={"type": "object", "properties": {"parameters": {"type": "object", "maxProperties": 0}}},
                responses=answers(400, 404),
            )
        },
    }
    for path, names in (
        ("/v2/models/{name}", ("name",)),
        ("/v2/models/{name}/versions/{version}", ("name", "version")),
    ):
        paths[path] = {"get": operation(*names, responses=answers(404, schema=thing))}
        for part in ("config", "stats"):
            paths[f"{path}/{part}"] = {"get": operation(*names, responses=answers(404, schema=thing))}
        paths[f"{path}/infer"] = {
            "post": operation(*names, body=REQUEST, responses=answers(400, 404, 413, 415, 503))
        }
    return {"openapi": "3.1.0", "info": {"title": "inference", "version": "2"}, "paths": paths}
