"""Searches over tables of scores: against all sequences there are, against transformers, and at the edges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests import tables
from tests.strategies.generation import changing_options
from tests.tables import run
from tinyseq import Beam, Greedy, OptionError, Sampling
from tinyseq.kernels.instructions import LOG_PROBABILITIES, PROBABILITIES

RECORDED = json.loads(Path(__file__).with_name("data").joinpath("generation_expected.json").read_text())
TABLES = np.array(RECORDED["tables"], np.float32)
START, END = 1, 2


def method(options: dict):
    """The options of a recorded case, and its prompt."""
    given = {"decoder_start_token_id": START, "eos_token_id": END, "max_new_tokens": 8} | options
    given.pop("processor", None)
    return (Beam if "num_beams" in given else Greedy)(**given)


def favour(tokens: np.ndarray, scores: np.ndarray) -> None:
    scores[:, 5] += 0.5 * tokens.shape[1]


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: f"{case['name']} {case['seed']}")
def test_hypotheses_are_those_of_transformers(isa, case):
    options = method(case["options"])
    processors = [favour] if "processor" in case["options"] else []
    table = TABLES[case["seed"]]
    (found,) = run(table[None], options, processors=processors)
    ends = options.end_tokens
    wanted = case["hypotheses"]
    assert [h.tokens for h in found] == [
        row["tokens"][:-1] if row["tokens"][-1] in ends else row["tokens"] for row in wanted
    ]
    np.testing.assert_allclose([h.score for h in found], [row["score"] for row in wanted], atol=1e-5)


@pytest.mark.parametrize("case", RECORDED["warped"], ids=lambda case: f"{case['name']} {case['seed']}")
def test_what_is_drawn_from_is_what_transformers_draws_from(isa, case):
    """Draws 3000 first tokens; each probability's share of them, and its score."""
    wanted = np.array(case["log_probabilities"])
    options = Sampling(
        decoder_start_token_id=START, max_new_tokens=1, num_return_sequences=3000, **case["options"]
    )
    keys = np.random.default_rng(0).integers(2**62, size=3000)
    table = TABLES[case["seed"]]
    (found,) = run((np.round(table) if "ties" in case["name"] else table)[None], options, keys=keys)
    tokens = np.array([h.tokens[0] for h in found])
    np.testing.assert_allclose([h.score for h in found], wanted[tokens], atol=1e-5)
    share = np.exp(wanted)
    counts = np.bincount(tokens, minlength=len(wanted))
    assert (np.abs(counts - 3000 * share) <= 5 * np.sqrt(3000 * share * (1 - share))).all()


@st.composite
def spaces(draw):
    vocabulary = draw(st.integers(1, 4))
    most = draw(st.integers(1, 3))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    table = (rng.standard_normal((3, vocabulary, vocabulary)) * 2).astype(np.float32)
    table[rng.random(table.shape) < draw(st.sampled_from([0, 0, 0.2]))] = -np.inf
    return table, most, draw(changing_options(vocabulary, most))


