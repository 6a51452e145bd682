"""The demonstration sentiment: what it says of reviews, whole and word by word."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tinyseq.demo.sentiment import bag, data, run, words

import tinyseq
from tinyseq.errors import ModelError, OptionError

EXPECTED = np.load(Path(__file__).parents[1] / "data" / "demo_sentiment.npz")
FAVOURABLE = ("a gorgeous and witty film", "a wonderful, moving story", "the best film of the year")
UNFAVOURABLE = ("a dull, tedious mess", "the worst and most boring film", "awful jokes and a bad script")


@pytest.fixture(scope="module")
def judge() -> run.Judge:
    return run.Judge()


def test_narrow_weights_give_nearly_what_torch_gave():
    feeds = {"words": EXPECTED["words"]}
    for path, name in ((run.WHOLE, "whole"), (run.FORWARD, "forward")):
        found = tinyseq.load(path).run(feeds)["favourable"]
        assert found.shape == EXPECTED[name].shape
        assert np.abs(found - EXPECTED[name]).max() < 0.05


def test_clear_words_decide(judge):
    for text in FAVOURABLE:
        assert judge(text) > 0.6 and judge.live(text)[-1] > 0.6
    for text in UNFAVOURABLE:
        assert judge(text) < 0.4 and judge.live(text)[-1] < 0.4


def test_the_stream_gives_what_the_whole_sequence_gives(judge):
    text = " ".join(FAVOURABLE)
    whole = tinyseq.load(run.FORWARD).run({"words": judge.vocabulary.numbers(text)[None]})["favourable"][0]
    assert np.array_equal(judge.live(text), whole)


def test_every_word_is_shown_with_what_is_thought_behind_it(capsys, tmp_path):
    plot = tmp_path / "own.png"
    assert run.main(["--sentence", "Dull, but moving.", "--plot", str(plot)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["dull", "but", "moving"]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_json_holds_all_of_it(capsys):
    assert run.main(["--sentence", "xyzzy is moving", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["words"] == ["xyzzy", "is", "moving"] and report["known"] == [False, True, True]
    assert len(report["behind_each_word"]) == 3 and 0 <= report["favourable"] <= 1


def test_a_file_is_judged_line_by_line(capsys, tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("\n".join([*FAVOURABLE, "", *UNFAVOURABLE]), encoding="utf-8")
    assert run.main(["--text", str(path)]) == 0
    said = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert said == ["favourable"] * 3 + ["unfavourable"] * 3


def test_a_text_without_words_is_unknown_and_no_error(judge):
    assert judge("...") == judge("xyzzy") and judge.live("...") == judge.live("xyzzy")


def test_a_file_without_reviews_is_refused(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("\n\n")
    with pytest.raises(ModelError, match="empty"):
        run.main(["--text", str(path)])


def test_an_empty_sentence_is_refused():
    with pytest.raises(OptionError, match="--sentence is empty"):
        run.main(["--sentence", "good", "--sentence", " "])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "It isn't ''Psycho'' &amp; can't be!",
            ["it", "is", "n", "'t", "psycho", "ca", "n", "'t", "be", "!"],
        ),
        ("Disney\N{RIGHT SINGLE QUOTATION MARK}s 2nd film?", ["disney", "'s", "2nd", "film", "?"]),
        ("", []),
    ],
)
def test_words(text, expected):
    assert words.words(text) == expected


def test_the_bag_of_words_learns_which_side_a_word_is_on():
    learned = bag.BagOfWords(
        [*(data.Review(t, 1.0) for t in FAVOURABLE), *(data.Review(t, -1.0) for t in UNFAVOURABLE)]
    )
    assert learned.favourable("witty") and not learned.favourable("tedious")


def test_no_review_is_in_two_parts_and_most_held_out_ones_are_judged_right(asset, judge):
    asset("film-reviews")
    parts = data.split()
    texts = [{review.text for review in part} for part in parts]
    assert [len(part) for part in texts] == [8566, 1000, 1000]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]
    right = sum((judge(review.text) > 0.5) == review.favourable for review in parts.test)
    assert right > 770
