"""Copies by several threads give what one copy gives."""

from __future__ import annotations

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
    staging.stage(target, source)
    np.testing.assert_array_equal(target, source)


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
