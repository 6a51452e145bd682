"""The benchmark runs and writes what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
