"""The face: a loaded model and its streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from tinyseq import backends, format, passes
from tinyseq.claim import Claim, claiming
from tinyseq.errors import FeedError, ModelError, StateError
from tinyseq.given import as_path, is_whole
from tinyseq.model import POSITION, Model, StatePair, Value, given_out
from tinyseq.model import Graph as ModelGraph
from tinyseq.state import Fields, State, described, restore, room
from tinyseq.text import printable, shown

if TYPE_CHECKING:
    from tinyseq.graph import Graph
    from tinyseq.passes.rows import FixedRows
    from tinyseq.plan.rows import RowLayout
    from tinyseq.pool import Pool
    from tinyseq.streaming import Streaming


class Session:
    """A model ready to run. Its weights are shared by all streams; it keeps no state of its own.

    ``run`` and ``stream`` may be called from several threads at once; one stream belongs to one
    thread at a time and refuses a second one.
    """

    def __init__(
        self, model: Model, device: str = "cpu", simple: Model | None = None, finite: bool = True
    ) -> None:
        self.model = model
        self.device = device
        self.finite = finite
        simple = passes.simplify(model) if simple is None else simple
        self._simple = simple
        self._backend = backends.create(device, simple, lambda: self.streaming.model, finite)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What ``run`` takes."""
        return self.model.graph.inputs

    @cached_property
    def outputs(self) -> tuple[Value, ...]:
        """What ``run`` gives; where the model does not say shapes, those that follow from its inputs'."""
        from tinyseq.passes.probe import with_shapes

        return with_shapes(self.model.graph.outputs, self._simple.graph)

    @property
    def state(self) -> tuple[StatePair, ...]:
        """What a stream carries from step to step; empty if the model cannot be streamed."""
        return () if self._refusal else self.streaming.model.state

    @property
    def stream_graph(self) -> ModelGraph:
        """What a stream computes in a step.

        Raises:
            ModelError: the model cannot be computed step by step; says which layer and why.
        """
        return self.streaming.model.graph

    @property
    def latency(self) -> int:
        """How many frames of its input a stream's outputs come late, the latest of them; ``Stream.finish``
        gives the rest. 0 if the model cannot be streamed."""
        return 0 if self._refusal else max(self.streaming.latency.values(), default=0)

    @property
    def steps_alike(self) -> bool:
        """Whether every step of a stream computes the same, wherever the stream is."""
        return not self._refusal and self.streaming.clock is None

    @property
    def stream_inputs(self) -> tuple[Value, ...]:
        """What a stream's model takes, state included; empty if the model cannot be streamed."""
        inputs = () if self._refusal else self.streaming.model.graph.inputs
        return tuple(value for value in inputs if value.name != POSITION)

    @property
    def stream_outputs(self) -> tuple[Value, ...]:
        """What a step of a stream gives; empty if the model cannot be streamed."""
        if self._refusal:
            return ()
        model = self.streaming.model
        return given_out(model.graph, {pair.output for pair in model.state})

    @cached_property
    def fingerprint(self) -> str:
        """What tells the model from others, whatever file it is loaded from; saved states carry it."""
        return format.fingerprint(self._simple)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs for whole inputs: takes an array of the dtype and shape of each of ``inputs``, by name,
        and gives a new array for each of ``outputs`` by name.

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
        streaming = self.streaming
        if self._fixed_rows is not None and self._fixed_rows.count > 1:
            raise ModelError(_too_many_rows(self._fixed_rows))
        return Stream(self, streaming, self._backend)

    def pool(self, count: int) -> Pool:
        """Room for ``count`` live streams that are stepped together, joining and leaving at any time.

        Raises:
            ModelError: the model cannot be computed step by step, or not many rows at a time; says why.
            FeedError: ``count`` is no number of rows.
            StateError: there is no memory for so many.
        """
        # Imported here: only those who pool streams should wait for it.
        from tinyseq.pool import Pool

        streaming = self.streaming
        if self._fixed_rows is not None and is_whole(count) and 0 < count < self._fixed_rows.count:
            raise ModelError(_too_many_rows(self._fixed_rows))
        return Pool(self, streaming, self._backend, count)

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

        return fixed_rows(self.streaming.model)

    def with_any_state(self) -> Session:
        """The same model, whose streams remember NaN and infinity too; see ``finite`` of ``load``."""
        return Session(self.model, self.device, self._simple, finite=False)

    def rows(self, layout: RowLayout, count: int) -> backends.RowRunner:
        """An executor of ``count`` streams whose state lies in rows.

        Raises:
            ModelError: the model cannot be computed step by step; says which layer and why.
        """
        if self.streaming.clock is not None:
            raise ModelError(
                "a search steps its models frame by frame, and this one holds frames back; step it by "
                "model.stream and search in what comes of it"
            )
        return self._backend.rows(layout, count)

    def __reduce__(self) -> NoReturn:
        raise ModelError(
            "a loaded model is not pickled or copied: share it among threads, and give other processes its "
            "path (model.save writes a file that loads in milliseconds)"
        )

    @property
    def streaming(self) -> Streaming:
        """What a stream computes in a step, which inputs and outputs have frames, and how late they come.

        Raises:
            ModelError: the model cannot be computed step by step; says which layer and why.
        """
        streaming, refusal = self._streaming_form
        if streaming is None:
            raise ModelError(f"{refusal}{self.doubts}") from refusal
        return streaming

    @property
    def _refusal(self) -> ModelError | None:
        return self._streaming_form[1]

    @cached_property
    def _notes(self) -> list[str]:
        from tinyseq.passes.time import notes

        return notes(self._simple, self.streaming)

    @cached_property
    def _streaming_form(self) -> tuple[Streaming | None, ModelError | None]:
        """Worked out when it is first asked for: who runs whole sequences need not wait for it."""
        from tinyseq.passes.time import streaming

        try:
            return streaming(self._simple), None
        except ModelError as error:
            return None, error

    @cached_property
    def doubts(self) -> str:
        """What is not known of the model's state, to be put behind a message that comes of it; empty if all
        is known."""
        return "".join(f". {doubt}" for doubt in self._doubts)

    def explain(self, error: FeedError) -> None:
        """Raises an error of a step with what is not known of the model's state, if there is any of it."""
        if self.doubts:
            raise FeedError(f"{error}{self.doubts}") from error

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Lets errors of a step say what is not known of the model's state."""
        try:
            yield
        except FeedError as error:
            self.explain(error)
            raise

    @cached_property
    def _doubts(self) -> tuple[str, ...]:
        # Imported here: only those who are in doubt should wait for it.
        from tinyseq.passes.pairs import doubts

        return doubts(self._simple if self._refusal else self.streaming.model, self.model.graph)

    def save(self, path: str | Path) -> None:
        """Writes the model in tinyseq's own format, which loads without any converter's package.

        The file appears whole or not at all; one that was there keeps its mode, a link stays a link.

        Args:
            path: a file that ends in ``.tinyseq``.

        Raises:
            ModelError: the name ends otherwise, stands for no file, or cannot be written to.
        """
        format.save(self._simple, as_path(path, "a model"))

    def __str__(self) -> str:
        lines = [f"tinyseq model ({self.model.origin or 'built in Python'}) on {self.device}"]
        lines += [f"  input   {value}" for value in self.inputs]
        lines += [f"  output  {value}" for value in self.outputs]
        if self._refusal:
            lines.append(f"  state   none: {self._refusal}")
        else:
            shapes = {value.name: value for value in self.stream_inputs}
            lines += [f"  state   {shapes[pair.input]} -> {pair.output}" for pair in self.state]
            late = {name: frames for name, frames in self.streaming.latency.items() if frames}
            lines += [f"  latency {name} {frames} frames" for name, frames in late.items()]
            lines += [f"  note    {note}" for note in self._notes]
        lines += [f"  open    {doubt}" for doubt in self._doubts]
        return "\n".join(map(printable, lines))

    __repr__ = __str__


