"""Writes the picture of ``docs/architecture.md`` and its table of layers, from ``tests/test_layers.py``.

pip install -e '.[test]' && python docs/make/architecture.py
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.test_layers import LAYERS, files  # noqa: E402

PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "architecture.svg"
BEGIN, END = "<!-- made by docs/make/architecture.py -->", "<!-- made until here -->"

LAYER_BOXES = {
    "converters": (1, 0, "of other frameworks: to a Model"),
    "shapes": (0, 1, "from input to output shapes"),
    "ir": (1, 1, "Models of named ops, Graphs"),
    "passes": (2, 1, "Model to Model: cells, state"),
    "plan": (1, 2, "a program of integers"),
    "kernels": (0, 3, "compiled before installing"),
    "backends": (1, 3, "run a program or a Model"),
    "reference": (2, 3, "each op's meaning, in float64"),
    "runtime": (1, 4, "sessions, streams, pools"),
    "dropin": (2, 4, "behind onnxruntime's interface"),
    "decode": (1, 5, "searches over rows of scores"),
    "speech": (1, 6, "sound to text, or to segments"),
}
"""Layers by the last word of their row in ``LAYERS``: column, row, and what it does."""

OTHER_BOXES = {
    "files": (0, 0, ".onnx .keras .h5 .pt .npz"),
    "feeds": (0, 4, "arrays in, arrays out"),
    "hypotheses": (2, 5, "tokens, scores, text"),
    "sound": (0, 6, "as it comes in"),
    "text": (2, 6, "while it is spoken"),
}
"""What comes in and goes out."""

ARROWS = """
files>converters converters>ir shapes>ir ir>passes passes>ir ir>plan plan>backends kernels>backends
reference>backends backends>runtime feeds>runtime runtime>feeds runtime>dropin runtime>decode
decode>hypotheses decode>speech sound>speech speech>text
"""

WIDTH, HEIGHT, ACROSS, DOWN, MARGIN = 220, 48, 290, 82, 20
STYLE = (
    "text{font-family:sans-serif;font-size:13px;text-anchor:middle;fill:#222}.name{font-weight:bold}"
    "rect{stroke:#456;stroke-width:1.2}line{stroke:#456;stroke-width:1.4}path{fill:#456}"
    ".paper{fill:#fff;stroke:none}.layer{fill:#e8f0fa}.other{fill:#f6f3ea}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}rect,line{stroke:#89a}path{fill:#89a}"
    ".paper{fill:#14161c}.layer{fill:#1d2a3c}.other{fill:#312d22}}"
)


def row_of(name: str) -> str:
    """The row of ``LAYERS`` that ends with a name: the shortest."""
    found = [row for row in LAYERS if row.rpartition(".")[2] == name]
    if not found:
        raise SystemExit(f"no layer is called {name!r}: draw the picture in {Path(__file__).name} anew")
    return min(found, key=len)


def related(one: str, other: str) -> bool:
    """Whether one of two layers, or of what is in them, may import the other."""

    def imports(row: str, target: str) -> bool:
        return any(
            name == target or name.startswith(f"{target}.")
            for own, below in LAYERS.items()
            if own == row or own.startswith(f"{row}.")
            for name in below.split()
        )

    return imports(one, other) or imports(other, one)


def arrows() -> list[tuple[str, str]]:
    """The arrows of the picture; between layers, one of which may import the other."""
    pairs = [tuple(arrow.split(">")) for arrow in ARROWS.split()]
    for one, other in pairs:
        if {one, other} <= LAYER_BOXES.keys() and not related(row_of(one), row_of(other)):
            raise SystemExit(f"{one} and {other} do not know each other by tests/test_layers.py")
    return pairs


def picture() -> str:
    """The picture as SVG."""
    boxes = LAYER_BOXES | OTHER_BOXES
    width = 2 * ACROSS + WIDTH + 2 * MARGIN
    height = max(row for _, row, _ in boxes.values()) * DOWN + HEIGHT + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
        f"<title>The way of the data through tinyseq</title><style>{STYLE}</style>",
        '<defs><marker id="tip" markerWidth="9" markerHeight="8" refX="8" refY="4" '
        'orient="auto-start-reverse">'
        '<path d="M0,0 L9,4 L0,8 z"/></marker></defs>',
        f'<rect class="paper" width="{width}" height="{height}"/>',
    ]
    pairs = arrows()
    for one, other in pairs:
        if (other, one) not in pairs or one < other:
            both = (other, one) in pairs
            lines.append(_arrow(boxes[one], boxes[other], both))
    for name, (column, row, words) in boxes.items():
        x, y = MARGIN + column * ACROSS, MARGIN + row * DOWN
        kind = "layer" if name in LAYER_BOXES else "other"
        title = row_of(name) if name in LAYER_BOXES else name
        lines += [
            f'<rect class="{kind}" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
            f'<text class="name" x="{x + WIDTH // 2}" y="{y + 20}">{escape(title)}</text>',
            f'<text x="{x + WIDTH // 2}" y="{y + 38}">{escape(words)}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _arrow(start: tuple, end: tuple, both: bool) -> str:
    across, down = (end[0] > start[0]) - (end[0] < start[0]), (end[1] > start[1]) - (end[1] < start[1])
    points = []
    for (column, row, _), sign in ((start, 1), (end, -1)):
        x, y = MARGIN + column * ACROSS + WIDTH // 2, MARGIN + row * DOWN + HEIGHT // 2
        points += [x + sign * across * WIDTH // 2, y + sign * down * HEIGHT // 2]
    tips = ' marker-end="url(#tip)"' + (' marker-start="url(#tip)"' if both else "")
    x1, y1, x2, y2 = points
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"{tips}/>'


def table() -> str:
    """Each layer, what its docstring says it is, and what it may import."""
    modules = files()
    lines = ["| layer | what it is | may import |", "|---|---|---|"]
    for row, below in LAYERS.items():
        words = ast.get_docstring(ast.parse(modules[row].read_text())) or ""
        first = re.sub(r"``(.*?)``", r"`\1`", words.partition("\n")[0]).replace("|", "\\|")
        names = ", ".join("the face" if name == "." else f"`{name}`" for name in below.split())
        lines.append(f"| {f'`{row}`' if row else 'the face'} | {first} | {names} |")
    return "\n".join(lines)


def text() -> str:
    """The page with its table made anew."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PICTURE.write_text(picture())
    PAGE.write_text(text())
