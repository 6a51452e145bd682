"""Transducer decoding against the loops that users write around onnxruntime, one thread each.

The models have icefall's form and sizes, with random weights: a predictor of two tokens, a joiner of 512
units. The loops are icefall's ``greedy_search`` of one symbol a frame and ``modified_beam_search`` in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import tinyseq
from bench import timing
from bench.measures import Effort, Row, Task
from bench.rivals import one_thread

FRAMES, UNITS, CONTEXT = 250, 512, 2

Decode = Callable[[], list[int]]


@dataclass(frozen=True, slots=True)
class Case:
    """Decoding of ``FRAMES`` frames, a quarter of which hold a token; width 0 is greedy."""

    tokens: int
    width: int

    @property
    def name(self) -> str:
        return f"transducer V={self.tokens} " + (f"beam={self.width}" if self.width else "greedy")


CASES = (Case(500, 0), Case(5000, 0), Case(500, 4), Case(5000, 4))


def predictor(tokens: int) -> bytes:
    """y[N, 2] -> decoder_out[N, 512]."""
    rng = np.random.default_rng(0)
    constants = {
        "table": rng.normal(0, 1, (tokens, UNITS)),
        "w": rng.normal(0, UNITS**-0.5 / 10, (CONTEXT * UNITS, UNITS)),
        "b": np.zeros(UNITS),
    }
    nodes = [
        helper.make_node("Clip", ["y", "zero"], ["there"]),
        helper.make_node("Gather", ["table", "there"], ["embedded"]),
        helper.make_node("Reshape", ["embedded", "flat"], ["row"]),
        helper.make_node("Gemm", ["row", "w", "b"], ["decoder_out"]),
    ]
    numbers = {"zero": np.array(0), "flat": np.array([-1, CONTEXT * UNITS])}
    return _model(nodes, {"y": (TensorProto.INT64, CONTEXT)}, {"decoder_out": UNITS}, constants, numbers)


def joiner(tokens: int) -> bytes:
    """encoder_out[N, 512], decoder_out[N, 512] -> logit[N, V]."""
    nodes = [
        helper.make_node("Add", ["encoder_out", "decoder_out"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["both"]),
        helper.make_node("Gemm", ["both", "w", "b"], ["logit"]),
    ]
    inputs = dict.fromkeys(("encoder_out", "decoder_out"), (TensorProto.FLOAT, UNITS))
    return _model(nodes, inputs, {"logit": tokens}, {"w": _output(tokens), "b": np.zeros(tokens)}, {})


def _output(tokens: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (UNITS, tokens)) / 4


def _model(nodes, inputs, outputs, constants, numbers) -> bytes:
    weights = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()]
    weights += [numpy_helper.from_array(array, name) for name, array in numbers.items()]
    graph = helper.make_graph(
        nodes,
        "transducer",
        [helper.make_tensor_value_info(name, kind, ["N", size]) for name, (kind, size) in inputs.items()],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
            for name, size in outputs.items()
        ],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def frames(tokens: int) -> np.ndarray:
    """Frames that are sure of one symbol each, three times of four of the blank."""
    rng = np.random.default_rng(2)
    symbols = np.where(rng.random(FRAMES) < 0.75, 0, rng.integers(0, tokens, FRAMES))
    x = _output(tokens).T[symbols] * 2 + rng.normal(0, 0.5, (FRAMES, UNITS))
    return x.astype(np.float32)


def _tinyseq(case: Case, x: np.ndarray) -> Decode:
    models = tinyseq.load(predictor(case.tokens)), tinyseq.load(joiner(case.tokens))
    options = tinyseq.TransducerBeamSearch(case.width) if case.width else tinyseq.TransducerGreedy(0, 1)
    decoder = tinyseq.TransducerDecoder(tinyseq.Transducer(*models), options)
    return lambda: decoder.decode(x)[0].tokens


def _loop(case: Case, x: np.ndarray) -> Decode:
    predict, join = map(one_thread, (predictor(case.tokens), joiner(case.tokens)))
    if case.width:
        return partial(_beam_search, predict, join, x, case.width)
    return partial(_greedy_search, predict, join, x)


def _greedy_search(predict, join, x: np.ndarray) -> list[int]:
    """icefall's, of one symbol a frame."""
    tokens = [-1] * (CONTEXT - 1) + [0]
    (output,) = predict.run(None, {"y": np.array([tokens])})
    for frame in x:
        (logits,) = join.run(None, {"encoder_out": frame[None], "decoder_out": output})
        token = int(logits.argmax())
        if token != 0:
            tokens.append(token)
            (output,) = predict.run(None, {"y": np.array([tokens[-CONTEXT:]])})
    return tokens[CONTEXT:]


def _beam_search(predict, join, x: np.ndarray, width: int) -> list[int]:
    """icefall's modified beam search."""
    beam = {(*[-1] * (CONTEXT - 1), 0): 0.0}
    for frame in x:
        (outputs,) = predict.run(None, {"y": np.array([tokens[-CONTEXT:] for tokens in beam])})
        rows = np.repeat(frame[None], len(beam), axis=0)
        (logits,) = join.run(None, {"encoder_out": rows, "decoder_out": outputs})
        top = logits.max(axis=1, keepdims=True)
        logp = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
        scores = (logp + np.array(list(beam.values()))[:, None]).reshape(-1)
        best = np.argpartition(-scores, width - 1)[:width]
        hypotheses, size, beam = list(beam), logits.shape[1], {}
        for place in best[np.argsort(-scores[best])].tolist():
            tokens, token = hypotheses[place // size], place % size
            longer = tokens if token == 0 else (*tokens, token)
            beam[longer] = np.logaddexp(beam.get(longer, -np.inf), scores[place])
    return list(max(beam, key=lambda tokens: beam[tokens] / len(tokens))[CONTEXT:])


DECODERS = {"tinyseq": _tinyseq, "onnxruntime": _loop}


def tasks(effort: Effort) -> Iterator[Task]:
    """A task for each case."""
    for case in CASES:
        yield Task(case.name, partial(speed, case, effort.rounds))


def speed(case: Case, rounds: int) -> list[Row]:
    """Milliseconds of each.

    Raises:
        ValueError: they find different tokens.
    """
    x = frames(case.tokens)
    calls = {name: make(case, x) for name, make in DECODERS.items()}
    found = {name: call() for name, call in calls.items()}
    if found["tinyseq"] != found["onnxruntime"]:
        raise ValueError(f"{case.name}: tinyseq finds other tokens than the loop")
    seconds = timing.interleaved(calls, rounds)
    yardstick = seconds["onnxruntime"]
    return [
        Row(case.name, name, median(taken) * 1e3, "ms", timing.median_ratio(yardstick, taken), 0.0)
        for name, taken in seconds.items()
    ]
