"""Copies by several threads give what one copy gives."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tinyseq.backends import staging


@pytest.mark.parametrize("rows, columns", [(1, 3), (3, 1), (40, 64), (41, 63), (2, 5000), (1, 20000)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
def test_large_arrays_are_copied_in_parts(rows, columns, dtype, monkeypatch):
    monkeypatch.setattr(staging, "LEAST", 1024)
    monkeypatch.setattr(staging, "most_threads", lambda: 4)
    source = (np.arange(rows * columns).reshape(columns, rows).T % 1000).astype(dtype)
    target = np.full((rows, columns), 7, np.float32 if dtype is np.float16 else dtype)
    seen = []
    staging.stage(target, source, lambda part: seen.append(target[part].copy()))
    np.testing.assert_array_equal(target, source)
    np.testing.assert_array_equal(np.concatenate(seen), source)


ENDING = """
import threading, time, numpy as np
from tinyseq.backends import staging
staging.most_threads = lambda: 4

def work():
    threading.main_thread().join()
    target = np.zeros((64, 2**16), np.float32)
    staging.stage(target, np.ones_like(target))
    print("all" if target.all() else "not all")

threading.Thread(target=work).start()
"""


def test_a_thread_that_outlives_the_main_one_stages():
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("all\n", "")


def test_a_lone_number_is_staged():
    target = np.zeros((), np.float32)
    staging.stage(target, np.float32(3))
    assert target == 3


def test_what_a_part_cannot_copy_is_said(monkeypatch):
    monkeypatch.setattr(staging, "LEAST", 1024)
    monkeypatch.setattr(staging, "most_threads", lambda: 4)
    source = np.full((64, 64), "a")
    with pytest.raises(ValueError, match="could not convert"):
        staging.stage(np.zeros((64, 64), np.float32), source)
