"""Every shape that a session meets on a device gives what it gives alone there."""

from __future__ import annotations

import pytest

import tinyseq
from tests.test_sizes import WAYS, as_fresh, encoder


@pytest.mark.parametrize("way", WAYS)
def test_tables_of_every_type(device, way):
    as_fresh(lambda: way(tinyseq.load(encoder(), state={"h": "hn"}, device="cuda")), (3, 5, 2))
