"""How libraries lay out the weights of recurrent layers, and the way from each to ONNX's.

The only place that reorders gates. Letters name the gates: ``i`` input, ``f`` forget, ``o`` output,
``c`` the cell's candidate; ``z`` update, ``r`` reset, ``h`` the hidden candidate. The orders are those
of the libraries' own documentation of their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tinyseq.common.given import as_array
from tinyseq.common.text import shown
from tinyseq.errors import ModelError
from tinyseq.kernels.cells import CELLS

ORDERS = {
    "LSTM": {"onnx": CELLS["LSTM"].gates, "torch": "ifco", "keras": "ifco"},
    "GRU": {"onnx": CELLS["GRU, reset after"].gates, "torch": "rzh", "keras": "zrh"},
    "RNN": {"onnx": CELLS["RNN"].gates, "torch": "h", "keras": "h"},
}
"""The order of the gates along the rows of a layer's weights, by op and library."""


@dataclass(frozen=True)
class Cells:
    """A recurrent layer's weights as ONNX lays them out, for D directions, G gates of H units, F features."""

    w: np.ndarray
    """[D, G*H, F], float32."""
    r: np.ndarray
    """[D, G*H, H], float32."""
    b: np.ndarray
    """[D, 2*G*H], float32: the biases of the input, then of the recurrent products."""
    projection: np.ndarray | None = None
    """[D, P, H], float32: of an LSTM whose h is projected to P numbers; ``r`` is [D, G*H, P] then."""

    @property
    def directions(self) -> int:
        return self.w.shape[0]

    @property
    def hidden(self) -> int:
        return (self.r if self.projection is None else self.projection).shape[2]


def cells(op: str, weights: Sequence[ArrayLike | None], layout: str) -> Cells:
    """The weights of one layer, brought from a library's layout to ONNX's.

    Args:
        op: ``"LSTM"``, ``"GRU"`` or ``"RNN"``.
        weights: as the layout has them, an absent bias left out or None:
            ``"torch"``: ``weight_ih [G*H, F], weight_hh [G*H, H], bias_ih [G*H], bias_hh [G*H]``, and with
            ``proj_size=P`` ``weight_hr [P, H]``, ``weight_hh`` being [G*H, P];
            ``"keras"``: ``kernel [F, G*H], recurrent_kernel [H, G*H], bias [G*H] or [2, G*H]``;
            ``"cudnn"``: those of Keras' CuDNNLSTM and CuDNNGRU, ``bias [2*G*H]``;
            ``"onnx"``: ``W [D, G*H, F], R [D, G*H, H], B [D, 2*G*H]``, and tinyseq's own projection
            [D, P, H], R being [D, G*H, P].
        layout: the name of the library.

    Raises:
        ModelError: the layout is unknown, or shapes do not fit each other.
    """
    if not isinstance(layout, str) or layout not in _READERS or op not in ORDERS:
        raise ModelError(
            f"weights of {shown(op)} in layout {shown(layout)}: ops are {', '.join(ORDERS)}, "
            f"layouts {', '.join(_READERS)}"
        )
    try:
        arrays = [None if array is None else _weight(array) for array in weights]
    except (TypeError, ValueError) as error:
        raise ModelError(f"the weights of a layer are arrays in a list: {error}") from error
    most = (4 if layout == "torch" else 3) + (op == "LSTM" and layout in ("torch", "onnx"))
    if not 2 <= len(arrays) <= most or arrays[0] is None or arrays[1] is None:
        raise ModelError(f"a layer in layout {shown(layout)} has 2 to {most} weights, not {len(arrays)}")
    try:
        if any(array is not None and not 1 <= array.ndim <= 3 for array in arrays):
            raise ValueError("a weight is a single number or has more than three dimensions")
        result = _READERS[layout](op, *arrays)
        _check(op, result)
    except ValueError as error:
        shapes = ", ".join("none" if array is None else str(list(array.shape)) for array in arrays)
        raise ModelError(
            f"weights {shapes} are not those of one {op} layer in layout {shown(layout)}: {error}"
        ) from error
    return result


