"""A library for WebAssembly, called from JavaScript."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from tinyseq.export.interface import Argument, Interface

TYPES = """// Made by tinyseq.
export interface Inputs {{ {inputs} }}
export interface LastInputs {{ {last} }}
export interface Outputs {{ {outputs} }}

/** A model: its weights and kernels, and room for any number of streams. */
export class Model {{
  /** From a compiled module, at once, as worklets want it. */
  constructor(module: WebAssembly.Module);
  /** From a file, by default the one beside the script. */
  static load(source?: string | URL): Promise<Model>;
  /** What tells this model from others: keep it beside snapshots. */
  readonly fingerprint: number;
  /** A new stream, at its start. */
  stream(): Stream;
}}

/** A live stream. */
export class Stream {{
  reset(): void;
  /** Takes the next chunk and gives new arrays. */
  step(inputs: Inputs): Outputs;
  /** The frames that are due at the end of a stream whose outputs come late. */
  finish(inputs?: LastInputs): Outputs | Record<string, never>;
  snapshot(): Uint8Array;
  restore(saved: Uint8Array): void;
  /** Gives the stream's memory to the next one. */
  close(): void;
}}
"""


def described(own: Interface) -> dict:
    """An interface as JavaScript is told of it."""
    frames = own.stepping.streaming.inputs

    def argument(one: Argument) -> dict:
        varies = one.varies is not None
        return {
            "varies": varies,
            "a_frame": one.most // max(one.shapes[-1][one.varies], 1) if varies else one.most,
            "sizes": one.sizes,
            "name": one.name,
            "type": one.c_type,
            "size": one.itemsize,
            "most": one.most,
            "by_value": one.by_value,
            "has_frames": one.value.name in frames,
        }

    return {
        "name": own.name,
        "rows": own.stepping.request.rows,
        "takes_frames": own.takes_frames,
        "frames": own.stepping.request.frames or 1,
        "finishes": own.finishes,
        "state_bytes": own.state_bytes,
        "scratch_bytes": own.scratch_bytes,
        "inputs": [argument(one) for one in own.inputs],
        "outputs": [argument(one) for one in own.outputs],
        "held": [one.name for one in own.held],
    }


def wrapper(own: Interface) -> str:
    """A module of JavaScript by which pages and programs call the library."""
    text = resources.files("tinyseq.export").joinpath("data/library.mjs").read_text()
    return text.replace("INTERFACE", json.dumps(described(own)), 1).replace("NAME", own.name)


def types(own: Interface) -> str:
    """The types of that module, for TypeScript."""
    kinds = {"float": "Float32Array", "int64_t": "BigInt64Array", "uint64_t": "BigUint64Array"}

    def array(one: Argument) -> str:
        kind = "".join(part.capitalize() for part in one.c_type.removesuffix("_t").partition("int"))
        return kinds.get(one.c_type, f"{kind}Array")

    def given(one: Argument) -> str:
        number = "bigint" if one.c_type.endswith("64_t") else "number"
        return f"{one.name}: {number if one.by_value else array(one)}"

    gone = own.stepping.streaming.inputs
    return TYPES.format(
        inputs="; ".join(map(given, own.inputs)),
        last="; ".join(given(one) for one in own.inputs if one.value.name not in gone),
        outputs="; ".join(f"{one.name}: {array(one)}" for one in own.outputs),
    )


def check_files(own: Interface, folder: Path) -> list[Path]:
    """The program of a check, for node, and the file that tells it of the interface."""
    script, told = folder / "check.mjs", folder / "check.json"
    script.write_bytes(resources.files("tinyseq.export").joinpath("data/check.mjs").read_bytes())
    told.write_text(json.dumps(described(own)))
    return [script, told]
