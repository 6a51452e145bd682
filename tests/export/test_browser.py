"""The example of a page: its detector in node and in Chromium, beside Python's on the demo's clip."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tinyseq.demo import audio
from tinyseq.demo.vad.detection import chunks, detect
from tinyseq.demo.vad.run import CLIP

from tests.export.browser import COMMAND, browser, served
from tinyseq.export import c_library
from tinyseq.kernels import library
from tinyseq.runtime.loading import load
from tinyseq.speech.segments import CHUNK, Segmenter, VoiceOptions
from tinyseq.speech.voice_detector import MODEL, VoiceDetector
from tinyseq.tools.cli import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "browser"
FUSED = [isa for isa in library.available() if isa != "baseline"]

pytestmark = [
    pytest.mark.skipif(
        find_spec("ziglang") is None, reason="ziglang, which links libraries, is not installed"
    ),
    pytest.mark.skipif(
        "baseline" not in library.available(), reason="the kernels that compute with its bits are not built"
    ),
]
in_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="node, which runs WebAssembly, is not installed"
)
in_chromium = pytest.mark.skipif(COMMAND is None, reason="chromium, which shows pages, is not installed")

HEAR = """
  const heard = { probabilities: [], events: [] };
  const add = ({ probabilities, events }) => {
    heard.probabilities.push(...new Uint32Array(Float32Array.from(probabilities).buffer));
    heard.events.push(...events);
  };
  // Of any length: chunks are the detector's affair.
  for (let at = 0, size = 1; at < clip.length; at += size, size = (7 * size + 3) % 2000)
    add(detector.accept(clip.subarray(at, at + size)));
  add(detector.finish());
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The example, built by the command that its README tells, and the clip's samples."""
    folder = tmp_path_factory.mktemp("browser")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("vad"))
    (line,) = [line for line in (EXAMPLE / "README.md").read_text().splitlines() if "--target" in line]
    _, command, model, *options, output = shlex.split(line)
    assert output == str(EXAMPLE.relative_to(ROOT) / "vad")
    assert main([command, str(ROOT / model), *options, str(folder / "vad")]) == 0
    audio.read(CLIP).samples.astype("<f4").tofile(folder / "clip.f32")
    return folder


def python_hears(isa: str) -> dict:
    """What the detector hears in the clip."""
    with library.using(isa):
        # The detector in the package may have been made with other kernels.
        found = detect(chunks(audio.read(CLIP).samples), VoiceDetector(load(MODEL)))
    events = [("start", one.start) for one in found.segments] + [("end", one.end) for one in found.segments]
    events = [{"kind": kind, "seconds": seconds} for kind, seconds in sorted(events, key=lambda one: one[1])]
    return {"probabilities": found.probabilities.view(np.uint32).tolist(), "events": events}


def node_hears(page: Path, model: Path) -> dict:
    script = page / "hear.mjs"
    script.write_text(f"""
import {{ readFileSync }} from "node:fs";
import {{ setFlagsFromString }} from "node:v8";
const code = readFileSync({json.dumps(str(model))});
if (!WebAssembly.validate(code)) setFlagsFromString("--experimental-wasm-relaxed-simd");
const {{ VoiceDetector }} = await import("./detector.mjs");
const {{ Model }} = await import("./vad/vad.mjs");
const clip = new Float32Array(Uint8Array.from(readFileSync("clip.f32")).buffer);
const detector = new VoiceDetector(new Model(code));
{HEAR}
console.log(JSON.stringify(heard));
""")
    done = subprocess.run(["node", "hear.mjs"], check=True, capture_output=True, text=True, cwd=page)
    return json.loads(done.stdout)


@in_node
def test_the_detector_hears_in_node_what_it_hears_in_python(page):
    assert node_hears(page, page / "vad" / "vad.wasm") == python_hears("baseline")


