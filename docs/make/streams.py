"""Writes ``docs/ops-in-streams.md``: of every op, what a stream makes of it.

pip install -e '.[test]' && python docs/make/streams.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tinyseq.ir.ops import OPS  # noqa: E402
from tinyseq.passes.along import STREAM_FORMS  # noqa: E402
from tinyseq.shapes import looks  # noqa: E402

TARGET = ROOT / "docs" / "ops-in-streams.md"

HEAD = """# Ops in streams

How a stream computes in chunks what a run computes at once, bit for bit; written by `python
docs/make/streams.py` from the op table (`tinyseq/ir/ops.py`) and the forms of ops
(`tinyseq/passes/along.py`); a test keeps it so.

When a stream is made, the axis of its frames is followed from the inputs through every node. An op takes
each frame by itself unless it looks along that axis. One that does has a form for chunks, or the model
has no stream and the error names the node, why, and what to do.

- **What it needs of the past is state**, named after the node (`conv.frames`): in snapshots, pools and
  forks like that of a recurrent layer. A convolution that looks back two frames keeps two; padding before
  the first frame is what the state begins with.
- **What it needs of the future is latency.** A step gives the frames that are complete, maybe none;
  `stream.finish()` gives the rest, so that all parts one after the other are what a run gives.
  `stream.latency` and `print(model)` say by how many frames of the input outputs are late. Where branches
  of a model meet, the early one waits for the late one.
- **Strides hold frames back** until a window is complete. Rows of a pool that are then at different places
  give different numbers of frames, and are stepped by calls of their own.
- **A last frame is the last so far.** `y_h`, `x[:, -1]` and the greatest, the sum or the mean of all frames
  have in each step the value that a run over the frames so far gives. What then needs it for every frame, as
  a normalisation over time does, is refused.
- **Constants in shapes.** What is made of the number of frames (positions, masks of ones) goes on from
  chunk to chunk; what pads or cuts by that number is refused, and so is what it decides, as whether there
  are more than a limit. A pool steps rows whose positions differ in one call, which runs once for each
  position that there is among them.
- **All rows begin alike.** A layer that starts the rows of a batch at states of their own has no stream.
- **Both branches of an `If` go on**, so they have to give tensors of one shape.
- **Fixed sizes are no time**, unless a recurrent layer or a Scan runs along them. Each step of a model of
  convolutions over a fixed number of frames is a run of its own, and `print(model)` says so.
- **A step may have no frames** where a run may; it gives none, and changes nothing.
- **Models with state among their inputs and outputs** say themselves what a step is: nothing is added to
  them, and `print(model)` notes where a chunk's frames meet.

`tinyseq verify --stream model.onnx`, or `tinyseq.check_stream(model)`, tries all this on a model.

| op | along which axes it looks | along a stream's frames |
|---|---|---|
"""


def text() -> str:
    """The document."""
    return HEAD + "".join(_row(name) for name in sorted(OPS))


def _row(name: str) -> str:
    rule = OPS[name].looks
    return f"| `{name}` | {AXES[rule]} | {_form(name)} |\n"


def _form(name: str) -> str:
    if name in MADE:
        return MADE[name]
    if name in STREAM_FORMS:
        return _sentence(STREAM_FORMS[name].write.__doc__)
    if OPS[name].looks is looks.nothing:
        return "each frame by itself"
    return f"refused: {OPS[name].needs}"


def _sentence(docstring: str) -> str:
    """What a form does, in the words of its function."""
    return " ".join(docstring.split()).rstrip(".")


MADE = {
    "Shape": "the number of frames, for shapes only",
    "Size": "the number of frames, for shapes only",
    "Range": "positions go on from chunk to chunk",
    "If": "both branches go on, and what frames do not decide chooses from what they give",
    "Loop": "refused: its turns are not frames",
}
"""Ops that make something of the number of frames, or run graphs."""

AXES = {
    looks.nothing: "none",
    looks.everything: "all",
    looks.one_axis: "`axis` of the first input",
    looks.every_axis: "`axis`",
    looks.from_axis: "`axis` and those after it",
    looks.from_second: "all but the first",
    looks.from_third: "those of space",
    looks.last_two: "the last two",
    looks.reduced: "`axes`",
    looks.cumulated: "`axis`",
    looks.cut: "those cut",
    looks.widened: "those padded",
    looks.repeated: "those repeated",
    looks.gathered: "those picked from",
    looks.reversed_: "`time_axis`",
    looks.multiplied: "those summed over",
    looks.multiplied_turned: "those summed over",
    looks.multiplied_fused: "those summed over",
    looks.summed: "those summed over, and diagonals",
    looks.over_axes: "`axes`",
    looks.resized: "those resized",
    looks.transformed: "`axis`, and the last",
    looks.compressed: "those picked from",
    looks.convolved: "channels, and those where windows are wider than one",
    looks.spread: "channels, and those where windows are wider than one",
    looks.pooled: "those where windows are wider than one",
    looks.recurrent: "frames and features",
}
"""The rules of ``tinyseq/shapes/looks.py`` in words."""


if __name__ == "__main__":
    TARGET.write_text(text())