@given(spaces(), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_a_beam_as_wide_as_the_space_finds_the_best(space, compete, covers):
    table, most, options = space
    vocabulary = table.shape[-1]
    width = max(tables.sequences(vocabulary, most), 1)
    rng = np.random.default_rng(0)
    attention = rng.dirichlet(np.ones(4), (3, vocabulary)).astype(np.float32) if covers else None
    options = Beam(
        decoder_start_token_id=0,
        max_new_tokens=most,
        num_beams=width,
        num_return_sequences=width,
        compete=compete,
        coverage_penalty=0.3 if covers else 0.0,
        **options,
    )
    wanted = sorted(tables.enumerated(table, options, attention), reverse=True)
    (found,) = run(table[None], options, attentions=None if attention is None else attention[None])
    if not wanted:
        return
    found = [h for h in found if h.finished or len(h.tokens) == most]
    np.testing.assert_allclose([h.score for h in found], [score for score, _ in wanted], atol=1e-5)
    assert tuple(found[0].tokens) in {
        tokens[:-1] if tokens[-1] in options.end_tokens else tokens
        for score, tokens in wanted
        if abs(score - wanted[0][0]) < 1e-5
    }
    for hypothesis in found:
        norm = len(hypothesis.token_scores) ** options.length_penalty
        if not covers:
            assert abs(sum(hypothesis.token_scores) / norm - hypothesis.score) < 1e-5


@given(spaces())
@settings(max_examples=40)
def test_greedy_is_the_likeliest_token_each_time(space):
    table, most, options = space
    options.pop("length_penalty")
    options = Greedy(decoder_start_token_id=0, max_new_tokens=most, **options)
    (found,) = run(table[None], options)[0]
    history, scores = [0, *options.prefix], []
    for new in range(most):
        at = (len(history) - 1) % len(table), history[-1]
        left = log_softmax = tables.changed(table[at].astype(np.float32), history, new, options)
        if not (left > -np.inf).any():
            break
        log_softmax = tables.log_softmax(left)
        history.append(int(np.argmax(left)))
        scores.append(log_softmax[history[-1]])
        if history[-1] in options.end_tokens:
            break
    tokens = history[1 + len(options.prefix) :]
    ended = bool(tokens) and tokens[-1] in options.end_tokens
    assert (found.tokens, found.finished) == (tokens[:-1] if ended else tokens, ended)
    np.testing.assert_allclose(found.token_scores, scores, atol=1e-5)
    np.testing.assert_allclose(found.score, sum(scores), atol=1e-5)


METHODS = {
    "greedy": Greedy(decoder_start_token_id=START, eos_token_id=END, max_new_tokens=20),
    "beam": Beam(decoder_start_token_id=START, eos_token_id=END, max_new_tokens=20, num_return_sequences=5),
    "compete": Beam(decoder_start_token_id=START, eos_token_id=END, max_new_tokens=20, compete=True),
    "groups": Beam(
        decoder_start_token_id=START, eos_token_id=END, max_new_tokens=20, num_beams=6, num_beam_groups=3,
        diversity_penalty=0.5,
    ),
    "sampling": Sampling(
        decoder_start_token_id=START, eos_token_id=END, max_new_tokens=20, num_return_sequences=3, top_p=0.9
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_a_result_does_not_depend_on_the_batch(isa, name):
    options = METHODS[name]
    rng = np.random.default_rng(3)
    many = (rng.standard_normal((13, 8, 9, 9)) * 2).astype(np.float32)
    keys = rng.integers(2**62, size=(13, 3))
    more = [{"keys": keys[i : i + 1]} if name == "sampling" else {} for i in range(13)]
    alone = [run(many[i : i + 1], options, **more[i])[0] for i in range(13)]
    together = run(many, options, **({"keys": keys} if name == "sampling" else {}))
    assert together == alone


def test_groups_differ_by_what_the_groups_before_them_chose():
    """Against the definition: the groups one after the other, each step."""
    table = TABLES[0]
    options = Beam(
        decoder_start_token_id=START, max_new_tokens=3, num_beams=3, num_beam_groups=3, diversity_penalty=5.0,
        num_return_sequences=3,
    )  # fmt: skip
    (found,) = run(table[None], options)
    groups = [([START], 0.0) for _ in range(3)]
    for _ in range(3):
        chosen: list[int] = []
        for index, (tokens, total) in enumerate(groups):
            scores = tables.log_softmax(table[len(tokens) - 1, tokens[-1]])
            for token in chosen:
                scores[token] -= 5.0
            best = int(np.argmax(scores))
            chosen.append(best)
            groups[index] = ([*tokens, best], total + scores[best])
    wanted = sorted(groups, key=lambda group: -group[1])
    assert [h.tokens for h in found] == [tokens[1:] for tokens, _ in wanted]
    np.testing.assert_allclose([h.score for h in found], [total / 3 for _, total in wanted], atol=1e-5)


def test_patience_is_how_many_must_finish():
    table = TABLES[1][None]
    given = {"decoder_start_token_id": START, "eos_token_id": END, "early_stopping": True, "num_beams": 2}
    steps = {}
    for patience in (0.5, 1.0, 3.0):
        options = Beam(**given, max_new_tokens=30, patience=patience)
        found = tables.search(table, options)
        steps[patience] = 1
        while found.step():
            steps[patience] += 1
    assert steps[0.5] < steps[1.0] < steps[3.0]


def test_scores_may_be_log_probabilities_or_probabilities():
    options = METHODS["beam"]
    wanted = run(TABLES, options)
    for kind, change in (
        (LOG_PROBABILITIES, tables.log_softmax),
        (PROBABILITIES, lambda table: np.exp(tables.log_softmax(table))),
    ):
        found = run(change(TABLES).astype(np.float32), options, kind=kind)
        for one, other in zip(found, wanted):
            assert [h.tokens for h in one] == [h.tokens for h in other]
            np.testing.assert_allclose([h.score for h in one], [h.score for h in other], atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_scores_that_are_no_numbers(name, value):
    """Not-a-number is never chosen; rows without a choice end; infinity is certain."""
    table = TABLES[:2].copy()
    table[0, :, :, 3:] = value
    keys = {"keys": np.arange(6).reshape(2, 3)} if name == "sampling" else {}
    options = type(METHODS[name])(**vars(METHODS[name]) | {"min_new_tokens": 2})
    found = run(table, options, **keys)
    chosen = {token for h in found[0] for token in h.tokens}
    assert chosen
    assert all(token >= 3 for token in chosen) if value == np.inf else all(token < 3 for token in chosen)
    table[0] = value
    stuck = run(table, options, **keys)
    assert stuck[1] == found[1]
    if value != np.inf:
        assert all(h.tokens == [] and not h.finished for h in stuck[0])


@pytest.mark.parametrize("name", METHODS)
def test_a_vocabulary_of_one(name):
    table = np.zeros((1, 2, 1, 1), np.float32)
    options = METHODS[name]
    own = {"decoder_start_token_id": 0, "eos_token_id": None, "max_new_tokens": 4}
    options = type(options)(**{**vars(options), **own})
    (found,) = run(table, options)
    assert found[0].tokens == [0] * 4
    assert found[0].score == 0


@pytest.mark.parametrize("name", METHODS)
def test_no_inputs(name):
    assert run(np.zeros((0, 2, 3, 3), np.float32), METHODS[name], prompts=np.zeros((0, 1))) == []


def test_what_is_not_over_ends_as_it_stands():
    for name in ("greedy", "beam"):
        options = METHODS[name]
        found = tables.search(TABLES[:1], type(options)(**vars(options) | {"eos_token_id": None}))
        for _ in range(3):
            assert found.step()
        (first, *_rest) = found.end()[0]
        assert len(first.tokens) == 3
        assert not first.finished


def test_attention_of_each_token_is_of_the_row_that_chose_it():
    rng = np.random.default_rng(0)
    attention = rng.random((1, 8, 9, 5)).astype(np.float32)
    for name in ("greedy", "beam"):
        options = METHODS[name]
        options = type(options)(**vars(options) | {"output_attentions": True})
        (found,) = run(TABLES[:1], options, attentions=attention)
        for hypothesis in found:
            history = [START, *hypothesis.tokens]
            wanted = [attention[0, place % 8, token] for place, token in enumerate(history)]
            wanted = wanted if hypothesis.finished else wanted[:-1]
            np.testing.assert_array_equal(hypothesis.attention, wanted)


WRONG = {
    "max_new_tokens=0": (Greedy, {"max_new_tokens": 0}),
    "min_new_tokens=9": (Greedy, {"min_new_tokens": 9, "max_new_tokens": 8}),
    "repetition_penalty=0": (Greedy, {"repetition_penalty": 0}),
    "eos_token_id=-1": (Greedy, {"eos_token_id": -1}),
    "num_beams=0": (Beam, {"num_beams": 0}),
    "early_stopping='soon'": (Beam, {"early_stopping": "soon"}),
    "num_beam_groups=2": (Beam, {"num_beams": 3, "num_beam_groups": 2}),
    "num_return_sequences=6": (Beam, {"num_beams": 5, "num_return_sequences": 6}),
    "temperature=0": (Sampling, {"temperature": 0}),
    "top_p=1.5": (Sampling, {"top_p": 1.5}),
    "seed='x'": (Sampling, {"seed": "x"}),
    "suppress_tokens=1 must be a list": (Greedy, {"suppress_tokens": 1}),
    "forced_bos_token_id=''": (Greedy, {"forced_bos_token_id": ""}),
    "from 0 to 2147483647": (Greedy, {"no_repeat_ngram_size": 2**70}),
    "from 1 to 65536": (Sampling, {"num_return_sequences": 2**70}),
    "num_beams=1180591620717411303424": (Beam, {"num_beams": 2**70}),
}


@pytest.mark.parametrize("text", WRONG)
def test_options_out_of_range_are_refused(text):
    make, options = WRONG[text]
    with pytest.raises(OptionError, match=text):
        make(decoder_start_token_id=0, **options)


def test_tokens_outside_the_vocabulary_are_refused():
    for name in ("eos_token_id", "forced_bos_token_id", "forced_eos_token_id"):
        options = Greedy(decoder_start_token_id=0, **{name: 9})
        with pytest.raises(OptionError, match=f"{name}=9"):
            run(TABLES[:1], options)


@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2))
def test_a_start_that_has_no_score_is_counted_where_it_can_be(isa, seed, size, prefix):
    """Decoders may have more tokens to be given than to give."""
    table = np.random.default_rng(seed).normal(0, 2, (3, 4, 3)).astype(np.float32)
    width = tables.sequences(3, 3)
    options = Beam(
        decoder_start_token_id=3,
        prefix=prefix,
        max_new_tokens=3,
        num_beams=width,
        num_return_sequences=width,
        repetition_penalty=1.7,
        no_repeat_ngram_size=size,
    )
    (found,) = run(table[None], options)
    wanted = sorted(tables.enumerated(table, options), reverse=True)
    assume(wanted)
    assert [tuple(h.tokens) for h in found] == [tokens for _, tokens in wanted]
    np.testing.assert_allclose([h.score for h in found], [score for score, _ in wanted], atol=1e-5)


def test_hypotheses_that_nothing_can_follow_are_scored_by_their_own_length():
    table = np.full((2, 3, 3), -np.inf, np.float32)
    table[0, 0] = np.log([0.5, 0.3, 0.2])
    (found,) = run(table[None], Beam(decoder_start_token_id=0, max_new_tokens=5, num_return_sequences=2))
    assert [h.tokens for h in found] == [[0], [1]]
    np.testing.assert_allclose([h.score for h in found], np.log([0.5, 0.3]), atol=1e-6)
