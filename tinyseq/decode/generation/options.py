"""What a user can ask of a generation: one frozen object a method.

Names and meanings are those of Hugging Face transformers' ``GenerationConfig`` unless a docstring says
otherwise. p(v) is the probability that the model gives to token v as the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter
from typing import Any

from tinyseq.common.given import is_whole
from tinyseq.common.text import shown
from tinyseq.decode.option_checks import MAX_BEAMS, MAX_INT, flag, is_listed, real, whole
from tinyseq.errors import OptionError


@cache
def _key_fields(method: type[Generation]) -> Callable[[Generation], tuple[object, ...]]:
    """What gives the values of all options but prefix and seed."""
    return attrgetter(*[field.name for field in fields(method) if field.name not in ("prefix", "seed")])


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What all methods share. Everything that changes scores is applied in the order of the fields below.

    Attributes:
        decoder_start_token_id: the token that the decoder is given first; without one, the first of the
            prefix is.
        eos_token_id: the token, or the tokens, that end a hypothesis; none if left out.
        max_new_tokens: where a hypothesis is cut, its end token counted.
        prefix: tokens that follow the start, one sequence for all inputs or one for each; several for a
            single input generate for that input once each. They are given to the decoder and not chosen;
            they count for repetition, not for scores or lengths.
        repetition_penalty: scores of tokens already there, the start included, are divided by it where
            positive and multiplied where negative (Keskar et al. 2019, section 4.1). Greedy search and
            sampling apply it, and all below, to the model's scores as they are, beam search to log p(v).
        no_repeat_ngram_size: no n-gram of this size occurs twice in a hypothesis, the start included; 0:
            any may.
        min_new_tokens: below this many tokens no end token is chosen.
        forced_bos_token_id: the first token, whatever the model says. A forced token scores 0.
        forced_eos_token_id: the token at which a hypothesis is cut by ``max_new_tokens``.
        suppress_tokens: never chosen.
        begin_suppress_tokens: not chosen as the first token; as the second if the first is forced.
        output_attentions: keep the attention over the source of each token.
    """

    decoder_start_token_id: int | None = None
    eos_token_id: int | Sequence[int] | None = None
    max_new_tokens: int = 256
    prefix: Sequence[int] | Sequence[Sequence[int]] = ()
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    min_new_tokens: int = 0
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    suppress_tokens: Sequence[int] = ()
    begin_suppress_tokens: Sequence[int] = ()
    output_attentions: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            if "token_id" in field.name or field.name.endswith("suppress_tokens"):
                self._tokens(field.name)
        flag(self, "output_attentions")
        whole(self, "max_new_tokens", 1)
        whole(self, "min_new_tokens", 0)
        whole(self, "no_repeat_ngram_size", 0)
        real(self, "repetition_penalty", 0, above=True)
        if self.min_new_tokens > self.max_new_tokens:
            raise OptionError(
                f"min_new_tokens={self.min_new_tokens} is more than max_new_tokens={self.max_new_tokens}"
            )

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for options that differ in nothing but prefix and seed."""
        return type(self), *_key_fields(type(self))(self)  # type: ignore[arg-type]  # classes are hashable

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """The tokens that end a hypothesis."""
        given = self.eos_token_id
        return () if given is None else (given,) if isinstance(given, int) else tuple(given)

    def _tokens(self, name: str) -> None:
        given = getattr(self, name)
        several = name.endswith("suppress_tokens")
        listed = is_listed(given)
        if (several and not listed) or (listed and not several and name != "eos_token_id"):
            raise OptionError(
                f"{name}={shown(given)} must be {'a list of tokens' if several else 'one token'}"
            )
        for token in given if listed else () if given is None else (given,):
            if not is_whole(token) or not 0 <= token <= MAX_INT:
                raise OptionError(f"{name}={shown(given)}: tokens are whole numbers from 0 to {MAX_INT}")
        if given is not None:
            object.__setattr__(self, name, tuple(map(int, given)) if listed else int(given))


@dataclass(frozen=True, kw_only=True)
class Greedy(Generation):
    """The likeliest token each time; of equals the one with the lower number.

    The score of a hypothesis is the sum of log softmax of the scores that the options above left.
    """


@dataclass(frozen=True, kw_only=True)
class Sampling(Generation):
    """A token drawn by its probability each time, as ``do_sample=True``.

    The options below change the scores s in this order, after those above; what they take out gets
    probability 0, and p(v) is softmax of what is left. The score of a hypothesis is the sum of log p(v) of
    the distribution that its tokens were drawn from.

    Attributes:
        num_return_sequences: hypotheses an input, each drawn by itself.
        temperature: s / temperature.
        top_k: the k tokens of highest score and those equal to the last of them; 0: all.
        top_p: the likeliest tokens until their p(v) together reach top_p (Holtzman et al. 2020); of equals
            those of higher number first.
        min_p: tokens with p(v) >= min_p * max p (Nguyen et al. 2024).
        typical_p: the tokens whose -log p(v) is nearest to the entropy, until their p(v) together reach
            typical_p, and those as near as the last of them (Meister et al. 2022).
        seed: of the random numbers. One number for all inputs, each of which then has a stream of its own
            by its place; or one an input, which then decides alone.
    """

    num_return_sequences: int = 1
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    seed: int | Sequence[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self, "num_return_sequences", 1, MAX_BEAMS)
        whole(self, "top_k", 0)
        real(self, "temperature", 0, above=True)
        real(self, "top_p", 0, 1, above=True)
        real(self, "min_p", 0, 1)
        real(self, "typical_p", 0, 1, above=True)
        listed = is_listed(self.seed)
        seeds: Any = self.seed if listed else (self.seed,)
        if not all(map(is_whole, seeds)):
            raise OptionError(f"seed={shown(self.seed)} must be a whole number, or a list of one an input")
        object.__setattr__(self, "seed", tuple(map(int, seeds)) if listed else int(seeds[0]))


@dataclass(frozen=True, kw_only=True)
class Beam(Generation):
    """Beam search.

    In each step the max(2, 1 + number of end tokens) * num_beams best continuations of all hypotheses are
    looked at, by the sum of their tokens' scores, of equals the one of the better hypothesis and lower token
    first. Those that end and are among the num_beams best finish; the num_beams best of the others
    go on. A finished hypothesis of n new tokens, its end token counted, scores

        sum of its tokens' scores / n ** length_penalty + coverage penalty

    and the round(num_beams * patience) best are kept.

    Attributes:
        num_beams: hypotheses that go on from step to step.
        num_return_sequences: hypotheses that are returned, best first.
        length_penalty: the exponent above. 0: the sum alone.
        early_stopping: when the search of an input is over, once all places of finished hypotheses are
            taken. True: at once. False: when the best running sum / n ** length_penalty does not beat the
            worst finished one. "never": likewise with the largest n there can be, if length_penalty is
            above 0.
        patience: by how much more or fewer hypotheses than num_beams must finish (Kasai et al. 2022).
        compete: finished hypotheses keep their places among the num_beams and compete with the others by
            their sums; the search ends when all places are taken by them (the textbook's beam search,
            "vanilla" in Kasai et al. 2022). early_stopping and patience play no part then.
        coverage_penalty: times the sum over the source positions j of log(min(sum over the tokens of their
            attention to j, 1)) is added to scores (Wu et al. 2016, equation 14, whose beta it is). Positions
            that no token attends to at all, as those of padding, are left out. Needs the attention.
        num_beam_groups: the beams are that many groups, searched one after the other.
        diversity_penalty: taken off the score of a token for each time that an earlier group chose it in
            the same step (Vijayakumar et al. 2016), after all other options.
    """

    num_beams: int = 5
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    patience: float = 1.0
    compete: bool = False
    coverage_penalty: float = 0.0
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self, "num_beams", 1, MAX_BEAMS)
        whole(self, "num_beam_groups", 1, MAX_BEAMS)
        whole(self, "num_return_sequences", 1, MAX_BEAMS)
        real(self, "length_penalty", -100, 100)
        real(self, "patience", 0, 100, above=True)
        real(self, "coverage_penalty", 0)
        real(self, "diversity_penalty", 0)
        flag(self, "compete")
        if not isinstance(self.early_stopping, str):
            flag(self, "early_stopping", " or 'never'")
        elif self.early_stopping != "never":
            raise OptionError(f"early_stopping={shown(self.early_stopping)} must be True, False or 'never'")
        if self.num_beams % self.num_beam_groups:
            raise OptionError(
                f"num_beams={self.num_beams} does not divide into num_beam_groups={self.num_beam_groups}"
            )
        if self.num_return_sequences > self.num_beam_groups * self.places:
            raise OptionError(
                f"num_return_sequences={self.num_return_sequences}: only "
                f"{self.num_beam_groups * self.places} hypotheses are kept; raise num_beams or patience"
            )

    @property
    def width(self) -> int:
        """Hypotheses of a group."""
        return self.num_beams // self.num_beam_groups

    @property
    def places(self) -> int:
        """Finished hypotheses that a group keeps."""
        return self.width if self.compete else max(1, round(self.width * self.patience))
