"""A library for WebAssembly, called from JavaScript."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from tinyseq.export.header import comment
from tinyseq.export.interface import Argument, Interface

TYPES = """// Made by tinyseq.
{gives}
/** What is given to a model does not fit it; nothing was changed. */
export class FeedError extends Error {{}}
/** A snapshot does not fit the stream that it is given to, or a stream has been closed. */
export class StateError extends Error {{}}
/** A file cannot be read, or this engine cannot run it, or it is not {name}.wasm. */
export class ModelError extends Error {{}}

/** A model: its weights and kernels, and room for any number of streams. */
export class Model {{
  /** From the bytes of {name}.wasm or a compiled module, at once, as worklets and workers want it. */
  constructor(source: ArrayBuffer | ArrayBufferView | WebAssembly.Module);
  /**
   * From the bytes of {name}.wasm, a compiled module, or a file, by default the one beside the script.
   * @throws {{ModelError}}
   */
  static load(source?: string | URL | ArrayBuffer | ArrayBufferView | WebAssembly.Module): Promise<Model>;
  /** What tells this model from others. Snapshots hold it. */
  readonly fingerprint: number;
  /** A new stream, at its start. */
  stream(): Stream;
}}

/** A live stream. Made by Model.stream(). */
export class Stream {{
  private constructor();
  /** Goes back to the start. */
  reset(): void;
  /**
   * Takes the next chunk and gives new arrays.
   * @throws {{FeedError}} it does not fit, or holds NaN or infinity; the stream is as before.
   */
  step(inputs: Inputs): Outputs;
  /** {finish_about} */
  finish({finish};
  /** A copy of the state, to be restored in any stream of this model, here or elsewhere. */
  snapshot(): Uint8Array;
  /**
   * Goes back to a snapshot.
   * @throws {{StateError}} it is damaged, or of another model; the stream is as before.
   */
  restore(saved: Uint8Array): void;
  /** Gives the stream's memory to the next one; this one is of no use any more. */
  close(): void;
}}
"""


def described(own: Interface) -> dict:
    """An interface as JavaScript is told of it."""
    frames = own.stepping.streaming.inputs

    def argument(one: Argument, varies: bool) -> dict:
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
        "inputs": [argument(one, one.varies is not None and own.takes_frames) for one in own.inputs],
        "outputs": [argument(one, one.varies is not None) for one in own.outputs],
        "held": [one.name for one in own.held],
    }


def wrapper(own: Interface) -> str:
    """A module of JavaScript by which pages and programs call the library."""
    text = resources.files("tinyseq.export").joinpath("data/library.mjs").read_text()
    return text.replace("INTERFACE", json.dumps(described(own)), 1).replace("NAME", own.name)


def types(own: Interface) -> str:
    """The types of that module, for TypeScript."""
    gone = own.stepping.streaming.inputs
    last = [one for one in own.inputs if one.value.name not in gone]
    parts: dict[str, Sequence[Argument]] = {"Inputs": own.inputs, "Outputs": own.outputs}
    finish, about = "): Record<string, never>", "Outputs of this model never come late: gives nothing."
    if own.finishes:
        about = "Ends the stream, until a reset: the frames that are due, as outputs come late."
        finish = f"inputs{':' if last else '?:'} LastInputs): Outputs"
        parts["LastInputs"] = last
    gives = "".join(_record(name, arguments) for name, arguments in parts.items())
    return TYPES.format(name=own.name, gives=gives, finish=finish, finish_about=about)


def _record(name: str, arguments: Sequence[Argument]) -> str:
    fields = [
        f"  /** {comment(one.value.dtype.name)} {comment(one.sizes)} */\n  {one.name}: {_type(one)};\n"
        for one in arguments
    ]
    return f"export interface {name} {{\n{''.join(fields)}}}\n"


def array_name(one: Argument) -> str:
    """The kind of array that an argument is."""
    kinds = {"float": "Float32Array", "int64_t": "BigInt64Array", "uint64_t": "BigUint64Array"}
    kind = "".join(part.capitalize() for part in one.c_type.removesuffix("_t").partition("int"))
    return kinds.get(one.c_type, f"{kind}Array")


def _type(one: Argument) -> str:
    if one.by_value:
        return "bigint" if one.c_type.endswith("64_t") else "number"
    return array_name(one)


def check_files(own: Interface, folder: Path) -> list[Path]:
    """The program of a check, for node, and the file that tells it of the interface."""
    script, told = folder / "check.mjs", folder / "check.json"
    script.write_bytes(resources.files("tinyseq.export").joinpath("data/check.mjs").read_bytes())
    told.write_text(json.dumps(described(own)))
    return [script, told]
