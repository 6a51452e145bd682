"""What of a model a generation steps: found by itself, named, or refused with what to name."""

from __future__ import annotations

import numpy as np
import pytest

import tinyseq
from tinyseq import Beam, Decoder, Greedy, Sampling
from tinyseq.decode.generation.generate import begin
from tinyseq.decode.generation.steps import rounded

HIDDEN, VOCABULARY = 6, 7
OPTIONS = {"decoder_start_token_id": 1, "eos_token_id": 2, "max_new_tokens": 12}


def weights(seed: int = 0, features: int = HIDDEN):
    rng = np.random.default_rng(seed)
    shapes = ((3 * HIDDEN, features), (3 * HIDDEN, HIDDEN), (3 * HIDDEN,), (3 * HIDDEN,))
    return [rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes]


def table(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, shape).astype(np.float32)


def decoder_graph(
    state: str = "named",
    rows="rows",
    finish="logits",
    source: bool = False,
    extra: str | None = None,
    dtype=np.int64,
) -> tinyseq.Graph:
    """A GRU over embedded tokens. ``state``: named, or hidden in the layer."""
    g = tinyseq.Graph()
    x = g.embedding(g.input("token", [rows, 1], dtype), table(VOCABULARY, HIDDEN))
    x = g.transpose(x, [1, 0, 2])
    h = g.input("h", [1, rows, HIDDEN]) if state == "named" else None
    y, h = g.gru(x, weights(), layout="torch", h=h)
    if state == "named":
        g.output("h_next", h, carries="h")
    y = g.squeeze(y, [0])
    if source:
        y = g.add(
            y, g.apply("ReduceSum", g.input("memory", [rows, "source", HIDDEN]), np.array([1]), keepdims=0)
        )
    if extra is not None:
        y = g.add(y, g.apply("Cast", g.input(extra, [rows, 1], np.int64), to=np.dtype(np.float32)))
    logits = g.dense(y, table(HIDDEN, VOCABULARY, seed=2))
    finishes = {
        "logits": lambda: logits,
        "softmax": lambda: g.softmax(logits),
        "constant": lambda: g.constant(table(1, VOCABULARY)),
    }
    g.output("scores", finishes[finish]())
    return g


def encoder_graph() -> tinyseq.Graph:
    g = tinyseq.Graph()
    x = g.embedding(g.input("src", ["batch", "length"], np.int64), table(9, HIDDEN, seed=3))
    y, h = g.gru(g.transpose(x, [1, 0, 2]), weights(4), layout="torch")
    g.output("memory_out", g.transpose(y, [1, 0, 2]))
    g.output("h_out", h)
    return g


def by_hand(feeds: dict, most: int = 12) -> list[int]:
    """Greedy, one row, with ``model.run`` and the state in Python's hands."""
    encoder, decoder = tinyseq.load(encoder_graph()), tinyseq.load(decoder_graph(source=True))
    encoded = encoder.run(feeds)
    token, h, found = 1, encoded["h_out"], []
    for _ in range(most):
        results = decoder.run({"token": np.array([[token]]), "h": h, "memory": encoded["memory_out"]})
        h, token = results["h_next"], int(results["scores"][0].argmax())
        if token == 2:
            break
        found.append(token)
    return found


def sources(seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"src": rng.integers(0, 9, (1, length))} for length in (3, 1, 5, 3, 5, 2, 3, 1)]


@pytest.fixture(scope="module")
def pair() -> Decoder:
    return Decoder(tinyseq.load(decoder_graph(source=True)), tinyseq.load(encoder_graph()))


def test_inputs_of_different_lengths_are_each_as_if_alone(pair):
    feeds = sources()
    found = tinyseq.generate(pair, feeds, Greedy(**OPTIONS))
    assert [h.tokens for (h,) in found] == [by_hand(each) for each in feeds]
    for options in (Beam(num_return_sequences=3, **OPTIONS), Sampling(seed=tuple(range(8)), **OPTIONS)):
        together = tinyseq.generate(pair, feeds, options)
        for number, each in enumerate(feeds):
            own = {"seed": (number,)} if isinstance(options, Sampling) else {}
            alone = type(options)(**vars(options) | own)
            assert tinyseq.generate(pair, each, alone) == [together[number]]


