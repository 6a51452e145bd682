"""Session: a loaded model, which runs whole sequences and opens streams and pools."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from tinyseq import backends, passes
from tinyseq.common.given import as_path, is_whole
from tinyseq.common.text import printable
from tinyseq.errors import ChunkWarning, FeedError, ModelError
from tinyseq.ir import format
from tinyseq.ir.model import (
    POSITION,
    Model,
    ModelGraph,
    Node,
    StatePair,
    Value,
    constants_of,
    given_out,
    layers,
)
from tinyseq.ir.weights import is_large
from tinyseq.runtime.form import StreamingForm
from tinyseq.runtime.stream import Stream

if TYPE_CHECKING:
    from pathlib import Path

    from tinyseq.ir.streaming import Streaming
    from tinyseq.passes.rows import Fed, FixedRows
    from tinyseq.plan.rows import RowLayout
    from tinyseq.runtime.pool import Pool

MOST_OVERRIDING = 8
"""Choices of defaults that have been fed for which a session keeps what runs them."""


class Session:
    """A model ready to run. Its weights are shared by all streams; it keeps no state of its own, nor what
    rounded weights were before, but where constants may be fed.

    ``run`` and ``stream`` may be called from several threads at once; one stream belongs to one
    thread at a time and refuses a second one.
    """

    def __init__(
        self,
        model: Model,
        device: str = "cpu",
        simple: Model | None = None,
        finite: bool = True,
        precision: str | None = None,
        keep: Collection[str] = (),
        threads: int = 1,
    ) -> None:
        self.device = device
        self.finite = finite
        self.precision = precision = model.precision if precision is None else precision
        self.keep = keep
        self.threads = threads
        backends.check_precision(device, precision, keep)
        backends.check_threads(device, threads)
        simple = passes.simplify(model) if simple is None else simple
        self._defaults = frozenset([value.name for value in model.defaults])
        self._layers = layers(model.graph)
        rounds = backends.rounds_weights(device, precision)
        if not backends.EXACT == rounds == simple.precision:
            # Imported here: only narrow weights need it.
            from tinyseq.passes.narrow import both_with_precision

            simple, model = both_with_precision(simple, model, rounds, keep)
        model = model if model.defaults else simple
        if any(map(is_large, constants_of(simple.graph))):
            # Imported here: small models have no constants that are worth it.
            from tinyseq.passes.weights import held_once
            from tinyseq.plan.packing import as_segment

            simple, model = held_once(simple, model, as_segment)
        self.model = model
        self._simple = simple
        self._overriding: dict[frozenset[str], Session] = {}
        self._form = StreamingForm(simple)
        # Of the form alone: a session whose backend knew it would not be freed before cycles are looked for.
        self._backend = backends.create(device, simple, self._form.model, finite, precision, threads)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What ``run`` takes."""
        return self.model.graph.inputs

    @cached_property
    def outputs(self) -> tuple[Value, ...]:
        """What ``run`` gives; where the model does not say sizes, those that follow from its inputs'."""
        from tinyseq.passes.probe import with_shapes

        return with_shapes(self.model.graph.outputs, self._simple.graph)

    @property
    def state(self) -> tuple[StatePair, ...]:
        """What a stream carries from step to step; empty if the model cannot be streamed."""
        return () if self._refusal else self.streaming.model.state

    @property
    def streams(self) -> bool:
        """Whether the model can be computed step by step."""
        return not self._refusal

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

    @property
    def computed(self) -> Model:
        """The model that is computed: the simplified one, with the weights that the precision leaves."""
        return self._simple

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs for whole inputs: takes an array of the dtype and shape of each of ``inputs``, by name,
        and gives a new array for each of ``outputs`` by name. Inputs that have a default in an ONNX file,
        ``model.defaults``, may be fed too; streams and pools keep it. Other threads write to none of these
        arrays meanwhile.

        Raises:
            FeedError: names, dtypes or shapes do not fit the model.
        """
        if self._defaults and isinstance(feeds, Mapping) and not self._defaults.isdisjoint(feeds):
            return self._overridden(self._defaults.intersection(feeds)).run(feeds)
        return self._backend.run(feeds)

    def _overridden(self, names: frozenset[str]) -> Session:
        """The same model, some of whose constants are inputs."""
        found = self._overriding.get(names)
        if found is None:
            # Imported here: few are fed.
            from tinyseq.passes.narrow import with_precision

            model = self.model.with_inputs(names)
            rounds = backends.rounds_weights(self.device, self.precision)
            simple = with_precision(passes.simplify(model), rounds, self.keep, anew=True)
            found = Session(model, self.device, simple, self.finite, self.precision, self.keep, self.threads)
            if len(self._overriding) >= MOST_OVERRIDING:
                self._overriding.clear()
            self._overriding[names] = found
        return found

    def stream(self) -> Stream:
        """A new stream: one row of state, at its start.

        Raises:
            ModelError: the model cannot be computed step by step; says which layer and why.
            StateError: there is no memory for the state.
        """
        streaming = self.streaming
        if self._fixed_rows is not None and self._fixed_rows.count > 1:
            raise ModelError(_too_many_rows(self._fixed_rows))
        self._warn_of_chunks()
        return Stream(self, streaming, self._backend)

    def pool(self, count: int) -> Pool:
        """Room for ``count`` live streams that are stepped together, joining and leaving at any time.

        Raises:
            ModelError: the model cannot be computed step by step, or not many rows at a time; says why.
            FeedError: ``count`` is no number of rows.
            StateError: there is no memory for so many.
        """
        # Imported here: only those who pool streams should wait for it.
        from tinyseq.runtime.pool import Pool

        streaming = self.streaming
        if self._fixed_rows is not None and is_whole(count) and 0 < count < self._fixed_rows.count:
            raise ModelError(_too_many_rows(self._fixed_rows))
        self._warn_of_chunks()
        return Pool(self, streaming, self._backend, count)

    def _warn_of_chunks(self) -> None:
        if self.chunks_differ:
            warnings.warn(self.chunks_differ, ChunkWarning, stacklevel=3)

    @cached_property
    def chunks_differ(self) -> str:
        """What makes chunks of a stream give other results than a run of the whole, where a step is a call of
        the model; empty if nothing is known to."""
        from tinyseq.ir.streaming import calls_with_layers

        if not calls_with_layers(self._simple, self.streaming):
            return ""
        # Imported here: few models are told their state.
        from tinyseq.passes.chunks import unlike_a_run

        return unlike_a_run(self._simple)

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

    @cached_property
    def rows_fed(self) -> tuple[Fed, ...]:
        """Inputs and axes, one or another group of which is as long as a step of a pool has rows."""
        # Imported here: only those who pool streams should wait for it.
        from tinyseq.passes.rows import rows_fed

        return rows_fed(self.streaming)

    @cached_property
    def rows_meeting(self) -> Node | None:
        """A node at which the rows of a step would see each other; None where none is known."""
        # Imported here: only those who pool streams should wait for it.
        from tinyseq.passes.rows import meeting

        return meeting(self.streaming, self.rows_fed)

    def with_any_state(self) -> Session:
        """The same model, whose streams remember NaN and infinity too; see ``finite`` of ``load``."""
        found = Session(self.model, self.device, self._simple, False, self.precision, self.keep, self.threads)
        found._layers = self._layers
        return found

    def rows(self, layout: RowLayout, count: int) -> backends.RowRunner:
        """An executor of ``count`` streams whose state lies in rows.

        Raises:
            ModelError: the model cannot be computed step by step; says which layer and why.
        """
        if self.streaming.clock is not None or self.streaming.places:
            what = "numbers its frames" if self.streaming.clock is None else "holds frames back"
            raise ModelError(
                f"a search steps its models frame by frame, and this one {what}; step it by model.stream and "
                "search in what comes of it"
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
        try:
            return self._form.streaming()
        except ModelError as refusal:
            raise ModelError(f"{refusal}{self.doubts}") from refusal

    @property
    def _refusal(self) -> str:
        return self._form.made[1]

    @cached_property
    def _notes(self) -> list[str]:
        from tinyseq.passes.time import notes

        return notes(self._simple, self.streaming)

    @cached_property
    def doubts(self) -> str:
        """What is not known of the model's state, to be put behind a message that comes of it; empty if all
        is known."""
        return "".join(f". {doubt}" for doubt in self._doubts)

    def explain(self, error: FeedError, feeds: object, one_row: bool = False) -> None:
        """Raises an error of a step for such feeds, of ``one_row`` or of several, with what is strange about
        their sizes and what is not known of the model's state, if there is any of it."""
        # Imported here: only errors are explained.
        from tinyseq.runtime.hints import hints

        if found := hints(self, feeds, one_row) + self.doubts:
            raise FeedError(f"{error}{found}") from error

    @contextmanager
    def explaining(self, feeds: object, one_row: bool = False) -> Iterator[None]:
        """Lets errors of a step be explained."""
        try:
            yield
        except FeedError as error:
            self.explain(error, feeds, one_row)
            raise

    @cached_property
    def _doubts(self) -> tuple[str, ...]:
        # Imported here: only those who are in doubt should wait for it.
        from tinyseq.passes.pairs import doubts

        return doubts(self._simple if self._refusal else self.streaming.model, self._layers)

    def save(self, path: str | Path) -> None:
        """Writes the model in tinyseq's own format, which loads without any converter's package. What inputs
        of an ONNX file have by default is then fixed. Weights that ``precision`` rounds are written as they
        are, narrow, and loaded as they were written.

        The file appears whole or not at all; one that was there keeps its mode, a link stays a link.

        Args:
            path: a file that ends in ``.tinyseq``.

        Raises:
            ModelError: the name ends otherwise, stands for no file, or cannot be written to.
        """
        format.save(self._simple, as_path(path, "a model"))

    def __str__(self) -> str:
        more = "" if self.precision == backends.EXACT else f", {self.precision}"
        more += f", {self.threads} threads" if self.threads > 1 else ""
        lines = [f"tinyseq model ({self.model.origin or 'built in Python'}) on {self.device}{more}"]
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
