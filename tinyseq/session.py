"""The face: a loaded model and its streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from tinyseq import backends, format, passes
from tinyseq.errors import FeedError, ModelError, StateError
from tinyseq.model import Graph as ModelGraph
from tinyseq.model import Model, StatePair, Value, given_out
from tinyseq.state import State, restore, room

if TYPE_CHECKING:
    from tinyseq.graph import Graph
    from tinyseq.passes.rows import FixedRows
    from tinyseq.plan.rows import RowLayout
    from tinyseq.pool import Pool


class Session:
    """A model ready to run. Its weights are shared by all streams; it keeps no state of its own.

    ``run`` and ``stream`` may be called from several threads at once; one stream belongs to one
    thread at a time.
    """

    def __init__(
        self, model: Model, device: str = "cpu", simple: Model | None = None, finite: bool = True
    ) -> None:
        self.model = model
        self.device = device
        self.finite = finite
        simple = passes.simplify(model) if simple is None else simple
        self._simple = simple
        self._streaming, self._refusal = _streaming_form(simple)
        self._backend = backends.create(device, simple, self._streaming, finite)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What ``run`` takes."""
        return self.model.graph.inputs

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What ``run`` gives."""
        return self.model.graph.outputs

    @property
    def state(self) -> tuple[StatePair, ...]:
        """What a stream carries from step to step; empty if the model cannot be streamed."""
        return () if self._streaming is None else self._streaming.state

    @property
    def stream_graph(self) -> ModelGraph:
        """What a stream computes in a step.

        Raises:
            ModelError: the model cannot be computed step by step; says which layer and why.
        """
        self._check_streaming()
        return self._streaming.graph

    @property
    def stream_inputs(self) -> tuple[Value, ...]:
        """What a stream's model takes, state included; empty if the model cannot be streamed."""
        return () if self._streaming is None else self._streaming.graph.inputs

    @property
    def stream_outputs(self) -> tuple[Value, ...]:
        """What a step of a stream gives; empty if the model cannot be streamed."""
        if self._streaming is None:
            return ()
        return given_out(self._streaming.graph, {pair.output for pair in self._streaming.state})

    @cached_property
    def fingerprint(self) -> str:
        """What tells the model from others, whatever file it is loaded from; saved states carry it."""
        return format.fingerprint(self._simple)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs for whole inputs, from name to array to name to new array.

        Raises:
            FeedError: names, dtypes or shapes do not fit the model.
        """
        return self._backend.run(feeds)

    def stream(self) -> Stream:
        """A new stream: one row of state, at its start.

        Raises:
            ModelError: the model cannot be computed step by step; says which layer and why.
            StateError: there is no memory for the state.
        """
        self._check_streaming()
        if self._fixed_rows is not None and self._fixed_rows.count > 1:
            raise ModelError(self._too_many_rows)
        return Stream(self, self._streaming, self._backend)

    def pool(self, count: int) -> Pool:
        """Room for ``count`` live streams that are stepped together, joining and leaving at any time.

        Raises:
            ModelError: the model cannot be computed step by step, or not many rows at a time; says why.
            FeedError: ``count`` is no number of rows.
            StateError: there is no memory for so many.
        """
        # Imported here: only those who pool streams should wait for it.
        from tinyseq.pool import Pool

        self._check_streaming()
        if isinstance(count, (int, np.integer)) and 0 < count < self.rows_of_model:
            raise ModelError(self._too_many_rows)
        return Pool(self, self._streaming, self._backend, count)

    @property
    def rows_of_model(self) -> int:
        """How many rows the model was exported for; 0 where that is open, or its states alone tell."""
        return 0 if self._fixed_rows is None else self._fixed_rows.count

    @cached_property
    def _fixed_rows(self) -> FixedRows | None:
        carried = {pair.input for pair in self.state}
        shapes = [value.shape or () for value in self.stream_inputs if value.name not in carried]
        if not any(isinstance(size, int) for shape in shapes for size in shape[:-1]):
            return None
        # Imported here: few models have fixed sizes.
        from tinyseq.passes.rows import fixed_rows

        return fixed_rows(self._streaming)

    @property
    def _too_many_rows(self) -> str:
        node, count = self._fixed_rows
        return (
            f"{node} runs on {count} rows, the number that the model was exported for, and a stream is one "
            f"row: use pool({count}) and step all of its rows together, or export the model with an open "
            "batch size"
        )

    def rows(self, layout: RowLayout, count: int) -> backends.RowRunner:
        """An executor of ``count`` streams whose state lies in rows.

        Raises:
            ModelError: the model cannot be computed step by step; says which layer and why.
        """
        self._check_streaming()
        return self._backend.rows(layout, count)

    def __reduce__(self) -> NoReturn:
        raise ModelError(
            "a loaded model is not pickled or copied: share it among threads, and give other processes its "
            "path (model.save writes a file that loads in milliseconds)"
        )

    def _check_streaming(self) -> None:
        if self._streaming is None:
            raise ModelError(f"{self._refusal}{self.doubts}") from self._refusal

    @cached_property
    def doubts(self) -> str:
        """What is not known of the model's state, to be put behind a message that comes of it; empty if all
        is known."""
        return "".join(f". {doubt}" for doubt in self._doubts)

    def explain(self, error: FeedError) -> None:
        """Raises an error of a step with what is not known of the model's state, if there is any of it."""
        if self.doubts:
            raise FeedError(f"{error}{self.doubts}") from error

    @cached_property
    def _doubts(self) -> tuple[str, ...]:
        # Imported here: only those who are in doubt should wait for it.
        from tinyseq.passes.pairs import doubts

        return doubts(self._streaming or self._simple, self.model.graph)

    def save(self, path: str | Path) -> None:
        """Writes the model in tinyseq's own format, which loads without any converter's package."""
        format.save(self._simple, path)

    def __str__(self) -> str:
        lines = [f"tinyseq model ({self.model.origin or 'built in Python'}) on {self.device}"]
        lines += [f"  input   {value}" for value in self.inputs]
        lines += [f"  output  {value}" for value in self.outputs]
        if self._streaming is None:
            lines.append(f"  state   none: {self._refusal}")
        else:
            shapes = {value.name: value for value in self.stream_inputs}
            lines += [f"  state   {shapes[pair.input]} -> {pair.output}" for pair in self.state]
        lines += [f"  open    {doubt}" for doubt in self._doubts]
        return "\n".join(lines)

    __repr__ = __str__


