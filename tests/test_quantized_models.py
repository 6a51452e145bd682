"""Real quantised models: against onnxruntime, and driven by their packages' own code."""

from __future__ import annotations

import ast
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageDraw, ImageFont

import tinyseq
from tests.test_kernels import FUSED
from tests.test_real_models import rival
from tinyseq.kernels import library

RELATIVE = 0.02
"""The most that results may differ, of the largest. A number that rounds to one byte here and to its
neighbour there, for a difference in the last bit of a sigmoid, differs by 1/255 of its range from then on;
layers and frames add such steps up. onnxruntime differs from float64 by as much. Where no number meets
such an edge, the differences are those of float32."""


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


FEEDS = {
    "tashkeel": {"input": np.random.default_rng(0).integers(2, 40, (1, 50))},
    "ocr": {"input1": np.clip(noise(0, 1, 1, 64, 120), -1, 1)},
    "voicefilter-embedder": {"mel_window": noise(1, 2, 80, 40) - 5},
    "voicefilter": {
        "stacked_logmel": noise(0, 2, 3, 512),
        "dvec": noise(1, 2, 256) / 16,
        "h0": noise(2, 3, 2, 512) / 4,
        "c0": noise(3, 3, 2, 512) / 4,
    },
}


def near(results: np.ndarray, expected: np.ndarray) -> None:
    assert (results.shape, results.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(results, expected, rtol=0, atol=RELATIVE * np.abs(expected).max())


@pytest.mark.parametrize("name", FEEDS)
def test_model_agrees_with_onnxruntime(isa, asset, name):
    path = asset(name)
    results = tinyseq.load(path).run(FEEDS[name])
    theirs = rival(path)
    for output, expected in zip(theirs.get_outputs(), theirs.run(None, FEEDS[name]), strict=True):
        near(results[output.name], expected)


@pytest.mark.parametrize("name", FEEDS)
def test_model_agrees_with_the_reference(asset, name):
    results = tinyseq.load(asset(name)).run(FEEDS[name])
    for output, exact in tinyseq.load(asset(name), device="reference").run(FEEDS[name]).items():
        near(results[output], exact.astype(np.float32))


def test_every_isa_gives_the_same_sums(asset, monkeypatch):
    """Of integers; what is done in float32 before and after differs on the one without fused multiply-add."""
    results = []
    for name in FUSED:
        monkeypatch.setenv(library.ISA_VARIABLE, name)
        results.append(tinyseq.load(asset("voicefilter")).run(FEEDS["voicefilter"]))
    for other in results[1:]:
        for name, array in results[0].items():
            np.testing.assert_array_equal(other[name], array)


def test_voice_filter_streams_with_its_state(asset):
    path = asset("voicefilter")
    stream, theirs = tinyseq.load(path).stream(), rival(path)
    assert {pair.input: pair.output for pair in tinyseq.load(path).state} == {"h0": "hN", "c0": "cN"}
    dvec, h, c = noise(0, 1, 256) / 16, *np.zeros((2, 3, 1, 512), np.float32)
    for chunk in range(20):
        feeds = {"stacked_logmel": noise(chunk, 1, 1, 512), "dvec": dvec}
        mask, adapt, h, c = theirs.run(["mask", "f_adapt", "hN", "cN"], feeds | {"h0": h, "c0": c})
        ours = stream.step(feeds)
        near(ours["mask"], mask)
        near(ours["f_adapt"], adapt)


def loaded(name: str, path: Path) -> ModuleType:
    """A package's own code, from its file."""
    folder = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with warnings.catch_warnings():
            spec.loader.exec_module(module)
    finally:
        for loaded_name in [key for key in sys.modules if key.split(".")[0] == name]:
            del sys.modules[loaded_name]
    return module


SENTENCES = [
    "السلام عليكم ورحمة الله وبركاته",
    "ذهب الولد إلى المدرسة صباح اليوم",
    "العلم نور والجهل ظلام",
    "كتب الطالب الدرس في الدفتر الجديد",
]


def test_diacritics_by_the_packages_own_code(asset, monkeypatch):
    code = loaded("tashkeel", asset("tashkeel-code"))
    make = lambda: code._RawiBackend(asset("tashkeel"), asset("tashkeel-vocabulary"))  # noqa: E731
    expected = [make().diacritize(sentence) for sentence in SENTENCES]
    monkeypatch.setattr(onnxruntime, "InferenceSession", tinyseq.InferenceSession)
    backend = make()
    assert isinstance(backend.sess, tinyseq.InferenceSession)
    assert [backend.diacritize(sentence) for sentence in SENTENCES] == expected
    assert expected[2] != SENTENCES[2]


def picture(text: str) -> Image.Image:
    """Black letters on white."""
    font = ImageFont.load_default(44)
    _, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (right + 20, 64), 255)
    ImageDraw.Draw(image).text((10, (64 - bottom - top) // 2), text, font=font, fill=0)
    return image


def characters(path: Path) -> list[str]:
    """The package's characters, by their numbers."""
    (listed,) = (node.value for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign))
    return ast.literal_eval(listed)


@pytest.mark.parametrize("text", ["7hk3", "tinyseq", "hello", "8204", "runtime"])
def test_letters_by_our_own_search(isa, asset, text):
    """The model's rows through greedy and beam search, as strings; the same in chunks."""
    image = np.array(picture(text), np.float32)[None, None] / 255
    (scores,) = tinyseq.load(asset("ocr")).run({"input1": (image - 0.5) / 0.5}).values()
    logp = scores[:, 0] - np.logaddexp.reduce(scores[:, 0], axis=1, keepdims=True)
    vocabulary = characters(asset("ocr-characters"))
    (greedy,) = tinyseq.ctc_greedy(logp, vocabulary=vocabulary)
    (beam,) = tinyseq.ctc_beam_search(logp, vocabulary=vocabulary)
    assert greedy.text == beam.text == text
    assert greedy.frames == sorted(greedy.frames) and min(greedy.confidences) > 0.3
    stream = tinyseq.CtcDecoder(tinyseq.CtcBeamSearch(vocabulary=vocabulary)).stream()
    for chunk in np.array_split(logp, 3):
        stream.step(chunk)
    assert stream.finish() == [beam]


@pytest.mark.parametrize("text", ["7hk3", "tinyseq", "hello", "8204", "runtime"])
def test_letters_by_the_packages_own_code(asset, monkeypatch, text):
    asset("ocr"), asset("ocr-characters")
    monkeypatch.setattr(onnxruntime, "InferenceSession", tinyseq.InferenceSession)
    reader = loaded("ddddocr", asset("ocr-code")).DdddOcr()
    assert reader.classification(picture(text)) == text
