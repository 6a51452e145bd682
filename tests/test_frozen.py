"""Files that an earlier tinyseq saved load for ever, and give what they gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tinyseq
from tinyseq.ir.format import VERSION

FROZEN = Path(__file__).parent / "data" / "frozen"


def test_there_is_a_file_of_every_version():
    """A new version of the format is frozen by ``python -m tests.data.make_frozen``."""
    wanted = {f"version_{number}.{kind}" for number in range(1, VERSION + 1) for kind in ("tinyseq", "npz")}
    assert {path.name for path in FROZEN.iterdir()} == wanted


@pytest.mark.parametrize("path", sorted(FROZEN.glob("*.tinyseq")), ids=lambda path: path.stem)
def test_a_frozen_file_gives_what_it_gave(path):
    with np.load(path.with_suffix(".npz")) as file:
        kept = dict(file)
    model = tinyseq.load(path)
    x, flag = kept.pop("x"), np.array(True)
    stream = model.stream()
    chunks = [stream.step({"x": part, "flag": flag}) for part in np.split(x, [2, 3])]
    streamed = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in ("y", "whole")}
    streamed["gain"] = chunks[-1]["gain"]
    for results in (model.run({"x": x, "flag": flag}), streamed):
        assert results.keys() == kept.keys()
        for name, array in results.items():
            assert array.dtype == kept[name].dtype
            np.testing.assert_allclose(array, kept[name], rtol=1e-5, atol=1e-6)