def test_a_batch_in_one_array_is_a_list_of_rows(pair):
    src = np.random.default_rng(0).integers(0, 9, (5, 4))
    options = Beam(**OPTIONS)
    rows = [{"src": src[row : row + 1]} for row in range(5)]
    assert tinyseq.generate(pair, {"src": src}, options) == tinyseq.generate(pair, rows, options)
    assert tinyseq.generate(pair, [], options) == []
    assert tinyseq.generate(pair, {"src": src[:0]}, options) == []


def test_more_inputs_than_are_stepped_together(pair):
    rng = np.random.default_rng(0)
    src = rng.integers(0, 9, (600, 2))
    found = tinyseq.generate(pair, {"src": src}, Greedy(**OPTIONS))
    assert len(found) == 600
    for number in (0, 300, 599):
        assert tinyseq.generate(pair, {"src": src[[number]]}, Greedy(**OPTIONS)) == [found[number]]


def test_a_prefix_is_given_and_not_chosen(pair):
    feeds = sources()[:2]
    whole = [hypotheses[0].tokens for hypotheses in tinyseq.generate(pair, feeds, Greedy(**OPTIONS))]
    prefix = [whole[0][:2], whole[1][:1]]
    rest = tinyseq.generate(pair, feeds, Greedy(**OPTIONS | {"prefix": prefix}))
    assert [[*start, *h.tokens][:12] for start, (h,) in zip(prefix, rest)] == [w[:12] for w in whole]
    for wrong in ([-1], None, [None], "ab", [[1], 2], [True]):
        with pytest.raises(tinyseq.OptionError, match="from 0 on"):
            tinyseq.generate(pair, feeds, Greedy(**OPTIONS | {"prefix": wrong}))
    with pytest.raises(tinyseq.OptionError, match="prefix has 3 sequences for 2"):
        tinyseq.generate(pair, feeds, Greedy(**OPTIONS | {"prefix": [*prefix, [3]]}))


def test_state_that_the_graph_hides(pair):
    """A decoder without an encoder or an input for its state: one row, from zeros."""
    named, hidden = (Decoder(tinyseq.load(decoder_graph(state))) for state in ("named", "hidden"))
    for options in (Greedy(**OPTIONS), Beam(**OPTIONS)):
        found = tinyseq.generate(hidden, {}, options)
        assert found == tinyseq.generate(named, {"h": np.zeros((1, 1, HIDDEN), np.float32)}, options)
        assert found == tinyseq.generate(named, {}, options)
        assert found == tinyseq.generate(hidden.session, {}, options)


def test_probabilities_are_known_by_what_made_them():
    for options in (Greedy(**OPTIONS), Beam(**OPTIONS)):
        logits, shares = (
            tinyseq.generate(tinyseq.load(decoder_graph(finish=finish)), {}, options)[0][0]
            for finish in ("logits", "softmax")
        )
        assert logits.tokens == shares.tokens
        assert abs(logits.score - shares.score) < 1e-4


def test_tokens_of_32_bits():
    short, long = (
        tinyseq.generate(tinyseq.load(decoder_graph(dtype=dtype)), {}, Greedy(**OPTIONS))
        for dtype in (np.int32, np.int64)
    )
    assert short == long


def test_scores_that_are_a_constant_stay_as_they_are():
    """The search writes into scores; not into the model's weights."""
    session = tinyseq.load(decoder_graph(finish="constant"))
    options = Greedy(no_repeat_ngram_size=1, **OPTIONS)
    first = tinyseq.generate(session, {}, options)
    assert len(first[0][0].tokens) == len(set(first[0][0].tokens)) > 0
    assert tinyseq.generate(session, {}, options) == first
    with pytest.raises(tinyseq.ModelError, match="for 5 rows"):
        tinyseq.generate(session, {}, Beam(**OPTIONS))


