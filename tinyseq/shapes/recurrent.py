"""Shape rules of recurrent layers."""

from __future__ import annotations

import numpy as np

from tinyseq.shapes.common import Attributes, Mismatch, Shape


def direction_count(attributes: Attributes) -> int:
    return 2 if attributes["direction"] == "bidirectional" else 1


def check_recurrent(attributes: Attributes) -> None:
    """Refuses attributes that do not fit each other."""
    # Imported here: only recurrent layers need the tables of cells and activations.
    from tinyseq.shapes.activations import check

    check(attributes)


def one_row_for_all(shape: Shape, wanted: Shape, rows_first: int) -> bool:
    """Whether an initial state is of one row where more are needed."""
    axis = 0 if rows_first else 1
    return len(shape) == 3 and shape[axis] == 1 and wanted[axis] != 1


def _layer(attributes: Attributes, shapes, values, gates: int) -> tuple[Shape, Shape, Shape]:
    """The shapes of y, of the last h and of the last c, which an LSTM has beside them.

    An initial state that is known may be of one row, which then stands for all.
    """
    shapes = [*shapes, *(None,) * 9][:9]
    x, w, r, b, lengths, initial_h, initial_c, p, projection = shapes
    hidden = attributes["hidden_size"]
    directions = direction_count(attributes)
    rows_first = attributes["layout"]
    if len(x) != 3:
        order = "[rows, frames, features]" if rows_first else "[frames, rows, features]"
        raise Mismatch(f"input x of {list(x)} is not {order}")
    frames, rows, features = (x[1], x[0], x[2]) if rows_first else x
    units = projection[1] if projection is not None and len(projection) == 3 else hidden
    h, c = ((rows, directions, n) if rows_first else (directions, rows, n) for n in (units, hidden))
    wanted = (
        ("w", w, (directions, gates * hidden, features)),
        ("r", r, (directions, gates * hidden, units)),
        ("b", b, (directions, 2 * gates * hidden)),
        ("lengths", lengths, (rows,)),
        ("initial_h", _repeated(initial_h, h, values[5:6], rows_first), h),
        ("initial_c", _repeated(initial_c, c, values[6:7], rows_first), c),
        ("p", p, (directions, 3 * hidden)),
        ("projection", projection, (directions, units, hidden)),
    )
    for name, shape, needed in wanted:
        if shape is not None and tuple(shape) != needed:
            raise Mismatch(
                f"{name} of {list(shape)} where {list(needed)} is needed "
                f"(x {list(x)}, hidden_size {hidden}, {attributes['direction']})"
            )
    return (rows, frames, directions, units) if rows_first else (frames, directions, rows, units), h, c


def _repeated(shape: Shape | None, wanted: Shape, known: list, rows_first: int) -> Shape | None:
    """The shape of an initial state, one row repeated for all where its value is known."""
    if shape is None or type(known[0]) is not np.ndarray or not one_row_for_all(shape, wanted, rows_first):
        return shape
    return (wanted[0], *shape[1:]) if rows_first else (shape[0], wanted[1], shape[2])


def rnn(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return _layer(attributes, shapes, values, 1)[:2]


def gru(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return _layer(attributes, shapes, values, 3)[:2]


def lstm(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return _layer(attributes, shapes, values, 4)