@in_node
@pytest.mark.skipif(not FUSED, reason="the kernels that compute with its bits are not built")
def test_with_relaxed_vectors_it_hears_what_fused_kernels_hear(page, tmp_path):
    options = {"sizes": {"sequence": 576}, "inputs": {"sr": 16000}, "target": "wasm32-relaxed"}
    built = c_library(load(MODEL), tmp_path, name="vad", npm="vad", **options)
    assert "relaxed" in built.files["readme"].read_text()
    assert node_hears(page, built.files["shared"]) == python_hears(FUSED[0])


SEGMENTS = """
import { readFileSync } from "node:fs";
import { CHUNK, VoiceDetector } from "./detector.mjs";
const told = JSON.parse(readFileSync("given.json")).map(({ options, probabilities, last }) => {
  let place = 0;
  const stream = { reset() {}, step: () => ({ output: [probabilities[place++]] }) };
  const detector = new VoiceDetector({ stream: () => stream }, options);
  const events = [];
  for (let chunk = 1; chunk < probabilities.length; chunk++)
    events.push(...detector.accept(new Float32Array(CHUNK)).events);
  events.push(...detector.accept(new Float32Array(last)).events, ...detector.finish().events);
  return events;
});
console.log(JSON.stringify(told));
"""

OPTIONS = {
    "threshold": "threshold",
    "negativeThreshold": "negative_threshold",
    "minSpeech": "min_speech_duration",
    "minSilence": "min_silence_duration",
    "pad": "speech_pad",
}


@in_node
def test_its_segments_are_those_of_python_whatever_the_probabilities(page):
    draw = np.random.default_rng(0)
    given, expected = [], []
    for turn in range(300):
        # Plateaus about the thresholds.
        levels = draw.uniform(0, 1, 12) if turn % 2 else draw.choice([0.0, 0.1, 0.35, 0.4, 0.5, 0.9], 12)
        probabilities = np.repeat(levels, draw.integers(1, 14, 12)).tolist()
        options = {"threshold": draw.choice([0.1, 0.5, 0.9]), "minSpeech": draw.choice([0.0, 0.064, 0.25])}
        options |= {"minSilence": draw.choice([0.0, 0.096, 0.3]), "pad": draw.choice([0.0, 0.03, 0.5])}
        options |= {"negativeThreshold": float(draw.uniform(0, options["threshold"]))} if turn % 3 else {}
        last = int(draw.integers(1, CHUNK, endpoint=True))
        given.append({"options": options, "probabilities": probabilities, "last": last})
        segmenter = Segmenter(VoiceOptions(**{OPTIONS[name]: value for name, value in options.items()}))
        sizes = [CHUNK] * (len(probabilities) - 1) + [last]
        events = [one for pair in zip(probabilities, sizes) for one in segmenter.push(*pair)]
        expected.append([one._asdict() for one in [*events, *segmenter.finish()]])
    (page / "given.json").write_text(json.dumps(given))
    (page / "segments.mjs").write_text(SEGMENTS)
    done = subprocess.run(["node", "segments.mjs"], check=True, capture_output=True, text=True, cwd=page)
    assert json.loads(done.stdout) == expected
    assert sum(map(len, expected)) > 300


RESAMPLE = """
import { Resampler } from "./resampler.mjs";
const told = [];
for (const rate of [8000, 44100, 48000])
  for (const hertz of rate < 24000 ? [300, 3000] : [300, 3000, 12000]) {
    const resampler = new Resampler(rate, 16000), found = [];
    for (let at = 0, size = 1; at < rate / 4; at += size, size = (7 * size + 3) % 300)
      found.push(...resampler.push(
        Float32Array.from({ length: size }, (_, i) => Math.sin((2 * Math.PI * hertz * (at + i)) / rate))));
    // The beginning hears the silence before.
    const wanted = (i) => (hertz < 8000 ? Math.sin((2 * Math.PI * hertz * i) / 16000) : 0);
    const wrong = (value, i) => Math.abs(value - wanted(i));
    told.push([rate, hertz, found.length, Math.max(...found.map(wrong).slice(200))]);
  }
console.log(JSON.stringify(told));
"""


