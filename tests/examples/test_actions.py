"""The demonstration actions: right about people it has not seen, streamed as whole, other recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tinyseq.demo.actions import run
from tinyseq.demo.actions.classifier import MODEL, Classifier, names_of, samples
from tinyseq.demo.actions.data import (
    ARCHIVE,
    CHANNELS,
    EXERCISES,
    HELD_OUT,
    MEAN_OF,
    archived,
    exercises,
    in_folders,
    read_csv,
    reduced,
)

import tinyseq
from tinyseq.errors import FeedError, ModelError, OptionError

EXPECTED = Path(__file__).parent / "data" / "actions_expected.npz"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def told(capsys, folder: Path, *options: str) -> dict:
    """What the command prints with --json."""
    assert run.main([f"--plot={folder / 'own.png'}", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def rows(folder: Path, values: np.ndarray, head: str = "") -> Path:
    path = folder / "own.csv"
    np.savetxt(path, values, delimiter=",", header=head, comments="")
    return path


# the model


def test_a_session_is_told_movement_by_movement(capsys, tmp_path):
    report = told(capsys, tmp_path)
    assert [movement["movement"] for movement in report["movements"]] == list(EXERCISES)
    right = [movement["movement"] == movement["all"] for movement in report["movements"]]
    assert sum(right) >= 6
    probabilities = np.array(report["probabilities"])
    assert probabilities.shape == (report["steps"], len(EXERCISES))
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_text_tells_what_json_tells(capsys, tmp_path):
    assert run.main([f"--plot={tmp_path / 'own.png'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.startswith(name) for line in lines) for name in EXERCISES)
    assert any("of 7 right" in line for line in lines)


def test_a_stream_gives_the_bits_of_the_whole(classifier):
    for steps in samples().values():
        movement = classifier.stream()
        found = np.array([movement.push(step) for step in steps])
        assert found.tobytes() == classifier.whole(steps).tobytes()


def test_the_network_computes_what_torch_computed(classifier):
    with np.load(EXPECTED) as arrays:
        np.testing.assert_allclose(classifier.whole(arrays["steps"]), arrays["probabilities"], atol=0.03)


def test_people_whom_it_has_not_seen_are_told_apart(asset, classifier):
    asset("exercises")
    held = [one for one in exercises() if one.person in HELD_OUT]
    assert len(held) == 42
    right = [classifier.whole(one.steps).mean(0).argmax() == one.label for one in held]
    assert np.mean(right) > 0.85


def test_what_ships_is_of_people_whom_it_has_not_seen(asset):
    asset("exercises")
    held = [one for one in exercises() if one.person in HELD_OUT]
    for name, steps in samples().items():
        exercise, _, person = name.partition(", person ")
        assert int(person) in HELD_OUT
        found = [one for one in held if one.label == EXERCISES.index(exercise) and one.person == int(person)]
        assert any(np.abs(one.steps[: len(steps)] - steps).max() < 0.02 for one in found)


@pytest.mark.parametrize(
    ("name", "seen", "tested", "shape", "classes"),
    [
        (ARCHIVE[0], 50, 150, (50, 1), 2),
        (ARCHIVE[1], 50, 50, (51, 1), 10),
        (ARCHIVE[2], 40, 40, (50, 6), 4),
    ],
)
def test_the_sets_of_the_archive(asset, name, seen, tested, shape, classes):
    asset(f"{name}-train".lower()), asset(f"{name}-test".lower())
    one, other = archived(name)
    assert (len(one), len(other)) == (seen, tested)
    assert {record.steps.shape for record in one + other} == {shape}
    assert {record.label for record in one} == {record.label for record in other} == set(range(classes))


# recordings of the user's


def test_a_recording_of_the_users(capsys, tmp_path):
    steps = np.repeat(next(iter(samples().values())), MEAN_OF, axis=0)
    for head in ("", ",".join(CHANNELS)):
        report = told(capsys, tmp_path, f"--csv={rows(tmp_path, steps, head)}")
        assert report["steps"] == len(steps) // MEAN_OF
        assert report["movements"][0]["all"] == EXERCISES[0]


def test_means_leave_the_rest_out():
    assert reduced(np.arange(10.0).reshape(-1, 1)).tolist() == [[1.5], [5.5]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1,2,3,4,5,6\n1,2\n", "not of rows of as many numbers"),
        ("1,2,3,4,5,x\n" * 4, "not of rows of as many numbers"),
        ("1,2,3,4,5,nan\n" * 4, "not finite"),
        ("ax,ay\n", "has no rows"),
        ("1,2\n" * 8, "has 2 columns; the exercises' model hears ax, ay"),
        ("1,2,3,4,5,6\n" * 3, "has 3 rows; give 4 or more"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path, text, why):
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(FeedError, match=why):
        run.main([f"--plot={tmp_path / 'own.png'}", f"--csv={tmp_path / 'own.csv'}"])


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot read"):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ModelError, match="is empty"):
        read_csv(tmp_path / "empty.csv")
    (tmp_path / "other.tinyseq").write_bytes(MODEL.read_bytes())
    with pytest.raises(ModelError, match=r"the names of other\.tinyseq's classes"):
        Classifier(tmp_path / "other.tinyseq")
    names_of(tmp_path / "other.tinyseq").write_text("one\n")
    with pytest.raises(ModelError, match="do not belong together"):
        Classifier(tmp_path / "other.tinyseq")
    with pytest.raises(OptionError, match="give --csv FILE too"):
        run.main([f"--plot={tmp_path / 'own.png'}", f"--model={tmp_path / 'other.tinyseq'}"])


def test_a_model_of_the_users(capsys, tmp_path):
    g = tinyseq.Graph()
    steps = g.input("steps", ["rows", "steps", 2])
    g.output("probabilities", g.softmax(steps, axis=-1))
    tinyseq.load(g).save(tmp_path / "own.tinyseq")
    names_of(tmp_path / "own.tinyseq").write_text("left\nright\n")
    path = rows(tmp_path, np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 9.0]]))
    report = told(capsys, tmp_path, f"--csv={path}", f"--model={tmp_path / 'own.tinyseq'}")
    assert report["movements"][0]["all"] == "right"


def test_recordings_in_folders(tmp_path):
    for name, count in (("left", 2), ("right", 1)):
        (tmp_path / name).mkdir()
        for number in range(count):
            np.savetxt(tmp_path / name / f"{number}.csv", np.full((5, 2), number), delimiter=",")
    (tmp_path / "empty").mkdir()
    names, found = in_folders(tmp_path)
    assert names == ["left", "right"] and [one.label for one in found] == [0, 0, 1]
    with pytest.raises(FeedError, match="not two folders"):
        in_folders(tmp_path / "left")
