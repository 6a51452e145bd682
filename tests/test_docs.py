"""What the documents say of the code is so."""

from __future__ import annotations

import re
from pathlib import Path

from tinyseq.ops import OPS

ROOT = Path(__file__).parent.parent


def test_the_readme_lists_the_op_table():
    text = (ROOT / "README.md").read_text()
    listed = re.search(r"<!-- ops -->\n(.*?)\n\n", text, re.DOTALL)[1]
    assert re.findall(r"`(\w+)`", listed) == sorted(OPS)


def test_links_in_the_documents_lead_somewhere():
    documents = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    for document in documents:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
