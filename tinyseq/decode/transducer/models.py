"""Transducer: a predictor and a joiner, and what must be known of them to search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinyseq.common.given import as_path, is_folder, is_one_of, is_whole
from tinyseq.common.idle import Idle
from tinyseq.common.text import shown
from tinyseq.decode.generation.decoder import Decoder, kind_of
from tinyseq.decode.generation.steps import rounded
from tinyseq.decode.transducer.joint import taken_apart
from tinyseq.decode.transducer.predictor import TOKEN, recurrent
from tinyseq.errors import FeedError, ModelError, OptionError
from tinyseq.ir.model import Value, given_out, rows_meet
from tinyseq.runtime.loading import READERS, load
from tinyseq.runtime.rows import RowStepper
from tinyseq.runtime.session import Session, loaded

OUTPUT = "predictor.output"
"""The name by which a stream's state has what the predictor gave last."""

PARTS = {"encoder": ("encoder",), "predictor": ("decoder", "predictor"), "joiner": ("joiner",)}
"""The models of a folder, and how the names of their files may begin."""


class JoinerInput(NamedTuple):
    """An input or output [rows, size], with dimensions of 1 between or behind."""

    value: Value
    axis: int
    size: int

    @classmethod
    def of(cls, value: Value) -> JoinerInput:
        """How a joiner's input lies.

        Raises:
            ModelError: it does not have rows, or no known size beside.
        """
        sizes = value.shape or ()
        open_axes = [axis for axis, size in enumerate(sizes) if isinstance(size, str)]
        known = [size for size in sizes if isinstance(size, int) and size != 1]
        if not open_axes or len(known) > 1 or len(sizes) < 2:
            raise ModelError(
                f"the joiner's input {value} must be [rows, size], the rows left open, the size given; "
                "export it with an open batch size"
            )
        return cls(value, open_axes[0], known[0] if known else 1)

    def shaped(self, rows: np.ndarray) -> np.ndarray:
        """rows[n, size] as the model takes them."""
        known = [self.size if isinstance(size, int) and size != 1 else 1 for size in self.value.shape]
        known[self.axis] = len(rows)
        return rows.reshape(known).astype(self.value.dtype, copy=False)

    def in_rows(self, joiner: Session, count: int) -> RowStepper:
        """The joiner with ``count`` rows that hold this input of it alone."""
        name, shape = self.value.name, self.value.shape
        part = tuple(
            1 if isinstance(size, str) else size for axis, size in enumerate(shape) if axis != self.axis
        )
        return RowStepper(joiner, [self.value], {name: self.axis}, {name: part}, [], count)

    def flat(self, rows: np.ndarray) -> np.ndarray:
        """The same memory of what lies in rows, as [rows, size]."""
        flat = rows[(slice(None), *(slice(None) if size == self.size else 0 for size in rows.shape[1:]))]
        return flat.reshape(len(rows), -1) if flat.ndim != 2 else flat


