"""Decoder: what of a model, or of an encoder and a decoder, a generation steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tinyseq.common.given import is_one_of
from tinyseq.common.idle import Idle
from tinyseq.common.text import printable, shown
from tinyseq.decode.generation.batches import Batch, merged, rows_back, rows_first
from tinyseq.decode.generation.search import Search
from tinyseq.decode.generation.steps import DecoderSteps
from tinyseq.errors import FeedError, ModelError, OptionError
from tinyseq.ir.feeds import checked_array
from tinyseq.ir.model import ModelGraph, StatePair, Value
from tinyseq.kernels.instructions import LOG_PROBABILITIES, LOGITS, PROBABILITIES
from tinyseq.passes.names import alike
from tinyseq.runtime.rows import RowStepper
from tinyseq.runtime.session import Session, loaded

Feeds = Mapping[str, object]

KINDS = {"logits": LOGITS, "log_probabilities": LOG_PROBABILITIES, "probabilities": PROBABILITIES}
_MAKERS = {"Softmax": PROBABILITIES, "LogSoftmax": LOG_PROBABILITIES}
_NO_FEEDS = "inputs are a dict from name to array, or a list of such, not {}"


class GivenInput(NamedTuple):
    """An input that the user gives: where it has its rows, None without any, and whether it must be there."""

    value: Value
    axis: int | None
    needed: bool


def kind_of(graph: ModelGraph, scores: str, given: str | None) -> int:
    """What an output's scores are, as the user says, or by what made them."""
    if given is not None:
        if not isinstance(given, str) or given not in KINDS:
            raise OptionError(f"kind={shown(given)} is unknown; scores are {', '.join(KINDS)}")
        return KINDS[given]
    makers = {name: node for node in graph.nodes for name in node.outputs}
    node = makers.get(scores)
    while node is not None and node.row.keeps_values:
        node = makers.get(node.inputs[0])
    return LOGITS if node is None else _MAKERS.get(node.op, LOGITS)