def test_own_processors_and_streamers(pair):
    feeds = sources()[:3]
    seen = []

    def only_even(tokens, scores):
        assert tokens.dtype == np.int64 and (tokens[:, 0] == 1).all()
        seen.append(tokens.shape)
        return np.where(np.arange(scores.shape[1]) % 2, -np.inf, scores)

    told: list[tuple] = []

    def tell(*given):
        told.append(given)

    found = tinyseq.generate(pair, feeds, Greedy(**OPTIONS), logits_processor=[only_even], streamer=tell)
    assert all(token % 2 == 0 for (h,) in found for token in h.tokens)
    assert seen
    for number, (h,) in enumerate(found):
        own = [token for index, _, token in told if index == number]
        assert own == h.tokens + [2] * h.finished
    with pytest.raises(tinyseq.OptionError, match="logits processor gave"):
        tinyseq.generate(pair, feeds, Greedy(**OPTIONS), logits_processor=[lambda tokens, scores: scores[0]])
    with pytest.raises(tinyseq.OptionError, match="streamer needs"):
        tinyseq.generate(pair, feeds, Beam(**OPTIONS), streamer=print)


class Heard:
    """Hugging Face's interface of streamers."""

    def __init__(self) -> None:
        self.put_values: list[np.ndarray] = []
        self.ends = 0

    def put(self, value) -> None:
        assert not self.ends
        self.put_values.append(value)

    def end(self) -> None:
        self.ends += 1


@pytest.mark.parametrize("options", [Greedy(prefix=[3], **OPTIONS), Sampling(prefix=[3], **OPTIONS)])
def test_streamers_of_hugging_face_hear_the_prompt_then_each_token(options):
    session = tinyseq.load(decoder_graph())
    heard = Heard()
    ((found,),) = tinyseq.generate(session, {}, options, streamer=heard)
    assert [value.shape for value in heard.put_values[:2]] == [(1, 2), (1,)]
    tokens = [value.tolist() for value in heard.put_values]
    assert tokens == [[[1, 3]], *[[token] for token in found.tokens + [2] * found.finished]]
    assert heard.ends == 1 and all(value.dtype == np.int64 for value in heard.put_values)
    under_way, again = begin(session, {}, options, streamer=(other := Heard())), 0
    while under_way.step():
        again += 1
    assert other.ends == 0 and under_way.end() == [[found]]
    assert other.ends == 1 and [value.tolist() for value in other.put_values] == tokens


def test_streamers_of_hugging_face_hear_one_sequence():
    session = tinyseq.load(decoder_graph())
    for options in (
        Greedy(prefix=[[3], [4]], **OPTIONS),
        Sampling(num_return_sequences=2, **OPTIONS),
    ):
        with pytest.raises(tinyseq.OptionError, match="hears one sequence"):
            tinyseq.generate(session, {}, options, streamer=Heard())
    with pytest.raises(tinyseq.OptionError, match="beam search knows"):
        tinyseq.generate(session, {}, Beam(**OPTIONS), streamer=Heard())
    with pytest.raises(tinyseq.OptionError, match="streamer is a function"):
        tinyseq.generate(session, {}, Greedy(**OPTIONS), streamer=Heard)


def without_start(**more) -> dict:
    return {name: value for name, value in OPTIONS.items() if "start" not in name} | more


@pytest.mark.parametrize("method", [Greedy, Beam, Sampling])
def test_a_language_model_goes_on_from_a_prefix(method):
    """Which takes the place of a start token, if there is none."""
    session = tinyseq.load(decoder_graph())
    wanted = tinyseq.generate(session, {}, method(decoder_start_token_id=4, prefix=[5], **without_start()))
    assert tinyseq.generate(session, {}, method(**without_start(prefix=[4, 5]))) == wanted
    for prefix in ([], [[4], []]):
        with pytest.raises(tinyseq.OptionError, match="name decoder_start_token_id, or the prefix"):
            tinyseq.generate(session, {}, method(**without_start(prefix=prefix)))


