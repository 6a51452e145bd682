"""State: the explicit, named value of a stream between two steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from tinyseq.common.given import as_array, as_numbers
from tinyseq.common.text import printable, shown
from tinyseq.errors import StateError, TinyseqError

if TYPE_CHECKING:
    from tinyseq.runtime.session import Session

VERSION = 1
ENTRY = "tinyseq.state"
"""The version of saved states, and where their metadata says what they are."""


class State(Mapping[str, np.ndarray]):
    """A snapshot: read-only arrays by name, equal to the stream's state when it was taken.

    Snapshots of the same names, types, shapes and numbers are equal, NaN being equal to itself. ``model`` is
    whose state it is: a loaded model, or its fingerprint; empty where it is no one's in particular.

    Raises:
        StateError: a field is no array of numbers.
    """

    __module__ = "tinyseq"  # what pickles name, wherever this file lies

    def __init__(self, fields: Mapping[str, np.ndarray], model: Session | str = "") -> None:
        self._model = model
        if not isinstance(fields, Mapping):
            raise StateError(f"a state is a dict from name to array, not {type(fields).__name__}")
        self._fields = {name: _field(name, array) for name, array in fields.items()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return self.keys() == other.keys() and all(_same(array, other[name]) for name, array in self.items())

    __hash__ = None  # type: ignore[assignment]  # compared by value

    def __getitem__(self, name: str) -> np.ndarray:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"State({described(self)})"

    def __reduce__(self) -> tuple[type[State], tuple[dict[str, np.ndarray], str]]:
        """Pickled by its fields: what is unpickled is checked and read-only too."""
        return State, (dict(self), self.fingerprint)

    @property
    def fingerprint(self) -> str:
        """That of the model whose state it is; empty if it is no one's in particular."""
        return self._model if isinstance(self._model, str) else self._model.fingerprint

    def belongs_to(self, session: Session) -> bool:
        """Whether it may be the state of a model, as far as it says."""
        known = self._model is session or self._model == ""
        return known or self.fingerprint == session.fingerprint

    def to_bytes(self) -> bytes:
        """The state as a safetensors file, for ``State.from_bytes``. Its metadata has the version of this
        format, the fingerprint of the model and a checksum of it all."""
        # Imported here: only saved states need it.
        from tinyseq.ir.format import serialised

        fields = {name: np.asarray(array, order="C") for name, array in self.items()}
        notes = {"version": VERSION, "model": self.fingerprint}
        notes["checksum"] = _checksum(fields, notes)
        return serialised(fields, {ENTRY: json.dumps(notes)})

    @classmethod
    def from_bytes(cls, data: bytes) -> State:
        """The state that ``to_bytes`` wrote.

        Raises:
            StateError: the bytes are no saved state, damaged, or of a newer version.
        """
        # Imported here: only saved states need it.
        from tinyseq.ir.format import DAMAGE, parts

        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise StateError(f"a saved state is bytes, not {type(data).__name__}")
        data = bytes(data)
        what = f"these {len(data)} bytes"
        try:
            metadata, fields = parts(data)
            if ENTRY not in metadata:
                raise StateError(
                    f"{what} are a safetensors file, but no saved state: they have no version. "
                    "If an older tinyseq wrote them, restore(safetensors.numpy.load(data)) takes them"
                )
            notes = json.loads(metadata[ENTRY])
            if notes["version"] > VERSION:
                raise StateError(
                    f"{what} are a state of version {notes['version']}; this tinyseq reads {VERSION}"
                )
            checksum, state = notes.pop("checksum"), cls(fields, str(notes["model"]))
            sound = checksum == _checksum(state, notes)
        except DAMAGE as error:
            raise StateError(
                f"{what} are no saved state, or damaged ({error}); give all that to_bytes wrote"
            ) from error
        if not sound:
            raise StateError(f"{what} are a saved state that is damaged: their checksum differs")
        return state


