"""Measures a voice detector's chunk as a C library and as WebAssembly, in node and in Chromium, in turns.

``python -m bench.web`` builds the libraries and lets each hear noise in blocks, one block of every one in a
round. It prints the median of a chunk, and of the ratio to the C library in the same round.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench.timing import median_ratio
from tests.export.browser import COMMAND, browser, served
from tinyseq.export import TARGETS, c_library, linker
from tinyseq.runtime.loading import load
from tinyseq.speech.segments import CHUNK, SAMPLE_RATE
from tinyseq.speech.voice_detector import MODEL

BLOCK = 40
"""Chunks of a block: some milliseconds."""

Block = Callable[[], float]
"""Hears a block of noise; gives the seconds of a chunk."""

PROGRAM = """
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <time.h>
#include "vad.h"
static vad_state state;
static vad_scratch scratch;
static float input[VAD_INPUT_SIZE], output[VAD_OUTPUT_SIZE];
int main(void) {
    for (int i = 0; i < VAD_INPUT_SIZE; i++) input[i] = (float)((i * 7919) % 1000) / 1000 - 0.5f;
    vad_reset(&state);
    while (getchar() != EOF) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int chunk = 0; chunk < BLOCK; chunk++) vad_step(&state, &scratch, input, output);
        clock_gettime(CLOCK_MONOTONIC, &to);
        printf("%.9f\\n", (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
        fflush(stdout);
    }
    return 0;
}
"""

SCRIPT = """
const stream = model.stream();
const input = Float32Array.from({ length: 576 }, (_, i) => ((i * 7919) % 1000) / 1000 - 0.5);
globalThis.block = () => {
  const from = performance.now();
  for (let chunk = 0; chunk < BLOCK; chunk++) stream.step({ input });
  return (performance.now() - from) / 1000;
};
"""

NODE = """
import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { createInterface } from "node:readline";
import { Model } from "./vad.mjs";
const code = readFileSync("vad.wasm");
if (!WebAssembly.validate(code)) setFlagsFromString("--experimental-wasm-relaxed-simd");
const model = new Model(code);
"""

ASK = "\nfor await (const _ of createInterface({ input: process.stdin })) console.log(block());\n"


def _script(text: str) -> str:
    return text.replace("BLOCK", str(BLOCK))


@contextmanager
def asked(*command: str | Path, folder: Path) -> Iterator[Block]:
    """A program that hears a block for each line."""
    process = subprocess.Popen(
        [*map(str, command)], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    to, back = process.stdin, process.stdout

    def block() -> float:
        to.write("\n")
        to.flush()
        return float(back.readline()) / BLOCK

    try:
        yield block
    finally:
        to.close()
        process.wait()


def _native(stack: ExitStack, folder: Path) -> Block:
    source, program = folder / "bench.c", folder / "bench"
    source.write_text(_script(PROGRAM))
    linker.program(TARGETS["x86_64-linux"], [source, folder / "vad.o"], program)
    return stack.enter_context(asked(program, folder=folder))


def _node(stack: ExitStack, folder: Path) -> Block:
    (folder / "bench.mjs").write_text(_script(NODE + SCRIPT + ASK))
    return stack.enter_context(asked("node", "bench.mjs", folder=folder))


def _chromium(stack: ExitStack, folder: Path) -> Block:
    (folder / "bench.html").write_text("<!doctype html>")
    files = stack.enter_context(tempfile.TemporaryDirectory())
    address = stack.enter_context(served(folder))
    page = stack.enter_context(browser(Path(files)))
    page.open(f"{address}/bench.html", "true")
    load_model = "const { Model } = await import('./vad.mjs'); const model = await Model.load();"
    page.run(_script(f"(async () => {{ {load_model} {SCRIPT} }})()"))
    return lambda: page.run("block()") / BLOCK


def _runners(stack: ExitStack, folder: Path) -> Iterator[tuple[str, Block]]:
    session = load(MODEL)
    for target in ("x86_64-linux", "wasm32", "wasm32-relaxed"):
        own = folder / target
        options = {"sizes": {"sequence": CHUNK + 64}, "inputs": {"sr": SAMPLE_RATE}, "target": target}
        c_library(session, own, name="vad", **options)
        if not TARGETS[target].is_web:
            yield target, _native(stack, own)
            continue
        if shutil.which("node") is not None:
            yield f"{target} in node", _node(stack, own)
        if COMMAND is not None:
            yield f"{target} in Chromium", _chromium(stack, own)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.web", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200, help="blocks of each (default 200)")
    rounds = parser.parse_args().rounds
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        blocks = dict(_runners(stack, folder))
        for block in blocks.values():
            for _ in range(5):
                block()
        seconds: dict[str, list[float]] = {name: [] for name in blocks}
        for _ in range(rounds):
            for name, block in blocks.items():
                seconds[name].append(block())
    first = next(iter(seconds.values()))
    for name, own in seconds.items():
        chunk = median(own)
        real = CHUNK / SAMPLE_RATE / chunk
        times = 1 / median_ratio(first, own)
        print(
            f"{name:28} {chunk * 1e6:7.1f} us  fastest {min(own) * 1e6:7.1f} us  "
            f"{times:5.2f} times the first's  {real:6.0f} times real time"
        )


if __name__ == "__main__":
    main()