@pytest.mark.parametrize("method", [Greedy, Beam])
def test_several_prefixes_go_on_from_one_input(pair, method):
    prefixes = [[3], [4, 5], [3], [6]]
    alone = [
        tinyseq.generate(tinyseq.load(decoder_graph()), {}, method(**without_start(prefix=p)))
        for p in prefixes
    ]
    session = tinyseq.load(decoder_graph())
    together = tinyseq.generate(session, {}, method(**without_start(prefix=prefixes)))
    assert together == [found for (found,) in alone]
    feeds = sources()[0]
    alone = [tinyseq.generate(pair, feeds, method(prefix=prefix, **OPTIONS)) for prefix in prefixes]
    together = tinyseq.generate(pair, feeds, method(prefix=prefixes, **OPTIONS))
    assert together == [found for (found,) in alone]
    with pytest.raises(tinyseq.OptionError, match="prefix has 4 sequences for 2 inputs"):
        tinyseq.generate(pair, [feeds, feeds], method(prefix=prefixes, **OPTIONS))


def test_more_prefixes_than_a_batch_has_rows(monkeypatch):
    monkeypatch.setattr("tinyseq.decode.generation.generate.MOST_ROWS", 2)
    session = tinyseq.load(decoder_graph())
    prefixes = [[3 + i % 4] for i in range(5)]
    found = tinyseq.generate(session, {}, Greedy(**without_start(prefix=prefixes)))
    assert found[0] == found[4] and len(found) == 5
    seeds = Sampling(**without_start(prefix=prefixes, seed=tuple(range(5))))
    assert len(tinyseq.generate(session, {}, seeds)) == 5


def test_begin_step_end_is_generate(pair):
    feeds = sources()
    options = Beam(num_return_sequences=2, **OPTIONS)
    under_way = begin(pair, feeds, options)
    steps = 1
    assert under_way.step()
    assert all(len(h.tokens) <= 1 for hypotheses in under_way.end() for h in hypotheses)
    while under_way.step():
        steps += 1
    assert steps < 12
    assert under_way.end() == tinyseq.generate(pair, feeds, options)


def load(**changes) -> tinyseq.Session:
    return tinyseq.load(decoder_graph(**changes))


