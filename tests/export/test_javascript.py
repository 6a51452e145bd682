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
import { FeedError, Model, ModelError, StateError } from "./own.mjs";
const model = await Model.load();
const stream = model.stream();
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
const kinds = { FeedError, ModelError, StateError };
const words = (error) => (error instanceof kinds[error.name] ? `${error.name}: ${error.message}` : "another");
const refused = (what) => {
  try {
    what();
    return "nothing";
  } catch (error) {
    return words(error);
  }
};
const changed = (place) => {
  const bytes = stream.snapshot();
  bytes[place] ^= 1;
  return () => stream.restore(bytes);
};
const step = (x) => refused(() => stream.step(x === undefined ? {} : { x }));
const before = stream.snapshot();
const errors = [
  step(),
  step(new Float64Array(HIDDEN)),
  step(new Float32Array(HIDDEN + 1)),
  step(new Float32Array(4 * HIDDEN)),
  step(new Float32Array(HIDDEN).fill(NaN)),
  refused(() => stream.step(null)),
  refused(() => stream.step({ x: chunk(1, 0), y: 1 })),
  refused(() => stream.restore(new Uint8Array(3))),
  refused(changed(0)),
  refused(changed(4)),
  refused(changed(40)),
  refused(() => new Model(readFileSync("other.wasm"))),
  refused(() => new Model(new Uint8Array(3))),
];
for (const source of ["nowhere.wasm", new URL("nowhere:there"), 3, new Uint8Array(3)])
  errors.push(await Model.load(source).then(() => "nothing", words));
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
    # The least module: it offers nothing.
    (tmp_path / "other.wasm").write_bytes(b"\0asm\1\0\0\0")
    (tmp_path / "use.mjs").write_text(SCRIPT.replace("HIDDEN", str(HIDDEN)))
    told = json.loads(
        subprocess.run(["node", "use.mjs"], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    )
    assert told["after"] == told["again"] == told["forked"] and told["kept"]
    assert told["first"] == told["results"][0]
    assert [error.partition(":")[0] for error in told["errors"]] == ["FeedError"] * 7 + ["StateError"] * 4 + [
        "ModelError"
    ] * 6 + ["StateError"]
    for place, said in {
        4: "NaN or infinite",
        6: "no input y; it has x",
        8: "damaged",
        9: "another model",
    }.items():
        assert said in told["errors"][place]
    assert "not own.wasm" in told["errors"][11] and "closed" in told["errors"][-1]
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


VALUES = """
import { Model } from "./own.mjs";
const stream = (await Model.load()).stream();
const told = [0, -3, 1.5, 2 ** 40, "1", 7].map((times) => {
  try {
    return Array.from(stream.step({ x: Float32Array.of(1, 2), times }).y);
  } catch (error) {
    return error.name;
  }
});
console.log(JSON.stringify(told));
"""


def test_numbers_are_taken_by_value_where_they_are_of_their_type(tmp_path):
    g = tinyseq.Graph()
    x, times = g.input("x", [2]), g.input("times", [], dtype=np.int32)
    g.output("y", g.apply("Mul", x, g.apply("Cast", times, to=np.dtype(np.float32))))
    c_library(tinyseq.load(g), tmp_path, name="own", target="wasm32")
    (tmp_path / "use.mjs").write_text(VALUES)
    done = subprocess.run(["node", "use.mjs"], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert json.loads(done.stdout) == [[0, 0], [-3, -6], "FeedError", "FeedError", "FeedError", [7, 14]]
