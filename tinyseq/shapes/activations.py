"""What lists of activations of recurrent layers mean."""

from typing import TYPE_CHECKING, NamedTuple

from tinyseq.kernels.cells import CELLS
from tinyseq.shapes.common import Attributes, Mismatch
from tinyseq.shapes.recurrent import direction_count

if TYPE_CHECKING:
    from tinyseq.kernels.activations import Activation


class CellFunction(NamedTuple):
    """An activation function of a cell; ``alpha`` and ``beta`` are 0 where it has none."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0


def cell_functions(attributes: Attributes) -> list[list[CellFunction]]:
    """For each direction the cell's functions, in the order of the specification.

    Alphas and betas are taken from their lists in order, by the functions that have one.
    """
    names = attributes["activations"]
    directions = direction_count(attributes)
    if names is None:
        return [[CellFunction(name) for name in _usual(attributes)] for _ in range(directions)]
    alphas, betas = (list(attributes[f"activation_{name}"] or ()) for name in ("alpha", "beta"))
    given = {"alpha": alphas, "beta": betas}
    functions = [
        CellFunction(
            name, **{kind: _parameter(name, kind, given[kind]) for kind in _table()[name].parameters}
        )
        for name in names
    ]
    for kind, left in (("alpha", alphas), ("beta", betas)):
        if left:
            raise Mismatch(
                f"activation_{kind} has {len(left)} more than the activations {', '.join(names)} take"
            )
    count = len(functions) // directions
    return [functions[d * count : (d + 1) * count] for d in range(directions)]


def _table() -> "dict[str, Activation]":
    # Imported here: few layers name their activations.
    from tinyseq.kernels.activations import ACTIVATIONS

    return ACTIVATIONS


def _usual(attributes: Attributes) -> tuple[str, ...]:
    """The functions of a layer that names none."""
    if "input_forget" in attributes:
        return CELLS["LSTM"].activations
    return CELLS["GRU, reset after" if "linear_before_reset" in attributes else "RNN"].activations


def _parameter(name: str, kind: str, given: list[float]) -> float:
    if given:
        return float(given.pop(0))
    default = _table()[name].parameters[kind]
    if default is None:
        raise Mismatch(f"{name} has no default {kind}; give activation_{kind}")
    return default


def check(attributes: Attributes) -> None:
    """Refuses lists of activations that do not fit the layer."""
    count = len(_usual(attributes)) * direction_count(attributes)
    names = attributes["activations"]
    if names is not None:
        for name in names:
            if name not in _table():
                raise Mismatch(f"activations names {name!r}; the specification has {', '.join(_table())}")

        if len(names) != count:
            raise Mismatch(f"{len(names)} activations where {count} are needed")
    elif attributes["activation_alpha"] or attributes["activation_beta"]:
        raise Mismatch("activation_alpha or activation_beta without activations; the default ones take none")
    cell_functions(attributes)
    if attributes["clip"] is not None and attributes["clip"] < 0:
        raise Mismatch(f"clip={attributes['clip']} is negative")