REFUSED = {
    "name it with tokens=": lambda: Decoder(load(extra="other")),
    "tokens='x'": lambda: Decoder(load(), tokens="x"),
    "scores='x'": lambda: Decoder(load(), scores="x"),
    "attention='h_next'": lambda: Decoder(load(), attention="h_next"),
    "rows='x'": lambda: Decoder(load(), rows="x"),
    "no dimension is open": lambda: Decoder(load(rows=1)),
    "give the encoder too": lambda: Decoder(load(), connect={"h": "h_out"}),
    r"connect=\{'h': 'x'\}": lambda: Decoder(load(), tinyseq.load(encoder_graph()), connect={"h": "x"}),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_found_is_asked_for(reason):
    with pytest.raises(tinyseq.ModelError, match=reason):
        REFUSED[reason]()


def test_a_decoder_that_runs_backward_is_refused():
    with pytest.raises(tinyseq.ModelError, match="reverse"):
        g = tinyseq.Graph()
        x = g.embedding(g.input("token", ["rows", 1], np.int64), table(VOCABULARY, HIDDEN))
        y, _ = g.gru(g.transpose(x, [1, 0, 2]), weights(), layout="torch", direction="reverse")
        g.output("scores", y)
        tinyseq.generate(tinyseq.load(g), {}, Greedy(**OPTIONS))


WRONG_FEEDS = {
    "missing 'src'": {},
    "unknown 'x'": {"src": np.zeros((1, 2), np.int64), "x": np.zeros(1)},
    "is float64 and must be int64": {"src": np.full((1, 2), 0.5)},
    "a dict from name to array": 3,
}


@pytest.mark.parametrize("reason", WRONG_FEEDS)
def test_inputs_that_do_not_fit_are_refused(pair, reason):
    with pytest.raises(tinyseq.FeedError, match=reason):
        tinyseq.generate(pair, [WRONG_FEEDS[reason]], Greedy(**OPTIONS))


def test_what_is_found_are_hypotheses_as_of_all_searches(pair):
    ((found,),) = tinyseq.generate(pair, sources()[0], Greedy(**OPTIONS))
    assert type(found) is tinyseq.Hypothesis
    assert (found.frames, found.confidences, found.text, found.attention) == (None,) * 4
    assert len(found.token_scores) == len(found.tokens) + found.finished


def test_more_that_is_refused(pair):
    src = sources()[0]
    with pytest.raises(tinyseq.OptionError, match="Greedy, Sampling or Beam"):
        tinyseq.generate(pair, src, {"num_beams": 3})
    with pytest.raises(tinyseq.OptionError, match="kind='x'"):
        Decoder(load(), kind="x")
    with pytest.raises(tinyseq.OptionError, match="seed has 2 numbers for 1"):
        tinyseq.generate(pair, src, Sampling(seed=(1, 2), **OPTIONS))
    with pytest.raises(tinyseq.OptionError, match="attention="):
        tinyseq.generate(pair, src, Beam(output_attentions=True, **OPTIONS))


OF_ANOTHER_KIND = {
    "a decoder is a loaded model": lambda pair: Decoder("decoder.onnx"),
    "an encoder is a loaded model": lambda pair: Decoder(pair.session, 3),
    "connect is a dict": lambda pair: Decoder(pair.session, pair.encoder, connect=["memory"]),
    "kind=": lambda pair: Decoder(pair.session, pair.encoder, kind=["logits"]),
    "or a list of such, not NoneType": lambda pair: tinyseq.generate(pair, None, Greedy(**OPTIONS)),
    "logits_processor is a list of functions": lambda pair: tinyseq.generate(
        pair, sources()[0], Greedy(**OPTIONS), logits_processor=[None]
    ),
    "logits_processor is a list": lambda pair: tinyseq.generate(
        pair, sources()[0], Greedy(**OPTIONS), logits_processor=np.negative
    ),
    "streamer is a function": lambda pair: tinyseq.generate(
        pair, sources()[0], Greedy(**OPTIONS), streamer=True
    ),
    "prefix=array": lambda pair: tinyseq.generate(pair, sources()[0], Greedy(prefix=np.array(3), **OPTIONS)),
    "compete=None must be True, False": lambda pair: Beam(compete=None, **OPTIONS),
    "early_stopping=1 must be True, False or 'never'": lambda pair: Beam(early_stopping=1, **OPTIONS),
    "output_attentions='yes' must be": lambda pair: Greedy(output_attentions="yes", **OPTIONS),
    "seed='7'": lambda pair: Sampling(seed="7", **OPTIONS),
}


@pytest.mark.parametrize("reason", OF_ANOTHER_KIND)
def test_arguments_of_another_kind_are_refused(pair, reason):
    with pytest.raises(tinyseq.TinyseqError, match=reason):
        OF_ANOTHER_KIND[reason](pair)


def test_whole_numbers_of_numpy_are_whole_numbers(pair):
    given = {name: np.int64(value) for name, value in OPTIONS.items()}
    own, numpys = (
        Sampling(top_k=kind(3), seed=kind(5), suppress_tokens=[kind(4)], **options)
        for kind, options in ((int, OPTIONS), (np.int32, given))
    )
    assert own == numpys
    assert tinyseq.generate(pair, sources()[0], own) == tinyseq.generate(pair, sources()[0], numpys)


def test_a_seed_is_another_stream_for_each_input_and_sequence(pair):
    options = Sampling(num_return_sequences=4, temperature=3.0, seed=7, **OPTIONS)
    src = {"src": np.zeros((3, 2), np.int64)}
    found = tinyseq.generate(pair, src, options)
    assert found == tinyseq.generate(pair, src, options)
    assert len({tuple(h.tokens) for hypotheses in found for h in hypotheses}) > 6
    other = Sampling(**vars(options) | {"seed": 8})
    assert tinyseq.generate(pair, src, other) != found


def test_row_counts_are_few():
    sizes = {rounded(count) for count in range(1, 513)}
    assert len(sizes) < 40
    assert all(count <= rounded(count) <= 1.25 * count + 1 for count in range(1, 513))
    assert [rounded(count) for count in range(1, 9)] == list(range(1, 9))
