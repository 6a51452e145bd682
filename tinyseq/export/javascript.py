"""A library for WebAssembly, called from JavaScript."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from tinyseq.export.interface import Argument, Interface


def described(own: Interface) -> dict:
    """An interface as JavaScript is told of it."""
    frames = own.stepping.streaming.inputs

    def argument(one: Argument) -> dict:
        return {
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
        "state_bytes": own.state_bytes,
        "scratch_bytes": own.scratch_bytes,
        "inputs": [argument(one) for one in own.inputs],
        "outputs": [argument(one) for one in own.outputs],
        "held": [one.name for one in own.held],
    }


def check_files(own: Interface, folder: Path) -> list[Path]:
    """The program of a check, for node, and the file that tells it of the interface."""
    script, told = folder / "check.mjs", folder / "check.json"
    script.write_bytes(resources.files("tinyseq.export").joinpath("data/check.mjs").read_bytes())
    told.write_text(json.dumps(described(own)))
    return [script, told]
