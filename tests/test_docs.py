"""What the documents say of the code is so."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_list_of_ops_is_up_to_date():
    """``python docs/make/ops.py`` writes it."""
    made = runpy.run_path(str(ROOT / "docs" / "make" / "ops.py"))
    assert made["TARGET"].read_text() == made["text"]()


def test_the_list_of_ops_in_streams_is_up_to_date():
    """``python docs/make/streams.py`` writes it."""
    made = runpy.run_path(str(ROOT / "docs" / "make" / "streams.py"))
    assert made["TARGET"].read_text() == made["text"]()


def test_the_readme_leads_to_the_ops():
    assert "(docs/ops.md)" in (ROOT / "README.md").read_text()
    assert "(docs/ops-in-streams.md)" in (ROOT / "README.md").read_text()


def test_links_in_the_documents_lead_somewhere():
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    for document in documents:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_picture_and_the_table_of_layers_are_up_to_date():
    """``python docs/make/architecture.py`` writes them."""
    made = runpy.run_path(str(ROOT / "docs" / "make" / "architecture.py"))
    assert made["PICTURE"].read_text() == made["picture"]()
    assert made["PAGE"].read_text() == made["text"]()


def test_the_readmes_figures_are_those_of_the_page_on_speed():
    """Of which it has five."""
    readme, speed = (path.read_text() for path in (ROOT / "README.md", ROOT / "docs" / "speed.md"))
    rows = [line for line in readme.split("## How fast")[1].splitlines() if re.search(r"\| \d", line)]
    assert len(rows) == 5 and set(rows) <= set(speed.splitlines())
