"""The options of transducer searches, and what their scores are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from math import inf

from tinyseq.decode.lm.options import LARGEST, PrefixSearchOptions
from tinyseq.decode.option_checks import flag, real, whole
from tinyseq.decode.vocabulary import strings


@dataclass(frozen=True)
class TransducerGreedy:
    """The likeliest symbol each time: a blank goes on to the next frame, a token to the same frame once more.

    Graves, 2012, "Sequence transduction with recurrent neural networks". Many streams are searched by label
    looping (Bataev et al., 2024): each looks through its frames for its next token, then the predictor takes
    the tokens of all at once. The score is the sum of ln p of all symbols chosen, blanks too, where:

        p = softmax(scores / temperature), blank_penalty first taken off the blank's score

    Of symbols equally likely the one with the smaller id counts.

    Attributes:
        blank: the blank's id.
        max_symbols: after so many tokens a frame is over, without a blank.
        blank_penalty: above 0, blanks become rarer: fewer tokens are left out.
        temperature: above 1, probabilities become more alike; of use for beam search and confidences only.
        vocabulary: the tokens' strings, in order or a dict between them and the tokens, for
            ``Hypothesis.text``.
    """

    blank: int = 0
    max_symbols: int = 10
    _: KW_ONLY
    blank_penalty: float = 0.0
    temperature: float = 1.0
    vocabulary: Sequence[str] | Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        whole(self, "blank", 0)
        whole(self, "max_symbols", 1)
        _check_scaling(self)
        strings(self, "vocabulary")


@dataclass(frozen=True)
class TransducerBeamSearch(PrefixSearchOptions):
    """Modified beam search: at most one token a frame, all alignments of the same tokens one hypothesis.

    The method is icefall's ``modified_beam_search``, also sherpa-onnx's. In each frame every hypothesis goes
    on by a blank or by a token. The ``beam_width`` best of these are taken, of equal ones those of the better
    hypothesis, then with the smaller id; then those with the same tokens are put together. Tokens y for
    frames x have the score ``ln p(y | x)`` and what ``PrefixSearchOptions`` adds: p(y | x) is the sum over
    the alignments of y, as far as they stayed in the beam, of the product of their symbols' probabilities:

        p = softmax(scores / temperature), blank_penalty first taken off the blank's score

    With ``length_norm`` results are ranked, and scored, by that divided by the number of tokens, those that
    the predictor is started with counted too, as icefall does.

    Unlike there, what hotwords and a language model add to a token counts already when the best are taken.

    Attributes:
        beam_width: how many hypotheses go on.
        blank: the blank's id.
        beam_prune_logp: hypotheses whose score is lower than the best one's by more than this do not
            go on; ``-inf`` keeps all. Each that is given up saves a row of the models' work.
        blank_penalty: above 0, blanks become rarer: fewer tokens are left out.
        temperature: above 1, probabilities become more alike.
        length_norm: whether long results are made up for.
    """

    beam_width: int = 4
    blank: int = 0
    _: KW_ONLY
    beam_prune_logp: float = -inf
    blank_penalty: float = 0.0
    temperature: float = 1.0
    length_norm: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        real(self, "beam_prune_logp", -inf, 0.0)
        _check_scaling(self)
        flag(self, "length_norm")

    @property
    def pruning(self) -> tuple[float, float]:
        """``beam_prune_logp``, and no bound of tokens."""
        return self.beam_prune_logp, -inf


def _check_scaling(options: TransducerGreedy | TransducerBeamSearch) -> None:
    real(options, "blank_penalty", -LARGEST, LARGEST)
    real(options, "temperature", 1e-6, LARGEST)
