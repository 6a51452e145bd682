"""The status page in headless Chromium, and its client in node."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
import soundfile
from tinyseq.demo import audio
from tinyseq.demo.vad.detection import chunks, detect
from tinyseq.demo.vad.run import CLIP

from tests.documents import ROOT, blocks
from tests.export.browser import COMMAND, browser
from tests.serve import telegraph
from tests.serve.server import serving
from tinyseq.serve.protocols.page import PAGE, TYPES
from tinyseq.speech.voice_detector import MODEL, VoiceDetector

pytest.importorskip("uvicorn", reason="the server needs tinyseq[serve]")

in_chromium = pytest.mark.skipif(COMMAND is None, reason="chromium, which shows pages, is not installed")
in_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="node, which runs JavaScript, is not installed"
)

STATE = "document.querySelector('#state').textContent"
VERDICT = "document.querySelector('#verdict').textContent"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A detector, a recogniser and a token that clients must show."""
    folder = tmp_path_factory.mktemp("page")
    telegraph.write(folder)
    config = f'[models]\nvad = "{MODEL}"\n{telegraph.TABLE}'
    with serving(folder, "--token", "open-sesame", config=config) as server:
        yield server


def test_the_page_has_its_files_and_no_others(running):
    assert set(TYPES) == {path.name for path in PAGE.iterdir()}
    for name, kind in TYPES.items():
        status, body = running.get("/" if name == "index.html" else f"/{name}")
        assert (status, body) == (200, (PAGE / name).read_bytes()) and kind
    for path in ("/index.html", "/page.py", "/../config.py", "/page/page.js", "/%2e%2e/config.py"):
        assert running.get(path)[0] == 404


def test_the_status_is_for_those_who_may(running):
    assert running.get("/status")[0] == 401
    status, body = running.get("/status", {"authorization": "Bearer open-sesame"})
    told = json.loads(body)
    assert status == 200 and [model["name"] for model in told["models"]] == ["vad"]
    assert [(each["name"], each["kind"]) for each in told["speech"]] == [("telegraph", "recognizer")]
    assert told["limits"]["streams"] > 0 and told["models"][0]["can_stream"]


@in_chromium
def test_the_page_hears_the_microphone(running, tmp_path):
    clip = audio.read(CLIP)
    microphone = tmp_path / "microphone.wav"
    soundfile.write(microphone, clip.samples[: 4 * 16_000], 16_000)
    fake = f"--use-file-for-fake-audio-capture={microphone}%noloop"
    with browser(tmp_path / "browser", fake) as shown:
        shown.open(running.url("/"), f"{STATE}.includes('bearer token')")
        shown.run("document.querySelector('#token').value = 'open-sesame'")
        shown.run("document.querySelector('#login button').click()")
        shown.wait(f"{STATE}.startsWith('Serves since')")
        cells = "[...document.querySelectorAll('#served tbody tr')].map((one) => one.cells[0].textContent)"
        assert shown.run(cells) == ["vad", "telegraph"]
        assert shown.run("document.querySelector('#login').hidden")
        shown.run("document.querySelector('#listen').click()")
        shown.wait(f"{VERDICT} === 'Speech'")
        shown.wait("document.querySelector('#served tbody').rows[0].cells[2].textContent === '1'")
        shown.wait("heard.length > 120")
        assert "There and back in" in shown.run("document.querySelector('#trip').textContent")
        probabilities = np.array(shown.run("heard"))
        shown.run("document.querySelector('#listen').click()")
        shown.wait(f"{VERDICT} === 'Not listening.'")
        shown.wait("document.querySelector('#served tbody').rows[0].cells[2].textContent === '0'")
        assert shown.said == []
    expected = detect(chunks(clip.samples[: 4 * 16_000]), VoiceDetector()).probabilities
    assert (probabilities >= 0.5).sum() == pytest.approx((expected >= 0.5).sum(), abs=12)


CHUNKS = """
import { openStream } from "./client.js";
const [base, token] = process.argv.slice(2), found = [];
const inputs = [{ name: "input", datatype: "FP32", shape: [1, 576] },
                { name: "sr", datatype: "INT64", shape: [], data: [16000] }];
const { ready, step, close } = await openStream("vad", inputs, { base, token });
const sound = (from) => Float32Array.from({ length: 576 }, (_, i) => Math.sin((from + i) ** 1.5 / 90) * 0.4);
for (let chunk = 0; chunk < 20; chunk++) found.push(...(await step(sound(512 * chunk))).output);
const wrong = await step(sound(0).fill(NaN)).catch((error) => error.message);
found.push(...(await step(sound(512 * 20))).output);
close();
const unknown = await openStream("none", inputs, { base, token }).catch((error) => error.message);
console.log(JSON.stringify({ ready, found, wrong, unknown }));
"""


def test_the_documentation_shows_its_client():
    shown = [block.text for block in blocks(ROOT / "docs" / "serving-speech.md") if block.language == "js"]
    assert shown[0] == (PAGE / "client.js").read_text() and "openStream(" in shown[1]


@in_node
def test_its_client_runs_in_node(running, tmp_path):
    """Node 22 has websockets, 20 behind a flag."""
    shutil.copy(PAGE / "client.js", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "chunks.js").write_text(CHUNKS)
    version = int(
        subprocess.run(["node", "-p", "process.versions.node"], capture_output=True).stdout.split(b".")[0]
    )
    if version < 20:
        pytest.skip(f"node {version} has no websockets")
    flags = ["--experimental-websocket"] if version < 22 else []
    command = ["node", *flags, "chunks.js", running.url(""), "open-sesame"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    stream = VoiceDetector().model.stream()
    sound = np.array([np.sin((512 * chunk + np.arange(576)) ** 1.5 / 90) * 0.4 for chunk in range(21)])
    expected = [
        stream.step({"input": chunk[None].astype(np.float32), "sr": np.array(16_000)})["output"].item()
        for chunk in sound
    ]
    assert np.allclose(told["found"], expected, atol=1e-3)
    assert told["ready"]["model"] == "vad" and "NaN" in told["wrong"] and told["unknown"] == "no connection"
