"""The command line: what it prints and its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from onnx import helper
from safetensors.numpy import save_file

import tinyseq
from tests.models import recogniser, value
from tests.test_errors import lstm_with_state
from tinyseq.speech.voice_detector import MODEL
from tinyseq.tools.cli import main
from tinyseq.tools.console import FAILED, FINE, UNREADABLE, USAGE
from tinyseq.tools.verify import verify

DATA = Path(__file__).parent / "data"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(lstm_with_state())
    return str(path)


def test_inspect_says_what_the_model_is_made_of(model, capsys):
    assert main(["inspect", model, "--json"]) == FINE
    described = json.loads(capsys.readouterr().out)
    assert described["ops"] == {"LSTM": 1}
    assert [state["name"] for state in described["state"]] == ["h", "c"]
    assert main(["inspect", model]) == FINE
    assert "state   h float32" in capsys.readouterr().out


def test_inspect_says_what_a_step_costs(model, capsys):
    """Of one frame of 3 features, unless --size says otherwise; 4 units."""
    for options, frames in ([], 1), (["--size", "frames=5"], 5):
        assert main(["inspect", model, "--json", *options]) == FINE
        described = json.loads(capsys.readouterr().out)
        assert described["step_shapes"]["x"] == [frames, 1, 3]
        assert described["operations_per_step"] == 2 * frames * (3 + 4) * 4 * 4
        assert [state["bytes"] for state in described["state"]] == [16, 16]
        assert described["memory"]["state"] == 128
    assert main(["inspect", model]) == FINE
    text = capsys.readouterr().out
    assert "224 operations, of x [1, 1, 3]" in text and "128 a stream" in text


def test_inspect_counts_a_step_of_the_size_that_there_can_be(tmp_path, capsys):
    """The smallest of 1, 2, 4 and so on."""
    path = str(tmp_path / "conv.tinyseq")
    g = tinyseq.Graph()
    g.output("y", g.conv1d(g.input("x", ["N", 1, "T"]), np.ones((1, 1, 3), np.float32)))
    tinyseq.load(g).save(path)
    assert main(["inspect", path]) == FINE
    assert "12 operations, of x [1, 1, 4] (--size T=N counts another)" in capsys.readouterr().out
    assert main(["inspect", path, "--size", "T=5", "--size", "N=1", "--json"]) == FINE
    described = json.loads(capsys.readouterr().out)
    assert described["operations_per_step"] == 2 * 3 * 3 and described["step_error"] is None


def test_inspect_counts_a_step_of_all_rows_where_they_are_fixed(tmp_path, capsys):
    path = str(tmp_path / "rows.tinyseq")
    g = tinyseq.Graph()
    weights = [np.zeros((12, 3), np.float32), np.zeros((12, 4), np.float32)]
    g.output("y", g.gru(g.input("x", ["T", 8, 3]), weights, layout="torch")[0])
    tinyseq.load(g).save(path)
    assert main(["inspect", path]) == FINE
    text = capsys.readouterr().out
    assert "of x [1, 8, 3]" in text and "128 its 8 rows" in text and "not counted" not in text


def test_inspect_counts_a_step_of_the_voice_detector(capsys):
    assert main(["inspect", str(MODEL)]) == FINE
    assert "616,448 operations, of input [1, 256], state [2, 1, 128]" in capsys.readouterr().out


def test_inspect_goes_on_where_no_step_can_be(tmp_path, capsys):
    path = str(tmp_path / "reshaped.tinyseq")
    g = tinyseq.Graph()
    g.output("y", g.reshape(g.input("x", ["N"]), [5, 7]))
    tinyseq.load(g).save(path)
    assert main(["inspect", path]) == FINE
    assert "not counted: node" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["functional.keras", "sequence.h5"])
def test_keras_files_are_taken_by_every_command(name, tmp_path, capsys):
    path, converted = str(DATA / name), str(tmp_path / "model.tinyseq")
    assert main(["inspect", path, "--json"]) == FINE
    described = json.loads(capsys.readouterr().out)
    assert described["operations_per_step"] > 0 and described["origin"] == "Keras 3"
    assert main(["verify", path]) == FINE
    assert main(["run", path]) == FINE
    assert main(["convert", path, converted]) == FINE
    capsys.readouterr()
    assert main(["inspect", converted, "--json"]) == FINE
    assert json.loads(capsys.readouterr().out)["operations_per_step"] == described["operations_per_step"]


def weight_files(folder) -> list[str]:
    arrays = {"a": np.ones((2, 3), np.float32), "b.c": np.array([1, 2])}
    np.savez(folder / "w.npz", **arrays)
    save_file(arrays, folder / "w.safetensors")
    return [str(folder / "w.npz"), str(folder / "w.safetensors"), str(DATA / "layers.pt")]


def test_weights_without_a_model_are_listed_and_not_run(tmp_path, capsys):
    for path in weight_files(tmp_path):
        assert main(["inspect", path, "--json"]) == FINE
        described = json.loads(capsys.readouterr().out)
        assert described["parameters"] >= 8 and len(described["arrays"]) >= 2
        assert main(["inspect", path]) == FINE
        assert "float32[" in capsys.readouterr().out
        for command in (["verify", path], ["run", path], ["convert", path, str(tmp_path / "x.tinyseq")]):
            assert main(command) == UNREADABLE
            assert "weights without a model" in capsys.readouterr().err


def test_verify_compares_with_the_reference_and_onnxruntime(model, capsys):
    assert main(["verify", model, "--json"]) == FINE
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert {row["against"] for row in report["comparisons"]} == {"reference", "onnxruntime"}


def test_verify_tries_streams(model, tmp_path, capsys):
    path = tmp_path / "recogniser.onnx"
    path.write_bytes(recogniser())
    assert main(["verify", "--stream", str(path)]) == FINE
    assert "in any chunks what a run gives at once: kept" in capsys.readouterr().out
    assert main(["verify", "--stream", "--json", model]) == FINE
    assert json.loads(capsys.readouterr().out)["passed"]


def test_verify_fails_when_results_differ(model, monkeypatch, capsys):
    monkeypatch.setattr("tinyseq.tools.tolerances.ABSOLUTE", 0.0)
    monkeypatch.setattr("tinyseq.tools.tolerances.RELATIVE", 0.0)
    assert main(["verify", model]) == FAILED
    assert "DIFFERS" in capsys.readouterr().out


def test_verify_takes_a_tolerance(model, capsys):
    assert main(["verify", model, "--tolerance", "0"]) == FAILED
    assert "tolerance: 0 x max(1, largest |value|), as given" in capsys.readouterr().out
    assert main(["verify", model, "--tolerance", "1e-5"]) == FINE
    assert main(["verify", model, "--tolerance", "1", "--stream"]) == USAGE
    assert "--stream compares bits" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["verify", model, "--tolerance", "-1"])


EDGE = np.float32([[0.35, 1, 2], [0, 0, 1]])
"""Of steps of 0.1, the first is 3.5 in float32 and a little less in float64."""


def quantised(tmp_path, scaled: bool = True, labels: bool = False) -> str:
    """A file whose output is rounded to steps of 0.1, as they are or by a product."""
    scale, zero = helper.make_tensor("s", 1, [], [0.1]), helper.make_tensor("z", 2, [], [0])
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y" if scaled else "d"]),
    ]
    nodes += [] if scaled else [helper.make_node("MatMul", ["d", "w"], ["y"])]
    outputs = [value("y", shape=["N", 3])]
    if labels:
        nodes.append(helper.make_node("ArgMax", ["y"], ["labels"], axis=0, keepdims=0))
        outputs.append(value("labels", np.int64, [3]))
    constants = [scale, zero]
    constants += [] if scaled else [helper.make_tensor("w", 1, [3, 3], np.eye(3).ravel())]
    graph = helper.make_graph(nodes, "g", [value("x", shape=["N", 3])], outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path = tmp_path / "quantised.onnx"
    path.write_bytes(made.SerializeToString())
    return str(path)


@pytest.mark.parametrize("scaled", [True, False])
def test_verify_judges_quantised_models_by_their_steps(tmp_path, capsys, scaled):
    path = quantised(tmp_path, scaled)
    np.save(tmp_path / "x.npy", EDGE)
    given = ["--input", f"x={tmp_path / 'x.npy'}"]
    assert main(["verify", path, *given]) == FINE
    text = capsys.readouterr().out
    coarse = "(13 steps of 0.00784, and the reference moves by 0.1 when nudged, the same"
    assert ("(1 steps of 0.1, the same" if scaled else coarse) in text
    assert "quantised outputs: 5 steps more" in text
    assert main(["verify", path, *given, "--tolerance", "0.01"]) == FAILED


def test_verify_refuses_quantised_results_that_are_further_off(tmp_path):
    session = tinyseq.load(path := quantised(tmp_path, labels=True))
    right = session.run({"x": EDGE})
    for shift, within in (([0, 0, 0.4], True), ([0, 0, 0.7], False), ([1.2, 0, 0], False)):
        session.run = lambda feeds, shift=shift: {**right, "y": right["y"] + np.float32(shift)}
        rows = {row.output: row for row in verify(session, path, {"x": EDGE}) if row.against == "reference"}
        assert rows["y"].within == within and rows["labels"].step == 0
    session.run = lambda feeds: {**right, "labels": right["labels"] + 1}
    assert not all(row.within for row in verify(session, path, {"x": EDGE}))


def test_verify_asks_for_the_same_largest_number(tmp_path):
    """Where it leads by more than is allowed."""
    session = tinyseq.load(path := quantised(tmp_path))
    given = {"x": np.float32([[0, 0, 0.8], [0, 0, 0.3]])}
    right = session.run(given)["y"]
    for row, within in ((0, False), (1, True)):
        ours = right.copy()
        ours[row] += np.float32([0.45, 0, -0.45])
        session.run = lambda feeds, ours=ours: {"y": ours}
        found = next(one for one in verify(session, path, given) if one.against == "reference")
        assert found.within == within and found.same_largest == 0.5 and found.difference < 5 * found.step


def test_run_takes_given_inputs_and_writes_the_outputs(model, tmp_path, capsys):
    shapes = {"x": (4, 1, 3), "h": (1, 1, 4), "c": (1, 1, 4)}
    feeds = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "feeds.npz", **feeds)
    results = tmp_path / "results.npz"
    assert main(["run", model, "--inputs", str(tmp_path / "feeds.npz"), "--output", str(results)]) == FINE
    assert "y float32" in capsys.readouterr().out
    assert np.load(results)["y"].shape[0] == 4


def test_run_writes_to_the_very_name_that_is_given(model, tmp_path):
    results = tmp_path / "results.zip"
    sizes = ["--size", "frames=2", "--size", "rows=1"]
    assert main(["run", model, *sizes, "--output", str(results)]) == FINE
    assert set(np.load(results)) == {"y", "hn", "cn"}


def test_convert_writes_what_verify_reads(model, tmp_path):
    assert main(["convert", model, str(tmp_path / "model.tinyseq")]) == FINE
    assert main(["verify", str(tmp_path / "model.tinyseq")]) == FINE


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["inspect", "missing.onnx"], UNREADABLE, "missing.onnx"),
        (["inspect", "missing"], UNREADABLE, "no such file"),
        (["inspect", "."], UNREADABLE, "folder"),
        (["inspect", __file__], UNREADABLE, "suffix"),
        (["convert", "MODEL", "/"], UNREADABLE, "cannot write"),
        (["run", "MODEL", "--inputs", "missing.npz"], UNREADABLE, "missing.npz"),
        (["run", "MODEL", "--input", "x=missing.npy"], UNREADABLE, "missing.npy"),
        (["run", "MODEL", "--precision", "tf32"], USAGE, "precision"),
        (["run", "MODEL", "--threads", "0"], USAGE, "threads=0"),
        (["run", "MODEL", "--threads", "2", "--device", "reference"], USAGE, "does not share"),
        (["run", "MODEL", "--input", "nothing"], USAGE, "NAME=VALUE"),
        (["run", "MODEL", "--input", "q=1"], USAGE, "takes x, h, c"),
        (["run", "MODEL", "--input", "x=[1, true, {}]"], USAGE, "neither a number"),
        (["run", "MODEL", "--input", "x=" + 5000 * "["], USAGE, "neither a number"),
        (["run", "MODEL", "--size", "q=3"], USAGE, "leaves open"),
    ],
)
def test_wrong_use_is_told_from_unreadable_models(model, capsys, arguments, status, words):
    assert main([model if argument == "MODEL" else argument for argument in arguments]) == status
    assert words in capsys.readouterr().err


def test_inputs_without_names_are_refused(model, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((4, 1, 3), np.float32))
    assert main(["run", model, "--inputs", str(tmp_path / "x.npy")]) == USAGE
    assert "by name" in capsys.readouterr().err


def test_archives_of_something_else_are_refused(model, tmp_path, capsys):
    path = str(tmp_path / "x.npz")
    with ZipFile(path, "w") as archive:
        archive.writestr("x.txt", "no array")
    for arguments in (["run", model, "--inputs", path], ["decode", path]):
        assert main(arguments) == UNREADABLE
        assert "'x.txt' is no array" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["dance"], ["verify", "m.onnx", "--seed", "-1"], ["run", "m.onnx", "--device", "cuda:x"]],
)
def test_the_parser_refuses_with_status_two(arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == USAGE