@in_node
def test_sound_of_any_rate_is_resampled(page):
    (page / "resample.mjs").write_text(RESAMPLE)
    done = subprocess.run(["node", "resample.mjs"], check=True, capture_output=True, text=True, cwd=page)
    for rate, hertz, count, wrong in json.loads(done.stdout):
        assert 3900 < count < 4200 and wrong < 1e-3, (rate, hertz)


@in_chromium
def test_the_detector_hears_in_chromium_what_it_hears_in_python(page, tmp_path):
    script = f"""(async () => {{
  const {{ VoiceDetector }} = await import("./detector.mjs");
  const {{ Model }} = await import("./vad/vad.mjs");
  const clip = new Float32Array(await (await fetch("clip.f32")).arrayBuffer());
  const detector = new VoiceDetector(await Model.load());
  {HEAR}
  return heard;
}})()"""
    (page / "blank.html").write_text("<!doctype html>")
    with served(page) as address, browser(tmp_path) as shown:
        shown.open(f"{address}/blank.html", "true")
        assert shown.run(script) == python_hears("baseline")


OPEN = """(() => {
  const bytes = Uint8Array.from(atob("FILE"), (one) => one.charCodeAt(0)), files = new DataTransfer();
  files.items.add(new File([bytes], "NAME"));
  dispatchEvent(new DragEvent("drop", { dataTransfer: files, cancelable: true }));
})()"""

STATUS = "document.querySelector('#status').textContent"
ROWS = "[...document.querySelectorAll('#segments tr')].map((one) => [+one.dataset.start, +one.dataset.end])"


def dropped(file: bytes, name: str) -> str:
    return OPEN.replace("FILE", base64.b64encode(file).decode()).replace("NAME", name)


@in_chromium
def test_the_page_shows_the_speech_of_a_file_and_of_the_microphone(page, tmp_path):
    expected = python_hears("baseline")["events"]
    segments = [[start["seconds"], end["seconds"]] for start, end in zip(expected[::2], expected[1::2])]
    microphone = tmp_path / "microphone.wav"
    soundfile.write(microphone, audio.read(CLIP).samples[: 4 * 16_000], 16_000)
    fake = f"--use-file-for-fake-audio-capture={microphone}%noloop"
    with served(page) as address, browser(tmp_path / "browser", fake) as shown:
        shown.open(f"{address}/index.html", f"{STATUS} === 'Ready.'")
        shown.run(dropped(b"no sound", "<b>.wav"))
        shown.wait(f"{STATUS}.includes('cannot be read as sound')")
        shown.run(dropped(CLIP.read_bytes(), "clip.flac"))
        shown.wait(f"{STATUS}.startsWith('clip.flac: 19.9 s of sound')")
        assert shown.run(ROWS) == segments
        label = shown.run("document.querySelector('#timeline').getAttribute('aria-label')")
        assert label.endswith("5 stretches of speech")
        shown.run("document.querySelector('#listen').click()")
        shown.wait(f"{STATUS}.startsWith('Listening')")
        shown.wait("document.querySelector('#segments tr')?.dataset.end")
        shown.run("document.querySelector('#listen').click()")
        shown.wait(f"{STATUS} === 'Stopped.'")
        ((start, end),) = shown.run(ROWS)
        assert end - start == pytest.approx(np.subtract(*segments[0][::-1]), abs=0.15)
        shown.wait("document.querySelector('#speed').textContent.endsWith('times real time.')")
        assert shown.said == []


@in_chromium
def test_a_page_that_was_not_built_says_so(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "page", ignore=shutil.ignore_patterns("vad"))
    with served(tmp_path / "page") as address, browser(tmp_path / "browser") as shown:
        shown.open(f"{address}/index.html", f"{STATUS}.includes('README.md says how it is built')")
