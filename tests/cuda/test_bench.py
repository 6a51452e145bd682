"""The bench of the device, on an emulated one and with sizes that it bears."""

from __future__ import annotations

import json

import pytest

from bench.cuda import __main__ as bench
from bench.cuda import measures, plot, rehearsal
from bench.cuda.rows import Row, sized
from bench.cuda.timing import Effort
from tinyseq.kernels.cuda import driver

TINY = measures.Sizes(
    live_hidden=(4,), live_rows=(1, 2), hidden=(4,), rows=(2,), frames=2, products=((2, 4, 8),),
    rounded=(8,), rounded_rows=(2,),
    language=(4, 5), texts=2, tokens=2, cells=(4,), parity=0, effort=Effort(0, 1),
)  # fmt: skip
TASKS = "calls,live,generation,products,layers,rounded"
FACTS = {"capability": (9, 0), "multiprocessors": 1, "shared_bytes": 227 * 1024, "clock": 1e9}


@pytest.fixture
def tiny(monkeypatch, small_blocks):
    monkeypatch.setattr(bench, "_sizes", lambda options: TINY)
    monkeypatch.setattr(bench, "Sizes", lambda: TINY)
    monkeypatch.setattr(rehearsal, "compile_all", lambda device, given: {"kernels": 0, "seconds": 0})


def test_every_figure_is_told_and_rehearsed(device, tiny, tmp_path, capsys, monkeypatch):
    device.multiprocessors = 1
    file = tmp_path / "rows.jsonl"
    assert bench.main(["--tasks", TASKS, "--json", str(file)]) == 0
    environment, compiled, parity, *rows, seconds = map(json.loads, file.read_text().splitlines())
    assert environment["device"] == device.name and environment["date"]
    assert compiled.keys() == {"compiled"} and seconds.keys() == {"seconds"} and not parity["failed"]
    assert {row["task"] for row in rows} == set(TASKS.split(","))
    assert all(row["value"] > 0 and row["unit"] for row in rows)
    same = {row["case"]: row["value"] for row in rows if row["unit"] == "texts of 2"}
    assert same == {"greedy as on the CPU": 2, "beam 4 as on the CPU": 2}
    told = capsys.readouterr().out
    assert "LSTM H=4 N=2 T=2" in told and "parity: 1 of 1 agree" in told and "were left out" in told
    # What a run launches was rehearsed.
    launched = {launch.kernel for launch in device.launches}
    rehearsed = rehearsal.Rehearsal(FACTS)
    monkeypatch.setattr(driver, "open_device", lambda number=0: rehearsed)
    bench.rehearse(["--tasks", TASKS])
    assert launched and launched - rehearsed.kernels.keys() == set()


def test_what_is_better_is_told_by_its_unit():
    case, sizes = sized(H=4, N=1)
    assert Row("layers", case, sizes, 2.0, "us a frame", {"torch": 4.0}).ratios == {"torch": 2.0}
    row = Row("products", case, sizes, 2.0, "TFLOP/s", {"torch": 4.0})
    assert row.ratios == {"torch": 0.5}
    assert json.loads(json.dumps(row.entry()))["against"] == {"torch": 4.0}
    assert "torch 4.00 (0.50x)" in row.line() and "H=4 N=1" in row.line()


def test_a_task_that_is_none(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--tasks", "layers,strange"])
    assert "no task is called strange; there are calls, live" in capsys.readouterr().err


def test_the_picture():
    case, sizes = sized(H=4, N=1, T=512)
    row = Row("layers", f"LSTM {case}", sizes, 1.0, "us a frame", {plot.RIVAL: 2.0})
    assert plot.draw([row], "a device").startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no layer beside torch float32"):
        plot.draw([row._replace(against={})], "a device")
