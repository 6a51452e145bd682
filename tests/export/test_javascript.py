"""Libraries for WebAssembly, called by their JavaScript module in node."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec

import numpy as np
import pytest

import tinyseq
from tests.export.models import HIDDEN, layer
from tinyseq.export import c_library
from tinyseq.kernels import library
from tinyseq.runtime.session import Session

pytestmark = [
    pytest.mark.skipif(
        find_spec("ziglang") is None, reason="ziglang, which links libraries, is not installed"
    ),
    pytest.mark.skipif(shutil.which("node") is None, reason="node, which runs WebAssembly, is not installed"),
]

SCRIPT = """
import { readFileSync } from "node:fs";
import { Model } from "./own.mjs";
const model = new Model(new WebAssembly.Module(readFileSync(new URL("./own.wasm", import.meta.url))));
const stream = model.stream(), words = [];
const number = (i, k) => Math.fround(((i * 7 + k) % 13) / 13 - 0.5);
const chunk = (frames, k) => Float32Array.from({ length: frames * HIDDEN }, (_, i) => number(i, k));
const bits = (out) => Array.from(new Uint32Array(out.y.buffer));
const results = [3, 1, 2].map((frames, k) => bits(stream.step({ x: chunk(frames, k) })));
const saved = stream.snapshot();
const after = bits(stream.step({ x: chunk(2, 9) }));
stream.restore(saved);
const again = bits(stream.step({ x: chunk(2, 9) }));
const other = model.stream();
other.restore(saved);
const forked = bits(other.step({ x: chunk(2, 9) }));
const refused = (what) => {
  try {
    what();
    return "nothing";
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};
const step = (x) => refused(() => stream.step(x === undefined ? {} : { x }));
const before = stream.snapshot();
const errors = [
  step(),
  step(new Float64Array(HIDDEN)),
  step(new Float32Array(HIDDEN + 1)),
  step(new Float32Array(4 * HIDDEN)),
  step(new Float32Array(HIDDEN).fill(NaN)),
  refused(() => stream.restore(new Uint8Array(3))),
];
const kept = Buffer.compare(Buffer.from(before), Buffer.from(stream.snapshot())) === 0;
other.close();
errors.push(refused(() => other.step({ x: chunk(1, 0) })));
const reused = model.stream();
const first = bits(reused.step({ x: chunk(3, 0) }));
const { fingerprint } = model;
console.log(JSON.stringify({ results, after, again, forked, errors, kept, first, fingerprint }));
"""


def test_a_module_streams_forks_and_refuses(tmp_path):
    session = layer("GRU", frames="frames")
    c_library(session, tmp_path, name="own", frames=3, target="wasm32")
    (tmp_path / "use.mjs").write_text(SCRIPT.replace("HIDDEN", str(HIDDEN)))
    told = json.loads(
        subprocess.run(["node", tmp_path / "use.mjs"], check=True, capture_output=True, text=True).stdout
    )
    assert told["after"] == told["again"] == told["forked"] and told["kept"]
    assert told["first"] == told["results"][0]
    kinds = [error.partition(":")[0] for error in told["errors"]]
    assert kinds == ["TypeError", "TypeError", "RangeError", "RangeError", "Error", "TypeError", "Error"]
    assert "NaN or infinite" in told["errors"][4] and "closed" in told["errors"][6]
    if "baseline" in library.available():
        assert told["results"] == expected(session)


def expected(session: tinyseq.Session) -> list[list[int]]:
    """What the kernels give that compute with the same bits."""
    with library.using("baseline"):
        stream = Session(session.model).stream()
    found = []
    for k, frames in enumerate((3, 1, 2)):
        x = np.array([((i * 7 + k) % 13) / 13 - 0.5 for i in range(frames * HIDDEN)], np.float32)
        found.append(stream.step({"x": x.reshape(frames, 1, HIDDEN)})["y"].view(np.uint32).ravel().tolist())
    return found
