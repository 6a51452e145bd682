"""The demonstration forecast: better than naive, streamed as whole, and series of the user's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tinyseq.demo.forecast import run
from tinyseq.demo.forecast.data import BEFORE, SERIES, fetched, read_csv, shipped, trained
from tinyseq.demo.forecast.features import LIMIT, Online, naive
from tinyseq.demo.forecast.forecaster import FOLDER, Forecaster
from tinyseq.demo.forecast.scores import scores

import tinyseq
from tinyseq.errors import FeedError, ModelError, OptionError

EXPECTED = Path(__file__).parent / "data" / "forecast_expected.npz"


def told(capsys, folder: Path, *options: str) -> dict:
    """What the command prints with --json."""
    assert run.main([f"--plot={folder / 'own.png'}", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def csv(folder: Path, values, name: str = "own.csv", head: str = "time,value") -> Path:
    path = folder / name
    path.write_text("\n".join([head, *(f"{at},{value}" for at, value in enumerate(values))]) + "\n")
    return path


def forecaster(name: str) -> Forecaster:
    return Forecaster(tinyseq.load(FOLDER / f"{name}.tinyseq"), SERIES[name].season)


# the models


@pytest.mark.parametrize(("name", "share"), [("load", 0.7), ("weather", 0.8), ("stock", 1.02)])
def test_forecasts_are_better_than_naive_where_the_page_says_so(capsys, tmp_path, name, share):
    (report,) = told(capsys, tmp_path, name)["series"]
    assert report["mean_absolute_error"] < share * report["seasonal_naive_error"]
    assert 0.4 < report["held_by_50"] < 0.75 and 0.85 < report["held_by_90"] < 0.98
    assert report["tested"] == len(shipped(name)[0]) - BEFORE[name]


@pytest.mark.parametrize("name", SERIES)
def test_a_stream_gives_the_bits_of_the_whole(name):
    values = shipped(name)[0][: SERIES[name].season + 200]
    live = forecaster(name)
    found = [live.push(value) for value in values]
    whole = forecaster(name).whole(values)
    season = SERIES[name].season
    assert found[:season] == [None] * season and np.isnan(whole[:season]).all()
    assert np.array(found[season:]).tobytes() == whole[season:].tobytes()
    assert (np.diff(whole[season:], axis=-1) >= 0).all()


@pytest.mark.parametrize("name", SERIES)
def test_the_network_computes_what_torch_computed(name):
    with np.load(EXPECTED) as arrays:
        found = tinyseq.load(FOLDER / f"{name}.tinyseq").run({"features": arrays["features"]})["quantiles"]
        np.testing.assert_allclose(found, arrays[name], atol=0.05)


@pytest.mark.parametrize("name", SERIES)
def test_level_and_scale_make_no_difference(name):
    values = shipped(name)[0][: SERIES[name].season + 60]
    plain, other = forecaster(name).whole(values), forecaster(name).whole(1000 * values - 7)
    np.testing.assert_allclose(other, 1000 * plain - 7, rtol=1e-4, atol=1e-2 * np.nanstd(plain) * 1000)


def test_what_ships_is_the_end_of_what_is_fetched(asset):
    for name, in_package in (("load", "power-load"), ("weather", "weather"), ("stock", "stock")):
        asset(in_package)
        values, (kept, first) = fetched(name)[0], shipped(name)
        np.testing.assert_allclose(kept, values[len(values) - len(kept) :], rtol=1e-6)
        assert len(kept) - first == len(values) - trained(values, SERIES[name])


# features and scores


@pytest.mark.parametrize(("season", "horizon"), [(1, 3), (5, 3), (5, 12)])
def test_naive_forecasts_are_the_last_values_whole_seasons_before(season, horizon):
    values = np.arange(40.0)
    online = Online(season, horizon)
    for at, value in enumerate(values):
        online.push(value)
        if at >= season:
            found = naive(values, np.array([at]), season, horizon)[0]
            assert online.naive().tolist() == found.tolist()
            assert ((at + np.arange(1, horizon + 1) - found) % season == 0).all() and found.max() <= at


@pytest.mark.parametrize(
    "values", [np.zeros(50), np.full(50, 1e30), np.geomspace(1, 1e30, 50), np.arange(50) % 2]
)
def test_features_are_bounded_whatever_comes(values):
    online = Online(4, 6)
    seen = np.array([online.push(value) for value in values])
    assert np.isfinite(seen).all() and np.abs(seen).max() <= LIMIT


def test_scores_are_those_of_what_came():
    values = np.arange(30.0)
    quantiles = values[:, None, None] + np.array([-1, 0, 1, 2, 3]) + np.arange(4)[:, None]
    found = scores(values, quantiles, 1, 10)
    assert found.model.tolist() == [0] * 4
    assert found.season.tolist() == found.last.tolist() == [1, 2, 3, 4]
    assert found.inner == found.outer == 1


# files of one's own


def test_a_series_of_ones_own(capsys, tmp_path):
    at = np.arange(400)
    values = 50 + 10 * np.sin(at * 2 * np.pi / 24) + np.random.default_rng(0).normal(0, 1, 400)
    report = told(capsys, tmp_path, f"--csv={csv(tmp_path, values)}", "--season=24")["series"][0]
    assert report["values"] == 400 and report["horizon"] == 24 and report["season"] == 24
    assert np.shape(report["ahead"]) == (24, 5)
    assert np.abs(np.array(report["ahead"])[:, 2] - values[-24:]).mean() < 3
    assert run.main([f"--plot={tmp_path / 'own.png'}", f"--csv={tmp_path / 'own.csv'}", "--season=24"]) == 0
    assert "24 ahead" in capsys.readouterr().out


def test_a_model_that_does_not_fit_says_how_one_is_made(capsys, tmp_path):
    values = np.cumsum(np.where(np.arange(300) % 2, 1.0, -1.0)) + np.arange(300)
    assert (
        run.main([f"--plot={tmp_path / 'own.png'}", f"--csv={csv(tmp_path, values)}", "--column=value"]) == 0
    )
    out = capsys.readouterr().out
    assert ("examples.forecast.train --csv" in out) == ("naive forecast is as good" in out)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_by_name_and_any_separator(tmp_path, separator):
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["a,b,c", "1,2.5,x", "2,-1e3,y", ""]).replace(",", separator))
    assert read_csv(path, "b").tolist() == [2.5, -1000]
    with pytest.raises(FeedError, match="no column 'd'; its columns are 'a', 'b', 'c'"):
        read_csv(path, "d")
    with pytest.raises(FeedError, match=r"line 2 of .* has 'x' in column 3, which is no finite number"):
        read_csv(path, None)


@pytest.mark.parametrize("text", ["", "a,b\n", "a\n1\nnan\n", "a\n1\n\ninf\n", "a,b\n1,2\n3\n", '"a\n1\n'])
def test_files_that_are_no_series_are_refused(tmp_path, text):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(FeedError if text else ModelError):
        run.main([f"--plot={tmp_path / 'own.png'}", f"--csv={path}"])


@pytest.mark.parametrize(
    ("text", "values"), [("1\n2\n", [1, 2]), ("v\n1\n2", [1, 2]), ("2000-01-01,3\n2000-01-02,4\n\n", [3, 4])]
)
def test_a_first_line_with_a_number_is_a_value(tmp_path, text, values):
    path = tmp_path / "own.csv"
    path.write_text(text)
    assert read_csv(path, None).tolist() == values


def test_empty_lines_are_refused_by_their_number(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("v\n1\n\n2\n")
    with pytest.raises(FeedError, match=r"line 3 of .* is empty"):
        read_csv(path, None)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("none.csv", "binary.csv", "."):
        with pytest.raises(ModelError, match="cannot read"):
            run.main([f"--plot={tmp_path / 'own.png'}", f"--csv={tmp_path / name}"])


def test_series_and_models_that_do_not_go_together_are_refused(tmp_path):
    plot, path = f"--plot={tmp_path / 'own.png'}", csv(tmp_path, range(15))
    with pytest.raises(FeedError, match="has 15 values; 22 are needed"):
        run.main([plot, f"--csv={path}"])
    with pytest.raises(OptionError, match="and load one that ships"):
        run.main([plot, "load", f"--csv={path}"])
    with pytest.raises(OptionError, match="give --csv FILE too"):
        run.main([plot, "--season=3"])
    g = tinyseq.Graph()
    g.output("y", g.relu(g.input("x", ["rows", 3])))
    tinyseq.load(g).save(tmp_path / "other.tinyseq")
    with pytest.raises(ModelError, match=r"no model of python -m examples\.forecast\.train"):
        run.main([plot, f"--csv={path}", f"--model={tmp_path / 'other.tinyseq'}"])