def loaded(given: object, what: str) -> Session:
    """A loaded model, which was given as ``what``.

    Raises:
        ModelError: it is something else.
    """
    if not isinstance(given, Session):
        raise ModelError(f"{what} is a loaded model, tinyseq.load(path), not {type(given).__name__}")
    return given


def _streaming_form(model: Model) -> tuple[Model | None, ModelError | None]:
    try:
        return passes.expose_state(model), None
    except ModelError as error:
        return None, error


class Stream:
    """One live stream of a model: an explicit state, advanced by each step.

    Its inputs are the model's, less those that carry state. So are its outputs, but where the model has no
    others: what it gives is then also what it carries.
    """

    def __init__(self, session: Session, model: Model, backend: backends.Backend) -> None:
        self._session = session
        self._model = model
        self._backend = backend
        with room("the state of a stream"):
            self._runner = backend.runner()
        self.reset()

    def step(
        self, feeds: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """Runs the model on the next chunk and advances the state.

        With ``out``, a dict of arrays for all outputs, results are written there and ``out`` is
        returned.

        Raises:
            FeedError: names, dtypes or shapes do not fit, or the state would hold NaN or infinity (see
                ``finite`` of ``load``); the state is as before.
        """
        try:
            return self._runner.step(feeds, out)
        except FeedError as error:
            self._session.explain(error)
            raise

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What a step gives."""
        return self._session.stream_outputs

    def reset(self) -> None:
        """Puts the state back to its start: the model's own initial values, else zeros."""
        for pair in self._model.state:
            self._runner.state[pair.input][...] = 0 if pair.initial is None else pair.initial

    @property
    def state(self) -> dict[str, np.ndarray]:
        """The live arrays of the state, by name: what is written to them is the state."""
        return self._runner.state

    def snapshot(self) -> State:
        """A copy of the state."""
        return State(self._runner.state, self._session)

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot, of this or of another stream of the same model.

        Raises:
            StateError: it is of another model, or holds NaN or infinity; the state is as before.
        """
        restore(saved, self._runner.state, self._session)

    def __reduce__(self) -> NoReturn:
        raise StateError(
            "a stream is not pickled or copied: fork() makes a second one, snapshot() a value to pickle"
        )

    def fork(self) -> Stream:
        """A second stream that starts where this one is; from then on they are independent."""
        twin = Stream(self._session, self._model, self._backend)
        restore(self._runner.state, twin.state)
        return twin


def load(
    path: str | Path | bytes | Graph,
    *,
    device: str = "cpu",
    state: Mapping[str, str] | None = None,
    finite: bool = True,
) -> Session:
    """Loads a model.

    Args:
        path: an ``.onnx`` file (or its bytes), a ``.keras`` or ``.h5`` file, a file that ``Session.save``
            wrote, or a ``tinyseq.Graph``.
        device: ``"cpu"``; ``"cuda"`` for the first CUDA device; ``"reference"`` for the float64 interpreter.
        state: the outputs that carry state to inputs, ``{input: output}``; without it they are found by
            dataflow, and by name and shape where that leaves it open.
        finite: whether a step of a stream is refused that would leave NaN or infinity in its state, and so in
            all that comes after; False lets a state remember all numbers.

    Raises:
        ModelError: the file cannot be read, or holds what tinyseq cannot run.
        DeviceError: the package, the driver or the device that ``"cuda"`` needs is missing; says which.
    """
    model = read(path)
    if state is not None and not isinstance(state, Mapping):
        raise ModelError(f"state names pairs as a dict, {{input: output}}, not {type(state).__name__}")
    if state is not None and not all(isinstance(name, str) for name in (*state, *state.values())):
        raise ModelError(f"state names pairs by words, {{input: output}}, not {dict(state)!r}")
    if not isinstance(finite, bool):
        raise ModelError(f"finite is True or False, not {finite!r}")
    simple = passes.simplify(model)
    if state is not None or not (model.state or _is_own(path)):
        # Imported here: files that tell their state need no search for it.
        from tinyseq.passes.pairs import find_state, name_state

        file = model.graph
        simple = find_state(simple, file) if state is None else name_state(simple, file, dict(state))
    return Session(model.with_state(simple.state), device, simple, finite)


def _is_own(path: object) -> bool:
    """Whether a file tells of its model's state all that was known when it was saved."""
    return isinstance(path, (str, Path)) and Path(path).suffix.lower() == ".tinyseq"


def read(path: str | Path | bytes | Graph) -> Model:
    """The Model of a graph or of a file, by its suffix; bytes are taken for ONNX."""
    if isinstance(path, (bytearray, memoryview)):
        path = bytes(path)
    if not isinstance(path, (str, Path, bytes)):
        return _built(path)
    suffix = ".onnx" if isinstance(path, bytes) else Path(path).suffix.lower()
    if suffix not in READERS:
        if suffix in WEIGHT_FILES:
            raise ModelError(
                f"{path} holds weights without a model: build the model they belong to with tinyseq.Graph, "
                f"reading them with tinyseq.converters.weights.read; tinyseq inspect {path} lists them. "
                f"Models are read from {', '.join(READERS)}"
            )
        raise ModelError(
            f"{path}: the suffix tells the format; tinyseq reads models from {', '.join(READERS)} and "
            f"weights from {', '.join(WEIGHT_FILES)}"
        )
    return READERS[suffix](path)


def _built(graph: object) -> Model:
    # Imported here: only those who build graphs should wait for the builder.
    from tinyseq.graph import Graph

    if isinstance(graph, Graph):
        return graph.model()
    raise ModelError(f"a model is a path, bytes or a Graph, not {type(graph).__name__}")


def _onnx(path: str | Path | bytes) -> Model:
    from tinyseq.converters import onnx

    return onnx.load(path)


def _keras(path: str | Path | bytes) -> Model:
    from tinyseq.converters import keras

    return keras.load(path)


WEIGHT_FILES = (".pt", ".pth", ".safetensors", ".npz")
"""Suffixes of files that hold weights without a model."""

READERS: dict[str, Callable[[str | Path | bytes], Model]] = {
    ".tinyseq": format.load,
    ".onnx": _onnx,
    ".keras": _keras,
    ".h5": _keras,
    ".hdf5": _keras,
}
"""What reads a file, by its suffix."""
