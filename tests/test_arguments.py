"""Wrong arguments of every kind, in every place of every public call: a result, or an error of tinyseq."""

from __future__ import annotations

import re

import pytest

import tinyseq
from tests.arguments.calls import CALLS
from tests.arguments.wrong import WRONG, OwnError, cases
from tinyseq.errors import TinyseqError

LONGEST = 16000
"""Characters of a message: a name of 5000 may stand in it more than once."""


REFUSED = ("torch.from_module", "read_kenlm")
"""Calls that need packages which tests do without."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments_end_in_a_result_or_an_error(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = CALLS[name]
    if name not in REFUSED and "nowhere" not in map(str, call.fitting.values()):
        call.made()(**call.fitting)
    wrong = []
    for what, act in cases(call):
        try:
            act()
        except TinyseqError as error:
            said = str(error)
            if not said or len(said) > LONGEST or re.search("[\x00-\x1f\x7f]", said):
                wrong.append(f"{what}: says {said[:100]!r}")
        except OwnError:
            pass
        except Exception as error:
            wrong.append(f"{what}: {type(error).__name__}: {str(error)[:100]}")
    assert not wrong, "\n".join(wrong)


def test_every_public_name_is_called():
    """By its own name or as what gives it: a new one needs a row in the table."""
    types = {
        "Graph", "Session", "Stream", "State", "Decoder", "DecoderStream", "CtcGreedy", "CtcBeamSearch",
        "TransducerGreedy", "TransducerBeamSearch", "Hypothesis", "FrontEnd", "LanguageModel", "Pool",
        "StreamReport", "RecognizerStream", "RecognizerResult", "Word",
    }  # fmt: skip
    called = {name.partition(".")[0] for name in CALLS} | types
    errors = {name for name in tinyseq.__all__ if name.endswith(("Error", "Warning"))}
    assert set(tinyseq.__all__) - called - errors == set()
    assert len(WRONG) > 70
