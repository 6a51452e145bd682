"""What the documents say of the code is so."""

from __future__ import annotations

import re
import runpy
from dataclasses import fields
from pathlib import Path

import pytest

import tinyseq

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
SEARCHES = {
    "Generation": (tinyseq.Greedy, tinyseq.Sampling, tinyseq.Beam),
    "Searches with words": (tinyseq.CtcBeamSearch.__base__,),
    "CTC": (tinyseq.CtcGreedy, tinyseq.CtcBeamSearch),
    "Transducers": (tinyseq.TransducerGreedy, tinyseq.TransducerBeamSearch),
}
"""Sections of docs/decoding-options.md, and the classes whose options they compare with those of others."""


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
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_lists_are_read_alike_by_the_site_and_beside_the_code(document):
    """The site's Markdown wants an empty line before a list and after a paragraph within one, and steps of
    four blanks."""
    text = re.sub(r"^( *)```.*?^\1```$", r"\1```", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    before = ""
    for line in text.splitlines():
        indent, mark = re.match(r"( *)([-*] |\d+\. |```)?", line).groups()
        assert not mark or len(indent) % 4 == 0, f"not by a multiple of four: {line}"
        if mark and mark != "```" and not indent:
            assert re.match(r"$| {1,3}\S| {4}[-* ]|<!--|[-*] |\d+\. ", before), (
                f"no empty line before: {line}"
            )
        before = line


@pytest.mark.parametrize("section", SEARCHES)
def test_every_option_of_a_search_has_its_names_elsewhere(section):
    page = (ROOT / "docs" / "decoding-options.md").read_text()
    parts = page.split("\n## ")
    named = {part.split("\n", 1)[0]: re.findall(r"^\| `(\w+)`", part, re.MULTILINE) for part in parts}
    shared = set() if section == "Searches with words" else set(named["Searches with words"])
    options = {field.name for kind in SEARCHES[section] for field in fields(kind)}
    assert options - shared <= set(named[section]) <= options | shared


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