def _too_many_rows(fixed: FixedRows) -> str:
    return (
        f"{fixed.node} runs on {fixed.count} rows, the number that the model was exported for, and a stream "
        f"is one row: use pool({fixed.count}) and step all of its rows together, or export the model with an "
        "open batch size"
    )


def loaded(given: object, what: str) -> Session:
    """A loaded model, which was given as ``what``.

    Raises:
        ModelError: it is something else.
    """
    if not isinstance(given, Session):
        raise ModelError(f"{what} is a loaded model, tinyseq.load(path), not {type(given).__name__}")
    return given


class Stream:
    """One live stream of a model: an explicit state, advanced by each step.

    Its inputs are the model's, less those that carry state. So are its outputs, but where the model has no
    others: what it gives is then also what it carries. Of a model that looks at frames to come, outputs are
    late: a step gives the frames that are complete, maybe none, and ``finish`` the rest. Every method raises
    a StateError while another thread, or the call that it is part of, is in one of them.
    """

    def __init__(self, session: Session, streaming: Streaming, backend: backends.Backend) -> None:
        self._session = session
        self._streaming = streaming
        self._backend = backend
        self._claim = Claim("stream")
        self._free = self._claim.free
        with room("the state of a stream"):
            self._runner = backends.moved(backend.runner(), streaming)
        self._state = Fields(self._runner.state)
        self.reset()

    @property
    def latency(self) -> int:
        """How many frames of the input the outputs come late, the latest of them."""
        return max(self._streaming.latency.values(), default=0)

    def step(
        self, feeds: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """Runs the model on the next chunk and advances the state.

        With ``out``, a dict of arrays for all outputs, results are written there and ``out`` is
        returned. They may overlap the feeds, which are read before, but neither each other nor the state.

        Raises:
            FeedError: names, dtypes or shapes do not fit, arrays overlap, or the state would hold NaN or
                infinity (see ``finite`` of ``load``); the state is as before.
            StateError: the stream has been finished.
        """
        # Claim.take, written out: a call of its own takes as long as the rest of what is done here.
        try:
            self._free.pop()
        except BaseException as error:
            self._claim.refuse(error)
        try:
            return self._runner.step(feeds, out)
        except FeedError as error:
            self._session.explain(error)
            raise
        finally:
            self._free.append(None)

    @claiming
    def finish(self, feeds: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Ends the stream: the outputs that are still due, after a last chunk or without one: ``feeds`` may
        leave out the inputs that have frames.

        Of a model whose outputs are never late, nothing is due: {} without a last chunk. After ``reset`` the
        stream begins anew.

        Raises:
            FeedError: names, dtypes or shapes do not fit; the state is as before.
            StateError: the stream has been finished before.
        """
        with self._session.explaining():
            if self._streaming.clock is None:
                return {} if feeds is None else self._runner.step(feeds, None)
            feeds = self._streaming.ending(feeds, 1)
            return self._runner.step(feeds, None, last=1)  # type: ignore[call-arg]  # it has a clock

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What a step gives."""
        return self._session.stream_outputs

    @claiming
    def reset(self) -> None:
        """Puts the state back to its start: the model's own initial values, else zeros."""
        for pair in self._streaming.model.state:
            self._state[pair.input][...] = 0 if pair.initial is None else pair.initial
        if POSITION in self._state:
            self._state[POSITION][...] = 0

    @property
    def state(self) -> Mapping[str, np.ndarray]:
        """The live arrays of the state, by name: what is written to them is the state. Names stay bound to
        their arrays: ``stream.state["h"][...] = value``, not ``stream.state["h"] = value``."""
        return self._state

    @claiming
    def snapshot(self) -> State:
        """A copy of the state."""
        return State(self._state, self._session)

    @claiming
    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot, of this or of another stream of the same model.

        Raises:
            StateError: it is of another model, or holds NaN or infinity; the state is as before.
        """
        restore(saved, self._state, self._session)

    def __repr__(self) -> str:
        return f"Stream({described(self._state)})"

    def __reduce__(self) -> NoReturn:
        raise StateError(
            "a stream is not pickled or copied: fork() makes a second one, snapshot() a value to pickle"
        )

    @claiming
    def fork(self) -> Stream:
        """A second stream that starts where this one is; from then on they are independent."""
        twin = Stream(self._session, self._streaming, self._backend)
        restore(self._state, twin._state)
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
        path: an ``.onnx`` file (or its bytes, for which no other file is read), a ``.keras`` or ``.h5`` file,
            a file that ``Session.save`` wrote, or a ``tinyseq.Graph``.
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
        raise ModelError(f"state names pairs by words, {{input: output}}, not {shown(dict(state))}")
    if not isinstance(finite, bool):
        raise ModelError(f"finite is True or False, not {shown(finite)}")
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
    if isinstance(path, bytes):
        return _onnx(path)
    if not isinstance(path, (str, Path)):
        return _built(path)
    path = as_path(path, "a model")
    suffix = path.suffix.lower()
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


def _onnx(path: Path | bytes) -> Model:
    from tinyseq.converters import onnx

    return onnx.load(path)


def _keras(path: Path) -> Model:
    from tinyseq.converters import keras

    return keras.load(path)


WEIGHT_FILES = (".pt", ".pth", ".safetensors", ".npz")
"""Suffixes of files that hold weights without a model."""

READERS: dict[str, Callable[[Path], Model]] = {
    format.SUFFIX: format.load,
    ".onnx": _onnx,
    ".keras": _keras,
    ".h5": _keras,
    ".hdf5": _keras,
}
"""What reads a file, by its suffix."""