def _checksum(fields: Mapping[str, np.ndarray], notes: Mapping[str, object]) -> str:
    """Of everything in a saved state."""
    from hashlib import sha256

    kinds = [(name, array.dtype.str, array.shape) for name, array in sorted(fields.items())]
    digest = sha256(repr((sorted(notes.items()), kinds)).encode())
    for _, array in sorted(fields.items()):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class Fields(dict[str, np.ndarray]):
    """A stream's live arrays by name, which stay what they are; only what is in them changes. Copies are
    dicts."""

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise StateError(
            "the arrays of a stream's state stay what they are: write into one, as stream.state[name][...] = "
            "value, or restore a dict of all of them"
        )

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[dict[str, np.ndarray]], tuple[dict[str, np.ndarray]]]:
        return dict, (dict(self),)


def described(fields: Mapping[str, np.ndarray]) -> str:
    """Names, types and shapes of a state's arrays, on one line."""
    return printable(", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in fields.items()))


def _field(name: object, given: object) -> np.ndarray:
    """A read-only copy of a field."""
    if not isinstance(name, str):
        raise StateError(f"the fields of a state have words for names, not {shown(name)}")
    array = np.array(as_numbers(given, f"field {name!r}", StateError))
    array.flags.writeable = False
    return array


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


@contextmanager
def room(what: str) -> Iterator[None]:
    """Explains that the memory for ``what`` is not there."""
    try:
        yield
    except TinyseqError:
        raise
    except (MemoryError, ValueError) as error:  # NumPy's ValueError: sizes beyond any machine
        raise StateError(f"{what} takes more memory than this machine gives: {error}") from error


def restore(
    saved: Mapping[str, np.ndarray], target: Mapping[str, np.ndarray], session: Session | None = None
) -> None:
    """Writes saved fields over a stream's own, all of them or none. Without the ``session`` of the stream,
    they are its own or another's of it.

    Raises:
        StateError: names, shapes or dtypes differ, the state is another model's, or it holds NaN or infinity
            where the model's must be finite.
    """
    if not isinstance(saved, Mapping):
        raise StateError(f"a state is a dict from name to array, not {type(saved).__name__}")
    if set(saved) != set(target):
        raise StateError(f"the saved state has fields {list(saved)}, this stream {list(target)}")
    if session is not None and isinstance(saved, State) and not saved.belongs_to(session):
        raise StateError(
            f"the saved state is of another model: its fingerprint is {saved.fingerprint[:12]}..., that of "
            f"this one {session.fingerprint[:12]}..."
        )
    fields = {name: _fitted(name, saved[name], array) for name, array in target.items()}
    if session is not None and session.finite:
        loose = {pair.input for pair in session.state if not pair.finite}
        for name in fields.keys() - loose:
            _check_finite(name, fields[name])
    for name, array in target.items():
        array[...] = fields[name]


def _fitted(name: str, saved: object, target: np.ndarray) -> np.ndarray:
    """A saved field as the stream holds it."""
    try:
        given = as_array(saved)
    except ValueError as error:
        raise StateError(f"field {name!r} is no array: {error}") from error
    if given.shape != target.shape or given.dtype.kind != target.dtype.kind:
        raise StateError(
            f"field {name!r} is {given.dtype}{list(given.shape)} and must be "
            f"{target.dtype}{list(target.shape)}"
        )
    with np.errstate(over="ignore"):
        field = given.astype(target.dtype)
    if not np.array_equal(np.isfinite(field), np.isfinite(given)):
        raise StateError(f"field {name!r} holds numbers too large for {target.dtype}")
    return field


def _check_finite(name: str, field: np.ndarray) -> None:
    if field.dtype.kind == "f" and not np.isfinite(field).all():
        raise StateError(
            f"field {name!r} holds NaN or infinity, which a stream would remember for ever; load the model "
            "with finite=False to restore it nevertheless"
        )