class Transducer:
    """The models of a transducer.

    The predictor, which toolkits also call decoder, takes tokens and gives an output for each row; it is
    recurrent, or, as icefall's, sees its last tokens ``[rows, context_size]`` each time. The joiner takes a
    frame of the encoder and the predictor's output and gives scores of all symbols. Dynamically quantised
    ones are run a row at a time, because in them rows see each other.

    Args:
        predictor: the loaded model.
        joiner: the loaded model; None where the predictor holds it too, as NeMo's ``decoder_joint`` does.
        encoder: the loaded model, for ``Recognizer`` and ``encode``; searches do not need it.
        start: the tokens that the predictor is given before the first; as many as it sees at a time if it is
            not recurrent. Without it, -1 for each but the last, which is the blank 0: what icefall and
            sherpa-onnx do; and for recurrent ones the blank alone. Where the blank is not 0, give it.
        tokens: the predictor's input for tokens, where it is not the only one that carries no state.
        output: the predictor's output, likewise; what holds the joiner too needs none.
        feeds: what else the predictor takes, the same in each step: arrays by name, of one row.
        frame: the joiner's input for the encoder's frame; without it, the one with ``enc`` in its name, or
            else the first.
        scores: the joiner's output, where it has several.
        kind: what the scores are: ``"logits"``, ``"log_probabilities"`` or ``"probabilities"``; without it,
            what made them tells: LogSoftmax, Softmax, or anything else: logits.

    Raises:
        ModelError: one of these cannot be found out, or the models do not fit; says what to name.
        OptionError: ``start``, ``feeds`` or ``kind`` is of another kind.
    """

    def __init__(
        self,
        predictor: Session,
        joiner: Session | None = None,
        encoder: Session | None = None,
        *,
        start: tuple[int, ...] | list[int] | None = None,
        tokens: str | None = None,
        output: str | None = None,
        feeds: Mapping[str, object] | None = None,
        frame: str | None = None,
        scores: str | None = None,
        kind: str | None = None,
    ) -> None:
        if feeds is not None and not isinstance(feeds, Mapping):
            raise OptionError(f"feeds is a dict from input to array, not {type(feeds).__name__}")
        predictor = loaded(predictor, "a predictor")
        if joiner is None:
            predictor, joiner, output, frame = taken_apart(predictor, tokens, frame, set(feeds or {}))
        self.predictor, self.joiner = predictor, loaded(joiner, "a joiner")
        self.encoder = None if encoder is None else loaded(encoder, "an encoder")
        listed = start.ndim == 1 if isinstance(start, np.ndarray) else isinstance(start, Sequence)
        if start is not None and not (listed and all(map(_is_start, start))):
            raise OptionError(f"start={shown(start)} is a list of tokens, whole numbers from -1 on")
        taken = _tokens(predictor, tokens, set(feeds or {}))
        sees = _context(taken, start) if not predictor.state else 1
        self._begin = (-1,) * (sees - 1) + (0,) if start is None else tuple(start)
        if not self._begin or (sees > 1 and len(self._begin) != sees):
            raise ModelError(f"start={list(self._begin)}: the predictor sees {sees} tokens at a time")
        stepped, name = predictor, taken.name
        if sees > 1:
            stepped, name = recurrent(predictor, taken, self._begin), TOKEN
        self._carried = [pair.input for pair in stepped.state]
        given = _only(stepped, output, "predictor", "output")
        self._decoder = Decoder(stepped, tokens=name, scores=given)
        (self._batch,) = self._decoder.batches(dict(feeds or {}))
        if len(self._batch.numbers) != 1:
            raise FeedError(f"feeds of a predictor are of one row, not of {len(self._batch.numbers)}")
        self._frame, self._output = _joined(joiner, frame)
        self._scores = _only(joiner, scores, "joiner", "scores")
        self.kind = kind_of(joiner.stream_graph, self._scores, kind)
        self._idle: Idle[ModelRows] = Idle()
        self.frame_size = self._frame.size
        self.start_tokens = len(self._begin)
        self.first = self._first()
        rows = self.rows(1)
        scored = rows.join(np.zeros((1, self.frame_size), np.float32), np.zeros(1, np.int64))
        self.vocabulary_size = scored.shape[1]
        self.give_back(rows)

    def __repr__(self) -> str:
        behind = "no encoder" if self.encoder is None else "an encoder"
        return (
            f"Transducer({self.vocabulary_size} symbols, frames of {self.frame_size} numbers, "
            f"{self.start_tokens} start tokens, {behind})"
        )

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", **names: Any) -> Transducer:
        """The models of a folder: the files whose names begin with ``encoder``, ``decoder`` or ``predictor``,
        and ``joiner``. There may be no encoder, nor a joiner beside a predictor that holds it.

        Args:
            device: as of ``load``.
            names: the other arguments of ``Transducer``.

        Raises:
            ModelError: there is no such file or more than one; or a model cannot be read or used.
        """
        folder = as_path(folder, "the folder of a transducer")
        if not is_folder(folder):
            raise ModelError(f"{folder} is no folder with the models of a transducer")
        found = {part: _file(folder, part, words) for part, words in PARTS.items()}
        models = {part: load(path, device=device) for part, path in found.items() if path is not None}
        return cls(**models, **names)

    def save(self, folder: str | Path) -> None:
        """Writes the models into a folder, made if need be, in tinyseq's own format, for ``load``."""
        folder = as_path(folder, "the folder of a transducer")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ModelError(f"cannot make the folder {folder}: {error.strerror}") from error
        for part in PARTS:
            session = getattr(self, part)
            if session is not None:
                session.save(folder / f"{part}.tinyseq")

    def _first(self) -> dict[str, np.ndarray]:
        rows, place = ModelRows(self, 1), np.zeros(1, np.int64)
        for token in self._begin if self.predictor.state else self._begin[-1:]:
            rows.predict(np.array([token], np.int64), place, place)
        return {name: array[0].copy() for name, array in rows.state.items()}

    @property
    def weights(self) -> Iterator[bytes]:
        """What decides results of predictor and joiner: their constants and the start."""
        yield repr(self._begin).encode()
        for session in (self.predictor, self.joiner):
            for name, array in session.stream_graph.constants.items():
                yield name.encode() + str(array.dtype).encode() + np.asarray(array).tobytes()

    def rows(self, count: int) -> ModelRows:
        """See ``TransducerModel``."""
        return self._idle.take(count) or ModelRows(self, count)

    def give_back(self, rows: ModelRows) -> None:
        """See ``TransducerModel``."""
        self._idle.leave(rows.count, rows)

    def encode(self, feeds: Mapping[str, np.ndarray], output: str | None = None) -> np.ndarray:
        """The encoder's frames [N, T, C] for whole inputs, for ``TransducerDecoder.decode``.

        Args:
            output: the output that has them, where the encoder has several of that size.
        """
        if self.encoder is None:
            raise ModelError("this transducer has no encoder: Transducer(predictor, joiner, encoder)")
        results = self.encoder.run(feeds)
        names = [n for n, array in results.items() if array.ndim == 3 and self.frame_size in array.shape[1:]]
        if (output is None and len(names) != 1) or (output is not None and not is_one_of(output, results)):
            raise FeedError(
                f"output says which of {', '.join(results)} holds frames [N, T, {self.frame_size}]"
            )
        frames = results[names[0] if output is None else output]
        if frames.ndim != 3 or self.frame_size not in frames.shape[1:]:
            raise FeedError(f"the encoder's output is {list(frames.shape)}, not [N, T, {self.frame_size}]")
        return frames if frames.shape[2] == self.frame_size else np.swapaxes(frames, 1, 2)


