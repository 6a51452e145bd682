"""The options of CTC searches, and what their scores are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from math import inf

from tinyseq.decode.frames.rows import SCORES
from tinyseq.decode.lm.options import PrefixSearchOptions
from tinyseq.decode.option_checks import one_of, real, whole
from tinyseq.decode.vocabulary import strings

OPEN_PRUNING, LEXICON_PRUNING = (-10.0, -5.0), (-25.0, -12.0)
"""How far below the best one hypotheses go on, and below which logarithm tokens do not count, where nothing
is said of it: without a lexicon and with one."""


@dataclass(frozen=True)
class CtcGreedy:
    """The most probable single alignment: the strongest token of each frame, repetitions and blanks left out.

    The score is the sum of those tokens' log-probabilities (Graves et al., 2006, "best path decoding").

    Attributes:
        blank: the blank's id.
        vocabulary: the tokens' strings, in order or a dict between them and the tokens, for
            ``Hypothesis.text``.
        scores: what the rows are: ``"logp"``, natural logarithms of probabilities, ``"logits"`` or
            ``"probabilities"``.
    """

    blank: int = 0
    vocabulary: Sequence[str] | Mapping[str, int] | None = None
    scores: str = "logp"

    def __post_init__(self) -> None:
        whole(self, "blank", 0)
        strings(self, "vocabulary")
        one_of(self, "scores", *SCORES)

    @property
    def fewest_tokens(self) -> int:
        """A size of rows that these options can be used with."""
        return self.blank + 1 if self.vocabulary is None else len(self.vocabulary)


@dataclass(frozen=True)
class CtcBeamSearch(PrefixSearchOptions):
    """Prefix beam search: all alignments of the same tokens count as one hypothesis.

    The algorithm is that of Hannun et al., 2014, "First-pass large vocabulary continuous speech recognition
    using bi-directional recurrent DNNs". Tokens y for rows x have the score ``ln p(y | x)``, with natural
    logarithms, and what ``PrefixSearchOptions`` adds; p(y | x) is the sum over the alignments of y, as far as
    their prefixes stayed in the beam, of the product of the rows' probabilities. Rows that are not normalised
    are taken as they are.

    After each frame, the ``beam_width`` hypotheses with the highest scores go on. Of equal ones those without
    a new token come first, then those that come from a better hypothesis, then those with the stronger
    token, then with the smaller id: no result depends on chance, on other streams or on chunks.

    Attributes:
        beam_width: how many hypotheses go on.
        blank: the blank's id.
        beam_prune_logp: hypotheses whose score is lower than the best one's by more than this do not
            go on; ``-inf`` keeps all. Without it -10, with a lexicon -25.
        token_min_logp: tokens, the blank too, below this log-probability are left out of a frame, but
            never the strongest; ``-inf`` keeps all. Without it -5, with a lexicon -12: its words may have to
            take tokens that a model thinks little of, and are lost where one of theirs is left out.
        tokens_per_frame: at most so many tokens, the strongest, take part in a frame; None is no limit.
        scores: what the rows are: ``"logp"``, natural logarithms of probabilities, ``"logits"`` or
            ``"probabilities"``.
    """

    beam_width: int = 10
    blank: int = 0
    _: KW_ONLY
    beam_prune_logp: float | None = None
    token_min_logp: float | None = None
    tokens_per_frame: int | None = None
    scores: str = "logp"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens_per_frame is not None:
            whole(self, "tokens_per_frame", 1)
        for name in ("beam_prune_logp", "token_min_logp"):
            if getattr(self, name) is not None:
                real(self, name, -inf, 0.0)
        one_of(self, "scores", *SCORES)

    @property
    def pruning(self) -> tuple[float, float]:
        """``beam_prune_logp`` and ``token_min_logp`` as they hold, given or not."""
        hypotheses, tokens = OPEN_PRUNING if self.lexicon is None else LEXICON_PRUNING
        return (
            hypotheses if self.beam_prune_logp is None else self.beam_prune_logp,
            tokens if self.token_min_logp is None else self.token_min_logp,
        )