class Decoder:
    """A model that gives scores of the next token, and what must be known of it to generate.

    Each step it is given the last token of each row and its state, and gives scores and the next state.
    Inputs that are neither, such as the encoder's outputs, are the same in each step.

    Args:
        decoder: the loaded model.
        encoder: the loaded model that is run first, once; its outputs and inputs become inputs and initial
            state of the decoder, by name: equal, or equal in all words that do not say the direction.
        tokens: the input for the last token; without it, the one integer input that nothing else gives.
        scores: the output that has the scores; without it, the one output that carries no state.
        kind: what the scores are: ``"logits"``, ``"log_probabilities"`` or ``"probabilities"``; without it,
            what made them tells: LogSoftmax, Softmax, or anything else: logits.
        attention: the output that has the attention, [rows, ..., positions] with sizes of 1 between.
        rows: the name of the dimension that is the rows'; without it, the first dimension of the tokens
            that has a name and that all state has too.
        connect: the encoder's output or input for an input of the decoder, ``{input: name}``.

    Raises:
        ModelError: one of these cannot be found out; says what to name.
        OptionError: ``kind`` or ``connect`` is of another kind.
    """

    def __init__(
        self,
        decoder: Session,
        encoder: Session | None = None,
        *,
        tokens: str | None = None,
        scores: str | None = None,
        kind: str | None = None,
        attention: str | None = None,
        rows: str | None = None,
        connect: Mapping[str, str] | None = None,
    ) -> None:
        self.session = loaded(decoder, "a decoder")
        self.encoder = None if encoder is None else loaded(encoder, "an encoder")
        self._graph: ModelGraph = decoder.stream_graph
        self._pairs: Sequence[StatePair] = decoder.state
        self._inputs = {value.name: value for value in self._graph.inputs}
        if connect is not None and not isinstance(connect, Mapping):
            raise OptionError(f"connect is a dict from input to name, not {type(connect).__name__}")
        self._connect = self._connections(dict(connect or {}))
        self.tokens = self._token_input(tokens)
        self.attention = attention
        self.scores = self._score_output(scores)
        self.kind = kind_of(self._graph, self.scores, kind)
        self._rows = self._row_dimension(rows)
        axes = {name: self._axis(value) for name, value in self._inputs.items()}
        self.axes = {name: axis for name, axis in axes.items() if axis is not None}
        self._taken = self._given_inputs()
        self.idle: Idle[Search] = Idle(lambda search: search.release())
        """Searches that have ended, for generations like theirs."""

    def __repr__(self) -> str:
        state = ", ".join(pair.input for pair in self._pairs) or "none"
        behind = "" if self.encoder is None else ", with an encoder"
        return printable(f"Decoder(tokens {self.tokens}, scores {self.scores}, state {state}{behind})")

    def _connections(self, given: dict[str, str]) -> dict[str, str]:
        """Where the encoder gives what the decoder takes."""
        if self.encoder is None:
            if given:
                raise ModelError("connect names what an encoder gives; give the encoder too")
            return {}
        offered = [value.name for value in (*self.encoder.outputs, *self.encoder.inputs)]
        for name, source in given.items():
            if not is_one_of(name, self._inputs) or not is_one_of(source, offered):
                raise ModelError(
                    f"connect={shown({name: source})}: the decoder takes {', '.join(self._inputs)}, the "
                    f"encoder gives {', '.join(offered)}"
                )
        for name in self._inputs:
            for values in (self.encoder.outputs, self.encoder.inputs):
                names = [value.name for value in values]
                fitting = [each for each in names if each == name]
                fitting += [each for each in names if alike(name, each)]
                if name not in given and fitting:
                    given[name] = fitting[0]
        return given

    def _token_input(self, name: str | None) -> str:
        carried = {pair.input for pair in self._pairs}
        free = [
            value.name
            for value in self._graph.inputs
            if value.dtype.kind in "iu" and value.name not in carried and value.name not in self._connect
        ]
        if name is not None:
            if not is_one_of(name, self._inputs):
                raise ModelError(f"tokens={shown(name)}: the decoder takes {', '.join(self._inputs)}")
            return name
        if len(free) != 1:
            raise ModelError(
                f"the decoder takes {', '.join(map(str, self._inputs.values()))}; which is for the last "
                f"token? name it with tokens={self.session.doubts}"
            )
        return free[0]

    def _score_output(self, name: str | None) -> str:
        names = [value.name for value in self._graph.outputs]
        results = set(names) - {value.name for value in self.session.stream_outputs}
        for given, what in ((name, "scores"), (self.attention, "attention")):
            if given is not None and (not is_one_of(given, names) or given in results):
                raise ModelError(f"{what}={shown(given)}: the decoder gives {', '.join(names)}")
        if name is not None:
            return name
        free = [each for each in names if each not in results and each != self.attention]
        if len(free) != 1:
            raise ModelError(
                f"the decoder gives {', '.join(names)}; which are the scores of the next token? "
                f"name them with scores=, and the attention with attention={self.session.doubts}"
            )
        return free[0]

    def _row_dimension(self, given: str | None) -> str:
        value = self._inputs[self.tokens]
        open_sizes = [size for size in value.shape or () if isinstance(size, str)]
        if is_one_of(given, open_sizes):
            return given
        states = [self._inputs[pair.input].shape for pair in self._pairs if self._named(pair.input)]
        fitting = [size for size in open_sizes if all(size in shape for shape in states)]
        if not fitting or given is not None:
            raise ModelError(
                f"the decoder's tokens are {value}; "
                + (
                    f"rows={shown(given)} is none of their dimensions"
                    if given is not None
                    else "no dimension is open for rows"
                )
                + "; export the model with an open batch size and name it with rows="
            )
        return fitting[0]

    def _named(self, name: str) -> bool:
        """Whether the file names the dimensions of an input; those of hidden state are made up."""
        return any(value.name == name for value in self.session.inputs)

    def _axis(self, value: Value) -> int | None:
        """Where an input has its rows; None if it has none."""
        shape = value.shape
        if shape is None:
            raise ModelError(f"input {value.name!r} of the decoder has an unknown shape, and so unknown rows")
        if self._rows in shape:
            return shape.index(self._rows)
        if not any(value.name == pair.input for pair in self._pairs):
            return None
        open_axes = [axis for axis, size in enumerate(shape) if isinstance(size, str)]
        if len(open_axes) != 1:
            raise ModelError(
                f"state {value} of the decoder has no dimension {self._rows!r} for rows; export the model "
                "with an open batch size, or name its dimension with rows="
            )
        return open_axes[0]

    # Inputs, encoded and put together.

    def batches(self, feeds: Feeds | Sequence[Feeds]) -> list[Batch]:
        """The inputs in batches of equal shapes, through the encoder.

        Raises:
            FeedError: one is missing or does not fit.
        """
        given = []
        count = 0
        try:
            listed = [feeds] if isinstance(feeds, Mapping) else list(feeds)
        except TypeError as error:
            raise FeedError(_NO_FEEDS.format(type(feeds).__name__)) from error
        for one in listed:
            rows, parts, fixed = self._split(one)
            given.append(Batch(list(range(count, count + rows)), parts, fixed))
            count += rows
        whole = merged(given)
        if self.encoder is not None:
            whole = merged([self._encoded(batch) for batch in whole])
        return whole

    def _split(self, feeds: Feeds) -> tuple[int, dict, dict]:
        """How many rows an input has, its arrays that have them, rows first, and those that do not."""
        if not isinstance(feeds, Mapping):
            raise FeedError(_NO_FEEDS.format(type(feeds).__name__))
        unknown = [name for name in feeds if not is_one_of(name, self._taken)]
        missing = [name for name, port in self._taken.items() if port.needed and name not in feeds]
        if unknown or missing:
            problems = [f"missing {name!r}" for name in missing]
            problems += [f"unknown {shown(name)}" for name in unknown]
            raise FeedError(f"inputs do not match: {', '.join(problems)}; taken are {', '.join(self._taken)}")
        rows, parts, fixed = None, {}, {}
        for name, given in feeds.items():
            value, axis, _ = self._taken[name]
            array = checked_array(value, given, "input")
            if axis is None:
                fixed[name] = array
                continue
            parts[name] = rows_first(array, axis)
            if rows is not None and len(parts[name]) != rows:
                raise FeedError(f"input {name!r} has {len(parts[name])} rows, others have {rows}")
            rows = len(parts[name])
        return 1 if rows is None else rows, parts, fixed

    def _given_inputs(self) -> dict[str, GivenInput]:
        """What the user gives."""
        carried = {pair.input for pair in self._pairs}
        own = {
            name: GivenInput(value, self.axes.get(name), name not in carried)
            for name, value in self._inputs.items()
            if name != self.tokens and (name not in carried or self._named(name))
        }
        if self.encoder is None:
            return own
        values = self.encoder.inputs
        named = [[size for size in value.shape or () if isinstance(size, str)] for value in values]
        shared = [size for size in (named[0] if named else []) if all(size in sizes for sizes in named)]
        shared = [size for size in shared if size == self._rows] or shared
        axes = [value.shape.index(shared[0]) if shared else None for value in values]
        taken = {value.name: GivenInput(value, axis, True) for value, axis in zip(values, axes)}
        return taken | {n: port for n, port in own.items() if n not in self._connect and n not in taken}

    def _encoded(self, batch: Batch) -> Batch:
        """What the decoder takes, from what the encoder takes."""
        own = {value.name for value in self.encoder.inputs}
        feeds = {
            name: rows_back(array, self._taken[name].axis)
            for name, array in batch.parts.items()
            if name in own
        }
        feeds |= {name: array for name, array in batch.fixed.items() if name in own}
        offered = feeds | self.encoder.run(feeds)
        parts = {name: array for name, array in batch.parts.items() if name not in own}
        fixed = {name: array for name, array in batch.fixed.items() if name not in own}
        for name, source in self._connect.items():
            value, array = self._inputs[name], offered[source]
            if array.dtype.kind == value.dtype.kind == "f":
                array = array.astype(value.dtype, copy=False)
            array = checked_array(value, array, "the encoder's output for")
            if name not in self.axes:
                fixed[name] = array
                continue
            parts[name] = rows_first(array, self.axes[name])
            if len(parts[name]) != len(batch.numbers):
                raise FeedError(
                    f"the encoder gives {len(parts[name])} rows of {source!r} for {len(batch.numbers)} inputs"
                )
        return Batch(batch.numbers, parts, fixed)

    def steps(self, batch: Batch, share: int) -> DecoderSteps:
        """Rows of state for batches like this one, ``share`` places an input."""
        shapes = self._part_shapes(batch)
        values = [self._inputs[name] for name in shapes]
        spare = len(batch.numbers) * share
        rows = RowStepper(self.session, values, self.axes, shapes, self._pairs, spare + 1)
        initial = {}
        for pair in self._pairs:
            if pair.initial is not None:
                axis, full = self.axes[pair.input], list(shapes[pair.input])
                full.insert(axis, 1)
                initial[pair.input] = np.moveaxis(np.broadcast_to(pair.initial, full), axis, 0)
        tokens = self._inputs[self.tokens], self.axes[self.tokens]
        names = self.scores, self.attention
        return DecoderSteps(rows, initial, batch.fixed, *tokens, *names, share, spare)

    def kept_search(self, key: tuple | None) -> Search | None:
        """A search for a batch that ``key`` describes, left by one like it and nobody else's from now on."""
        return None if key is None else self.idle.take(key)

    def keep_search(self, key: tuple | None, search: Search) -> None:
        """Keeps a search that has ended for batches with its key; without one, gives back what it holds."""
        if key is not None and search.is_reusable:
            self.idle.leave(key, search)
        else:
            search.release()

    def _part_shapes(self, batch: Batch) -> dict[str, tuple[int, ...]]:
        """Each row's part of the inputs that have rows, sizes left open taken from what is given."""
        sizes: dict[str, int] = {}
        shapes = {name: array.shape[1:] for name, array in batch.parts.items()}
        for name, shape in shapes.items():
            dims = [d for axis, d in enumerate(self._inputs[name].shape) if axis != self.axes[name]]
            sizes |= {dim: size for dim, size in zip(dims, shape) if isinstance(dim, str)}
        for pair in self._pairs:
            if pair.input in shapes:
                continue
            value, axis = self._inputs[pair.input], self.axes[pair.input]
            dims = [d for place, d in enumerate(value.shape) if place != axis]
            unknown = [dim for dim in dims if isinstance(dim, str) and dim not in sizes]
            if unknown:
                raise FeedError(f"state {value} has open sizes {', '.join(unknown)}; give its first value")
            shapes[pair.input] = tuple(sizes.get(dim, dim) for dim in dims)
        return shapes
