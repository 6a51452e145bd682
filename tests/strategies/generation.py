"""Options of generation."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def changing_options(draw, vocabulary: int, most: int) -> dict:
    """Any options that change scores."""
    token = st.integers(0, vocabulary - 1)
    few = st.lists(token, max_size=2)
    end = draw(st.one_of(st.none(), token, st.lists(token, min_size=1, max_size=2, unique=True)))
    options = {
        "eos_token_id": end,
        "repetition_penalty": draw(st.sampled_from([1.0, 1.5, 0.7])),
        "no_repeat_ngram_size": draw(st.integers(0, 3)),
        "min_new_tokens": draw(st.integers(0, most)),
        "forced_bos_token_id": draw(st.one_of(st.none(), token)),
        "forced_eos_token_id": draw(st.one_of(st.none(), token)),
        "suppress_tokens": draw(few),
        "begin_suppress_tokens": draw(few),
        "prefix": draw(st.lists(token, max_size=3)),
        "length_penalty": draw(st.sampled_from([0.0, 1.0, 0.6, 2.0, -1.0])),
    }
    kept = draw(st.sets(st.sampled_from(sorted(options)), max_size=4)) | {"eos_token_id", "length_penalty"}
    return {name: value for name, value in options.items() if name in kept}
