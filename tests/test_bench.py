"""The benchmark runs and writes what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from bench import compare, pictures
from bench.limits import limits
from bench.measures import Row
from bench.report import line

CASE = "lstm H=32 T=1 N=1"


def test_one_case_gives_rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "bench", "--quick", "--filter", CASE, "--json", str(file)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    environment, *rows = map(json.loads, file.read_text().splitlines())
    assert environment["versions"]["tinyseq"] and environment["isa"] and environment["date"]
    assert {"onnxruntime", "tinyseq run", "tinyseq stream"} <= {row["rival"] for row in rows}
    for row in rows:
        assert row["case"] == CASE and row["unit"] == "us" and row["value"] > 0
        assert row["ratio"] > 0 and row["error"] <= row["tolerance"]
    assert CASE in done.stdout and "onnxruntime" in done.stdout


PNG = b"\x89PNG"


def row(case: str, rival: str, value: float, ratio: float, spread: float = 0.01) -> Row:
    return Row(case, rival, value, "us", ratio, 0.0, 1e-5, spread, 1000, 500)


BEFORE = [
    row("lstm H=32 T=1 N=1", "onnxruntime", 20.0, 1.0),
    row("lstm H=32 T=1 N=1", "tinyseq run", 6.0, 20 / 6),
    row("lstm H=32 T=1 N=1", "tinyseq stream", 4.0, 5.0),
    row("gru H=64 T=25 N=8", "onnxruntime", 20.0, 1.0),
    row("gru H=64 T=25 N=8", "tinyseq run", 25.0, 0.8),
]


def test_pictures_of_layers():
    fields = pictures.cells(BEFORE)
    assert fields == {"LSTM": {(32, (1, 1)): 5.0}, "GRU": {(64, (25, 8)): 0.8}}
    assert pictures.ratios(BEFORE).startswith(PNG)
    assert pictures.roofline([*limits(), *BEFORE]).startswith(PNG)
    with pytest.raises(ValueError, match="limits of the machine"):
        pictures.roofline(BEFORE)
    with pytest.raises(ValueError, match="others"):
        pictures.ratios(BEFORE[:1])


def written(path: Path, rows: list[Row], cpu: str = "one") -> Path:
    path.write_text("\n".join([line({"cpu": cpu}), *map(line, rows)]))
    return path


def changed(which: int, **values) -> list[Row]:
    return [Row(**asdict(old) | (values if place == which else {})) for place, old in enumerate(BEFORE)]


@pytest.mark.parametrize(
    ("ratio", "spread", "status", "said"),
    [
        (5.0, 0.01, 0, "0 of them changed"),
        (4.95, 0.001, 0, "0 of them changed"),
        (4.0, 0.01, 1, "0.80 times as good"),
        (6.0, 0.01, 0, "1.20 times as good"),
        (4.0, 0.1, 0, "0 of them changed"),
    ],
)
def test_a_comparison_tells_what_is_more_than_noise(tmp_path, capsys, ratio, spread, status, said):
    old = written(tmp_path / "old", BEFORE)
    new = written(tmp_path / "new", changed(2, ratio=ratio, spread=spread, value=100.0), "another")
    assert compare.main([str(old), str(new)]) == status
    told = capsys.readouterr().out
    assert said in told and "cpu differs: one and another" in told


def test_a_comparison_refuses_other_files(tmp_path, capsys):
    path = tmp_path / "rows"
    path.write_text("no rows")
    with pytest.raises(SystemExit):
        compare.main([str(path), str(path)])
    assert "is no file that" in capsys.readouterr().err