def _is_start(token: object) -> bool:
    return is_whole(token) and -1 <= token < 2**31


def _file(folder: Path, part: str, words: tuple[str, ...]) -> Path | None:
    """The file of a part of a transducer; None if there is no encoder or no joiner."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in READERS)
    fitting = [path for path in files if path.name.lower().startswith(words)]
    if len(fitting) > 1:
        raise ModelError(
            f"{folder} holds {', '.join(path.name for path in fitting)}; keep one {part}, or load the models "
            "one by one and give them to Transducer"
        )
    if not fitting and part == "predictor":
        raise ModelError(f"{folder} holds no model whose name begins with {' or '.join(words)}")
    return fitting[0] if fitting else None


def _tokens(predictor: Session, name: str | None, fed: set[str]) -> Value:
    """The predictor's input for tokens."""
    carried = {pair.input for pair in predictor.state} | fed
    inputs = [value for value in predictor.stream_graph.inputs if value.name not in carried]
    fitting = [value for value in inputs if value.dtype.kind in "iu"]
    if name is not None:
        fitting = [value for value in inputs if is_one_of(name, [value.name])]
    if len(fitting) != 1:
        raise ModelError(
            f"the predictor takes {', '.join(map(str, inputs))}; name the one for tokens with tokens=, and "
            f"give what else it takes with feeds={predictor.doubts}"
        )
    return fitting[0]


def _context(tokens: Value, start: Sequence[int] | None) -> int:
    """How many tokens a predictor that is not recurrent sees at a time."""
    if len(tokens.shape or ()) == 1:
        return 1
    if len(tokens.shape or ()) != 2 or not isinstance(tokens.shape[0], str):
        raise ModelError(f"the predictor's tokens {tokens} must be [rows, context_size], the rows left open")
    size = tokens.shape[1]
    if isinstance(size, str) and start is None:
        raise ModelError(
            f"how many tokens does the predictor see in {tokens}? give as many with start=, those before the "
            "first one; the last of them is the blank"
        )
    return len(start) if isinstance(size, str) else size


