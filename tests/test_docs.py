"""What the documents say of the code is so."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np

import tinyseq

ROOT = Path(__file__).parent.parent


def test_the_list_of_ops_is_up_to_date():
    """``python docs/make_ops.py`` writes it."""
    made = runpy.run_path(str(ROOT / "docs" / "make_ops.py"))
    assert made["TARGET"].read_text() == made["text"]()


def test_the_readme_leads_to_the_ops():
    assert "(docs/ops.md)" in (ROOT / "README.md").read_text()


def test_links_in_the_documents_lead_somewhere():
    documents = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    for document in documents:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_example_of_live_sound_runs_as_it_stands(capsys):
    (code,) = re.findall(r"```python\n(from tinyseq\.speech.*?)```", (ROOT / "README.md").read_text(), re.S)
    g, rng = tinyseq.Graph(), np.random.default_rng(0)
    rows = g.dense(g.input("input", ["rows", 512]), rng.normal(0, 1, (512, 3)).astype(np.float32))
    g.output("y", g.apply("LogSoftmax", rows, axis=-1))
    samples = rng.integers(-3000, 3000, (48_000, 2), np.int16)
    given = {"tinyseq": tinyseq, "model": tinyseq.load(g), "tokens": ["", "a", "b"], "samples": samples}
    exec(code, given)
    assert given["result"].end > 0.9 and len(given["result"].starts) == len(given["result"].tokens) > 0
