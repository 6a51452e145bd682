"""Small transducers in the forms that toolkits export, and searches over them as their users write them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import tinyseq
from tests.ctc_oracle import Tokens
from tests.transducer_oracle import Symbols

FRAME, OUTPUT, HIDDEN, TOKENS, EMBEDDED, FEATURES = 6, 5, 7, 6, 4, 3


class Drawn:
    """Random weights."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def __call__(self, *shape: int) -> np.ndarray:
        return self._rng.normal(0, 1, shape).astype(np.float32)


def stateless(weights: Drawn, context: int = 2) -> tinyseq.Graph:
    """icefall's: an embedding of the last tokens, nothing of -1, and a linear layer."""
    g = tinyseq.Graph()
    y = g.input("y", ["N", context], np.int64)
    there = g.apply("Cast", g.apply("GreaterOrEqual", y, np.array(0)), to=np.dtype(np.float32))
    embedded = g.embedding(g.apply("Max", y, np.array(0)), weights(TOKENS, EMBEDDED))
    embedded = g.mul(embedded, g.unsqueeze(there, [2]))
    flat = g.reshape(embedded, [-1, context * EMBEDDED])
    g.output("decoder_out", g.dense(flat, weights(context * EMBEDDED, OUTPUT), weights(OUTPUT)))
    return g


def recurrent(weights: Drawn) -> tinyseq.Graph:
    """An LSTM whose state goes in and out, a token at a time."""
    g = tinyseq.Graph()
    token = g.input("y", ["N", 1], np.int64)
    h, c = (g.input(name, [1, "N", HIDDEN]) for name in ("h", "c"))
    x = g.transpose(g.embedding(token, weights(TOKENS, EMBEDDED)), [1, 0, 2])
    parts = [weights(4 * HIDDEN, EMBEDDED), weights(4 * HIDDEN, HIDDEN), *[weights(4 * HIDDEN)] * 2]
    y, h_next, c_next = g.lstm(x, parts, layout="torch", h=h, c=c)
    g.output("h_next", h_next, carries="h")
    g.output("c_next", c_next, carries="c")
    g.output("decoder_out", g.transpose(g.dense(y, weights(HIDDEN, OUTPUT)), [1, 0, 2]))
    return g


def hidden(weights: Drawn) -> tinyseq.Graph:
    """A GRU over sequences of tokens whose state the graph does not show."""
    g = tinyseq.Graph()
    x = g.embedding(g.input("tokens", ["N", "U"], np.int64), weights(TOKENS, EMBEDDED))
    parts = [weights(3 * HIDDEN, EMBEDDED), weights(3 * HIDDEN, HIDDEN), *[weights(3 * HIDDEN)] * 2]
    y, _ = g.gru(g.transpose(x, [1, 0, 2]), parts, layout="torch")
    g.output("decoder_out", g.transpose(g.dense(y, weights(HIDDEN, OUTPUT)), [1, 0, 2]))
    return g


def nemo(weights: Drawn) -> tinyseq.Graph:
    """NeMo's: lengths beside the tokens, the output transposed, an output that says lengths."""
    g = tinyseq.Graph()
    g.output("outputs", _nemo_outputs(g, weights, "states.1 states.2", "states 162", lambda _: "B"))
    return g


def _nemo_outputs(g: tinyseq.Graph, weights: Drawn, states: str, after: str, rows: Callable[[str], str]):
    """What NeMo's predictor gives, [rows, size, tokens], its inputs made; ``rows`` names an input's rows."""
    targets = g.input("targets", [rows("targets"), 1], np.int32)
    length = g.input("target_length", [rows("target_length")], np.int32)
    h, c = (g.input(name, [1, rows(name), HIDDEN]) for name in states.split())
    x = g.transpose(g.embedding(targets, weights(TOKENS, EMBEDDED)), [1, 0, 2])
    parts = [weights(4 * HIDDEN, EMBEDDED), weights(4 * HIDDEN, HIDDEN), *[weights(4 * HIDDEN)] * 2]
    y, *following = g.lstm(x, parts, layout="torch", h=h, c=c)
    outputs = g.transpose(g.dense(y, weights(HIDDEN, OUTPUT)), [1, 2, 0])
    g.output("prednet_lengths", g.add(length, np.zeros(1, np.int32)), dtype=np.int32)
    for name, before, value in zip(after.split(), states.split(), following):
        g.output(name, value, carries=before)
    return outputs