def _weight(given: object) -> np.ndarray:
    """A weight as float32.

    Raises:
        ValueError: it is none.
    """
    array = as_array(given)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"a weight holds {array.dtype}; give numbers")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def stacked(forward: Cells, backward: Cells) -> Cells:
    """Two layers of one direction each as one of two.

    Raises:
        ModelError: their shapes differ.
    """
    pairs = [(forward.w, backward.w), (forward.r, backward.r), (forward.b, backward.b)]
    if forward.projection is not None or backward.projection is not None:
        none = np.zeros((1, 0, 0), np.float32)
        pairs.append(tuple(none if c.projection is None else c.projection for c in (forward, backward)))
    for one, other in pairs:
        if one.shape != other.shape or one.shape[0] != 1:
            raise ModelError(
                f"the backward direction's weights {list(other.shape)} must be of one direction and of the "
                f"shape of the forward direction's {list(one.shape)}"
            )
    return Cells(*(np.concatenate(pair) for pair in pairs))


def _check(op: str, cells: Cells) -> None:
    ranks = [array.ndim for array in (cells.w, cells.r, cells.b, cells.projection) if array is not None]
    if ranks not in ([3, 3, 2], [3, 3, 2, 3]):
        raise ValueError("a weight has another rank")
    directions, rows, _ = cells.w.shape
    hidden = cells.hidden
    if directions not in (1, 2) or rows != len(ORDERS[op]["onnx"]) * hidden or not hidden:
        raise ValueError(f"{op} has {len(ORDERS[op]['onnx'])} gates of {hidden} units")
    units = hidden if cells.projection is None else cells.projection.shape[1]
    shapes = [(cells.r, (directions, rows, units)), (cells.b, (directions, 2 * rows))]
    if cells.projection is not None:
        shapes.append((cells.projection, (directions, units, hidden)))
    if any(array.shape != shape for array, shape in shapes):
        raise ValueError("the shapes do not fit each other")


def _reordered(op: str, library: str, array: np.ndarray) -> np.ndarray:
    """The gates along the first axis in ONNX's order."""
    given, wanted = ORDERS[op][library], ORDERS[op]["onnx"]
    if array.shape[0] % len(given):
        raise ValueError(f"{array.shape[0]} rows are not {len(given)} gates")
    blocks = np.split(array, len(given))
    return np.concatenate([blocks[given.index(gate)] for gate in wanted])


def _onnx(op: str, w: np.ndarray, r: np.ndarray, b=None, projection=None) -> Cells:
    return Cells(w, r, np.zeros((w.shape[0], 2 * w.shape[1]), np.float32) if b is None else b, projection)


def _torch(op: str, w, r, b_ih=None, b_hh=None, w_hr=None) -> Cells:
    none = np.zeros(w.shape[0], np.float32)
    biases = [_reordered(op, "torch", none if b is None else b) for b in (b_ih, b_hh)]
    return Cells(
        _reordered(op, "torch", w)[None],
        _reordered(op, "torch", r)[None],
        np.concatenate(biases)[None],
        None if w_hr is None else w_hr[None],
    )


def _keras(op: str, kernel, recurrent, bias=None) -> Cells:
    if bias is None:
        bias = np.zeros(kernel.shape[1], np.float32)
    b_ih, b_hh = (bias, np.zeros_like(bias)) if bias.ndim == 1 else bias
    biases = [_reordered(op, "keras", b) for b in (b_ih, b_hh)]
    return Cells(
        _reordered(op, "keras", kernel.T)[None],
        _reordered(op, "keras", recurrent.T)[None],
        np.concatenate(biases)[None],
    )


def _cudnn(op: str, kernel, recurrent, bias=None) -> Cells:
    """CuDNN keeps each gate's matrices transposed, the input's still in the shape of Keras' kernel."""
    gates = len(ORDERS[op]["keras"])
    kernel = np.concatenate([k.T.reshape(k.shape, order="F") for k in np.split(kernel, gates, 1)], 1)
    recurrent = np.concatenate([k.T for k in np.split(recurrent, gates, 1)], 1)
    return _keras(op, kernel, recurrent, None if bias is None else bias.reshape(2, -1))


_READERS: dict[str, Callable[..., Cells]] = {
    "torch": _torch,
    "keras": _keras,
    "cudnn": _cudnn,
    "onnx": _onnx,
}