def _only(session: Session, name: str | None, what: str, argument: str) -> str:
    """A model's output that carries no state."""
    carried = {pair.output for pair in session.state}
    outputs = [value.name for value in given_out(session.stream_graph, carried)]
    if name is None and len(outputs) == 1:
        return outputs[0]
    if not is_one_of(name, outputs):
        raise ModelError(
            f"the {what} gives {', '.join(outputs)}; name its output with {argument}={session.doubts}"
        )
    return name


def _joined(joiner: Session, name: str | None) -> tuple[JoinerInput, JoinerInput]:
    """The joiner's inputs for a frame and for the predictor's output."""
    inputs = joiner.stream_graph.inputs
    names = [value.name for value in inputs]
    if len(inputs) != 2 or joiner.state:
        raise ModelError(
            f"the joiner takes {', '.join(map(str, inputs))}; it must take a frame and the predictor's output"
        )
    if name is not None and not is_one_of(name, names):
        raise ModelError(f"frame={shown(name)}: the joiner takes {', '.join(names)}")
    marked = [each for each in names if "enc" in each.lower()]
    name = name or (marked[0] if len(marked) == 1 else names[0])
    frame, output = sorted(inputs, key=lambda value: value.name != name)
    return JoinerInput.of(frame), JoinerInput.of(output)


class ModelRows:
    """Places of the predictor's state and output, and the joiner over them; see ``TransducerRows``."""

    def __init__(self, transducer: Transducer, count: int) -> None:
        self.count = count
        self._steps = transducer._decoder.steps(transducer._batch, count)
        self._steps.begin(transducer._batch.parts)
        self._owners = np.zeros(count, np.int64)
        output, self._frame = transducer._output, transducer._frame
        self._scores = transducer._scores
        self._joiner_alone = rows_meet(transducer.joiner.stream_graph)
        self._predictor_alone = rows_meet(transducer.predictor.stream_graph)
        self._joiner = output.in_rows(transducer.joiner, count)
        self._outputs = output.flat(self._joiner.state[output.value.name])
        places = {name: self._steps.state[name][:count] for name in transducer._carried}
        self.state = {f"predictor.{name}": array for name, array in places.items()}
        self.state[OUTPUT] = self._outputs

    @property
    def nbytes(self) -> int:
        """The memory of the places and of what steps them."""
        return self._steps.nbytes + self._joiner.nbytes

    def join(self, frames: np.ndarray, places: np.ndarray) -> np.ndarray:
        """See ``TransducerRows``."""
        if self._joiner_alone and len(frames) > 1:
            rows = [slice(row, row + 1) for row in range(len(frames))]
            return np.concatenate([self.join(frames[row], places[row]).copy() for row in rows])
        count, size = len(frames), rounded(len(frames))
        if count < size:
            frames = np.concatenate([frames, np.zeros((size - count, frames.shape[1]), np.float32)])
            places = np.concatenate([places, np.zeros(size - count, np.int64)])
        feeds = {self._frame.value.name: self._frame.shaped(frames)}
        self._joiner.address(feeds, places, places, places)
        scores = self._joiner.advance(feeds)[self._scores]
        if scores.size % size:
            raise ModelError(f"the joiner's scores are {list(scores.shape)} for {size} rows")
        if scores.dtype != np.float32 or not scores.flags.writeable:
            scores = np.array(scores, np.float32)
        return scores.reshape(size, scores.size // size)

    def predict(self, tokens: np.ndarray, sources: np.ndarray, targets: np.ndarray) -> None:
        """See ``TransducerRows``."""
        if self._predictor_alone and len(tokens) > 1:
            self._predict_alone(tokens, sources, targets)
            return
        outputs = self._steps.step(tokens, sources, targets, self._owners[: len(tokens)])
        if outputs.shape[1] != self._outputs.shape[1]:
            raise ModelError(
                f"the predictor gives {outputs.shape[1]} numbers, the joiner takes {self._outputs.shape[1]}"
            )
        self._outputs[targets] = outputs[: len(tokens)]

    def _predict_alone(self, tokens: np.ndarray, sources: np.ndarray, targets: np.ndarray) -> None:
        """A row at a time; none may see what another has written."""
        before = {name: array[sources] for name, array in self.state.items()}
        place = np.zeros(1, np.int64)
        for row in range(len(tokens)):
            place[0] = targets[row]
            for name, array in self.state.items():
                array[targets[row]] = before[name][row]
            self.predict(tokens[row : row + 1], place, place)