def nemo_whole(weights: Drawn) -> tinyseq.Graph:
    """Predictor and joiner in one file, each input's sizes with names of their own."""
    g = tinyseq.Graph()
    frames = g.input(
        "encoder_outputs", ["encoder_outputs_dynamic_axes_1", FRAME, "encoder_outputs_dynamic_axes_2"]
    )
    states = "input_states_1 input_states_2", "output_states_1 output_states_2"
    outputs = _nemo_outputs(g, weights, *states, lambda name: f"{name}_dynamic_axes_1")
    frames, outputs = (g.transpose(each, [0, 2, 1]) for each in (frames, outputs))
    g.output("outputs", _scores(g, weights, g.unsqueeze(frames, [2]), g.unsqueeze(outputs, [1])))
    return g


def _scores(g: tinyseq.Graph, weights: Drawn, frame, output):
    """A linear layer each, tanh of the sum, a linear layer."""
    sums = g.add(g.dense(frame, weights(FRAME, 8), weights(8)), g.dense(output, weights(OUTPUT, 8)))
    return g.dense(g.tanh(sums), weights(8, TOKENS) * 2, weights(TOKENS))


def joined(weights: Drawn, kind: str = "", transposed: bool = False) -> tinyseq.Graph:
    """A joiner; NeMo's take columns."""
    g = tinyseq.Graph()
    sizes = [("N", FRAME), ("N", OUTPUT)]
    if transposed:
        sizes = [("N", FRAME, "T"), ("N", OUTPUT, "U")]
    frame, output = (g.input(name, size) for name, size in zip(("encoder_out", "decoder_out"), sizes))
    if transposed:
        frame, output = (g.transpose(each, [0, 2, 1]) for each in (frame, output))
    scores = _scores(g, weights, frame, output)
    if kind:
        scores = g.apply(kind, scores, axis=-1)
    g.output("logit", g.unsqueeze(scores, [2]) if transposed else scores)
    return g


def encoder(weights: Drawn) -> tinyseq.Graph:
    """A GRU over features."""
    g = tinyseq.Graph()
    x = g.transpose(g.input("x", ["N", "T", FEATURES]), [1, 0, 2])
    parts = [weights(3 * FRAME, FEATURES), weights(3 * FRAME, FRAME), *[weights(3 * FRAME)] * 2]
    y, _ = g.gru(x, parts, layout="torch")
    g.output("encoder_out", g.transpose(g.mul(y, 3.0), [1, 0, 2]))
    return g


FORMS: dict[str, Callable[[Drawn], tinyseq.Graph]] = {
    "stateless": stateless,
    "one token": lambda weights: stateless(weights, 1),
    "three tokens": lambda weights: stateless(weights, 3),
    "recurrent": recurrent,
    "hidden": hidden,
    "nemo": nemo,
}


def transducer(form: str, seed: int = 0, device: str = "cpu", kind: str = "") -> tinyseq.Transducer:
    """A transducer of one of the forms."""
    weights = Drawn(seed)
    load = lambda graph: tinyseq.load(graph, device=device)  # noqa: E731
    predictor, joiner = load(FORMS[form](weights)), load(joined(weights, kind, form == "nemo"))
    options = dict(output="outputs", feeds={"target_length": [1]}) if form == "nemo" else {}
    return tinyseq.Transducer(predictor, joiner, load(encoder(weights)), **options)


def written(given: tinyseq.Transducer, form: str, frames: np.ndarray) -> Symbols:
    """ln p as users compute it: both models run whole, for one hypothesis and one frame."""
    known: dict[Tokens, np.ndarray] = {}

    def output(tokens: Tokens) -> np.ndarray:
        if tokens not in known:
            known[tokens] = predicted(given.predictor, form, tokens)
        return known[tokens]

    def logp(frame: int, tokens: Tokens) -> np.ndarray:
        x = frames[frame][None], output(tokens)[None]
        if form == "nemo":
            x = x[0][:, :, None], x[1][:, :, None]
        (scores,) = given.joiner.run({"encoder_out": x[0], "decoder_out": x[1]}).values()
        scores = scores.reshape(-1).astype(float)
        return scores - np.logaddexp.reduce(scores)

    return Symbols(logp, len(frames))


def predicted(predictor: tinyseq.Session, form: str, tokens: Tokens) -> np.ndarray:
    """What a predictor gives behind tokens, the blank 0 before them."""
    if form in ("stateless", "one token", "three tokens"):
        context = {"one token": 1, "stateless": 2, "three tokens": 3}[form]
        last = [*[-1] * (context - 1), 0, *tokens][-context:]
        return predictor.run({"y": np.array([last])})["decoder_out"].reshape(-1)
    if form == "hidden":
        return predictor.run({"tokens": np.array([[0, *tokens]])})["decoder_out"][0, -1]
    stream = predictor.stream()
    for token in (0, *tokens):
        if form == "nemo":
            feeds = {"targets": np.array([[token]], np.int32), "target_length": np.ones(1, np.int32)}
        else:
            feeds = {"y": np.array([[token]])}
        result = stream.step(feeds)
    return result["outputs" if form == "nemo" else "decoder_out"].reshape(-1)
