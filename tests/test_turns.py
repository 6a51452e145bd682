"""Many tokens by one native call: bit for bit what one token at a time gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyseq
from tests.strategies.generation import changing_options
from tests.test_decoder import HIDDEN, OPTIONS, VOCABULARY, decoder_graph, table
from tinyseq import Beam, Decoder, Greedy, Sampling
from tinyseq.common import idle
from tinyseq.decode.generation.generate import begin
from tinyseq.decode.generation.search import Search

MOST = 40


def as_is(tokens: np.ndarray, scores: np.ndarray) -> None:
    """A processor that changes nothing; with one, each token is chosen by calls of its own."""


@st.composite
def generations(draw):
    """Options, the number of inputs and a seed."""
    options = draw(changing_options(VOCABULARY, MOST)) | {"decoder_start_token_id": 1, "max_new_tokens": MOST}
    method = draw(st.sampled_from([Greedy, Beam, Sampling]))
    if method is not Beam:
        options.pop("length_penalty")
    if method is Beam:
        options |= {
            "num_beams": draw(st.integers(1, 6)),
            "early_stopping": draw(st.sampled_from([False, True, "never"])),
            "compete": draw(st.booleans()),
        }
    if method is Sampling:
        options |= {"num_return_sequences": draw(st.integers(1, 3)), "top_k": draw(st.integers(0, 4))}
    return method(**options), draw(st.integers(1, 9)), draw(st.integers(0, 1000))


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(tinyseq.load(decoder_graph(source=True)))


def feeds_of(count: int, seed: int, length: int = 3) -> dict[str, np.ndarray]:
    return {
        "h": 3 * table(1, count, HIDDEN, seed=seed),
        "memory": table(count, length, HIDDEN, seed=seed + 1),
    }


@given(generations(), st.integers(1, 7))
@settings(max_examples=150)
def test_many_at_a_time_are_as_one_at_a_time(decoder, generation, most):
    options, count, seed = generation
    feeds = feeds_of(count, seed)
    wanted = tinyseq.generate(decoder, feeds, options, logits_processor=[as_is])
    assert tinyseq.generate(decoder, feeds, options) == wanted
    (search,) = begin(decoder, feeds, options).searches
    while search.step(most):
        pass
    assert search.end() == wanted


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8])
@pytest.mark.parametrize("method", [Greedy, Beam])
def test_tokens_are_chosen_without_python(monkeypatch, method, dtype):
    """No step comes back to Python but where tokens may not fit their type."""
    calls = []
    step_rows = Search._step_rows
    monkeypatch.setattr(Search, "_step_rows", lambda *given: calls.append(1) or step_rows(*given))
    decoder = Decoder(tinyseq.load(decoder_graph(dtype=dtype)))
    options = method(**OPTIONS | {"eos_token_id": None, "max_new_tokens": MOST})
    found = tinyseq.generate(decoder, {"h": table(1, 4, HIDDEN)}, options)
    assert len(found[0][0].tokens) == MOST
    assert len(calls) == (MOST if dtype == np.int8 else 0)


def test_what_is_the_same_for_all_rows_reaches_each_step():
    """Inputs without rows, which a program may overwrite as it runs."""
    g = tinyseq.Graph()
    h = g.input("h", [1, "rows", VOCABULARY])
    shift, open_tokens = g.input("shift", [99, VOCABULARY]), g.input("open", [VOCABULARY], np.bool_)
    shift = g.apply("ReduceSum", shift, np.array([0]), keepdims=0)
    x = g.embedding(g.input("token", ["rows"], np.int64), table(VOCABULARY, VOCABULARY))
    h = g.tanh(g.add(g.add(h, g.unsqueeze(x, [0])), shift))
    for _ in range(5):
        h = g.tanh(g.add(h, h))
    g.output("h_next", h, carries="h")
    g.output("scores", g.apply("Where", open_tokens, g.squeeze(h, [0]), np.float32(-9.0)))
    decoder = Decoder(tinyseq.load(g))
    options = Beam(decoder_start_token_id=1, max_new_tokens=MOST)
    feeds = {
        "h": table(1, 3, VOCABULARY),
        "shift": table(99, VOCABULARY, seed=3) / 9,
        "open": np.arange(VOCABULARY) % 3 != 0,
    }
    wanted = tinyseq.generate(decoder, feeds, options, logits_processor=[as_is])
    assert tinyseq.generate(decoder, feeds, options) == wanted
    assert len({h.score for (h,) in wanted}) == 3


@pytest.mark.parametrize("processors", [[], [as_is]])
def test_a_token_that_the_model_refuses_ends_the_generation(processors):
    """The scores know more tokens than the embedding."""
    g = tinyseq.Graph()
    h = g.input("h", [1, "rows", HIDDEN])
    x = g.embedding(g.input("token", ["rows"], np.int64), table(3, HIDDEN))
    h = g.tanh(g.add(h, g.unsqueeze(x, [0])))
    g.output("h_next", h, carries="h")
    g.output("scores", g.dense(g.squeeze(h, [0]), table(HIDDEN, 20, seed=2)))
    options = Greedy(decoder_start_token_id=1, max_new_tokens=MOST)
    with pytest.raises(tinyseq.FeedError, match=r"Gather.* met an index .* outside"):
        tinyseq.generate(tinyseq.load(g), {"h": table(1, 2, HIDDEN)}, options, logits_processor=processors)


def biased() -> Decoder:
    """A decoder whose scores are shifted by an input without rows."""
    graph = tinyseq.Graph()
    h = graph.input("h", [1, "rows", HIDDEN])
    shift = graph.input("shift", [VOCABULARY])
    x = graph.embedding(graph.input("token", ["rows"], np.int64), table(VOCABULARY, HIDDEN))
    h = graph.tanh(graph.add(h, graph.unsqueeze(x, [0])))
    graph.output("h_next", h, carries="h")
    y = graph.dense(graph.squeeze(h, [0]), table(HIDDEN, VOCABULARY, seed=2))
    graph.output("scores", graph.add(y, shift))
    return Decoder(tinyseq.load(graph))


def test_what_a_decoder_keeps_does_not_change_with_the_callers_arrays_and_lists():
    decoder, h = biased(), table(1, 2, HIDDEN)
    shifts, own = table(2, VOCABULARY, seed=5) * 4, np.empty(VOCABULARY, np.float32)
    banned = [3]
    options = Greedy(suppress_tokens=banned, decoder_start_token_id=1, max_new_tokens=MOST)
    wanted = [
        tinyseq.generate(decoder, {"h": h, "shift": shift}, options, logits_processor=[as_is])
        for shift in shifts
    ]
    own[:] = shifts[0]
    assert tinyseq.generate(decoder, {"h": h, "shift": own}, options) == wanted[0]
    own[:] = shifts[1]
    banned.clear()
    assert tinyseq.generate(decoder, {"h": h, "shift": shifts[0]}, options) == wanted[0]
    assert tinyseq.generate(decoder, {"h": h, "shift": own}, options) == wanted[1]


@pytest.mark.parametrize("method", [Greedy, Beam, Sampling])
def test_a_decoder_that_has_generated_generates_as_a_new_one(decoder, method, monkeypatch):
    """Starts, prompts, seeds and numbers of inputs change; what is kept is for the last few kinds only."""
    monkeypatch.setattr(idle, "MOST", 4)
    for turn in range(40):
        rng = np.random.default_rng(turn)
        options = {"decoder_start_token_id": 1, "eos_token_id": 2, "max_new_tokens": int(rng.integers(1, 9))}
        options["prefix"] = rng.integers(0, VOCABULARY, rng.integers(0, 3)).tolist()
        if method is Sampling:
            options["seed"] = turn
        feeds = feeds_of(int(rng.integers(1, 4)), turn)
        fresh = Decoder(decoder.session)
        assert tinyseq.generate(decoder, feeds, method(**options)) == tinyseq.generate(
            fresh, feeds, method(**options)
        )


def test_searches_that_step_in_python_are_not_kept():
    """On the reference nothing is prepared that another generation could use."""
    decoder = Decoder(tinyseq.load(decoder_graph(), device="reference"))
    tinyseq.generate(decoder, {"h": table(1, 3, HIDDEN)}, Greedy(**OPTIONS))
    assert not len(decoder.idle)


def test_a_failed_generation_leaves_the_decoder_as_it_was(decoder):
    feeds, options = feeds_of(2, 0), Greedy(**OPTIONS)
    wanted = tinyseq.generate(decoder, feeds, options)

    def fails(tokens, scores):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tinyseq.generate(decoder, feeds, options, logits_processor=[fails])
    (search,) = begin(decoder, feeds, Greedy(forced_bos_token_id=VOCABULARY, **OPTIONS)).searches
    for _ in range(2):
        with pytest.raises(tinyseq.OptionError, match="forced_bos_token_id=7"):
            search.step()
    assert tinyseq.generate(decoder, feeds, options) == wanted


def test_threads_share_a_decoder(decoder):
    feeds = [feeds_of(1 + seed % 3, seed) for seed in range(12)]
    options = Beam(**OPTIONS)
    wanted = [tinyseq.generate(Decoder(decoder.session), each, options) for each in feeds]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            found = threads.map(lambda each: tinyseq.generate(decoder, each, options), feeds)
            assert list(found) == wanted
