"""generate: the tokens that a model gives for inputs. Begin, step, end; offline is all three."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tinyseq.common.given import is_whole
from tinyseq.common.text import shown
from tinyseq.decode.generation.batches import Batch, in_parts
from tinyseq.decode.generation.beam_search import BeamSearch
from tinyseq.decode.generation.decoder import Decoder, Feeds
from tinyseq.decode.generation.options import Beam, Generation, Greedy, Sampling
from tinyseq.decode.generation.sampling import SamplingSearch
from tinyseq.decode.generation.search import Processor, Search
from tinyseq.decode.generation.streamers import Streamer, Told, told
from tinyseq.decode.hypothesis import Hypothesis
from tinyseq.decode.option_checks import MAX_INT, is_listed
from tinyseq.errors import OptionError
from tinyseq.runtime.claim import Claim, claiming
from tinyseq.runtime.session import Session

MOST_ROWS = 512
"""Rows of a batch; more inputs are searched batch after batch."""

TOKENS_PER_CALL = 32
"""Tokens of a hypothesis that are chosen by one call, between which Python can be interrupted."""


class Generating:
    """A generation under way: ``step`` until it is over, or as long as you like, then ``end``.

    It belongs to one thread at a time: both raise a StateError while another thread, or the call that they
    are part of, is in one of them.
    """

    def __init__(
        self, searches: Sequence[tuple[Sequence[int], Search]], inputs: int, streams: Told | None = None
    ) -> None:
        self._streams = streams
        self._numbers = [numbers for numbers, _ in searches]
        self.searches = [search for _, search in searches]
        self._inputs = inputs
        self._claim = Claim("generation")

    def __repr__(self) -> str:
        return f"Generating({self._inputs} inputs)"

    @claiming
    def step(self) -> bool:
        """One token for every hypothesis of every input; False once all are done."""
        going = [search.step() for search in self.searches]
        for search, goes_on in zip(self.searches, going):
            if not goes_on:
                search.release()
        return any(going)

    @claiming
    def end(self) -> list[list[Hypothesis]]:
        """For each input its hypotheses, best first; those not finished yet as they stand."""
        found: list[list[Hypothesis]] = [[] for _ in range(self._inputs)]
        for numbers, search in zip(self._numbers, self.searches):
            for number, hypotheses in zip(numbers, search.end()):
                found[number] = hypotheses
        if self._streams is not None:
            self._streams.end()
            self._streams = None
        return found


def begin(
    decoder: Session | Decoder,
    feeds: Feeds | Sequence[Feeds],
    options: Generation,
    *,
    logits_processor: Sequence[Processor] = (),
    streamer: Streamer | None = None,
) -> Generating:
    """``generate`` step by step."""
    streams = told(streamer, options)
    batches = list(_batches(decoder, feeds, options, logits_processor, streams))
    searches = [(batch.numbers, batch.search()) for batch in batches]
    return Generating(searches, sum(len(numbers) for numbers, _ in searches), streams)


def generate(
    decoder: Session | Decoder,
    feeds: Feeds | Sequence[Feeds],
    options: Generation,
    *,
    logits_processor: Sequence[Processor] = (),
    streamer: Streamer | None = None,
) -> list[list[Hypothesis]]:
    """The sequences that a recurrent decoder gives for inputs.

    The result for an input does not depend, in any bit, on the other inputs.

    Args:
        decoder: a loaded model, or a ``Decoder``, which also says what its inputs and outputs are, has
            an encoder, and keeps what one generation has prepared for the next.
        feeds: arrays by name, as the encoder takes them (or, without one, the decoder: initial state and
            what stays the same), of any number of rows; or a list of such dicts, whose shapes may differ.
            A language model, which takes nothing but tokens and state, is given ``{}``.
        options: ``Greedy``, ``Beam`` or ``Sampling``.
        logits_processor: functions that change scores after the options have; see ``Processor``.
        streamer: told of each token as it is chosen, for ``Greedy`` and ``Sampling``; see ``Streamer``.

    Returns:
        For each input its hypotheses, best first.

    Raises:
        FeedError: inputs do not fit the model.
        ModelError: what is needed cannot be found in the model; says what to name.
        OptionError: options do not fit the model or each other.
    """
    found: list[tuple[int, list[Hypothesis]]] = []
    streams = told(streamer, options)
    for batch in _batches(decoder, feeds, options, logits_processor, streams):
        found += zip(batch.numbers, batch.run())
    if streams is not None:
        streams.end()
    return [hypotheses for _, hypotheses in sorted(found, key=lambda pair: pair[0])]


class SearchBatch:
    """Some of the inputs, for one search. ``prompts`` has theirs, all equally long; ``keys`` the random
    numbers' keys of each; ``keeps`` says that the decoder lives on and keeps searches."""

    def __init__(
        self,
        decoder: Decoder,
        part: Batch,
        options: Generation,
        prompts: np.ndarray,
        keys: np.ndarray | None,
        processors: tuple[Processor, ...],
        streams: Told | None,
        keeps: bool,
    ) -> None:
        self.numbers, self._part, self._keeps = part.numbers, part, keeps
        self._decoder, self._options, self._prompts, self._keys = decoder, options, prompts, keys
        self._processors, self._streams = processors, streams

    def search(self) -> Search:
        """A search that is ready to step."""
        search = self._made()
        self._tell_prompt()
        search.begin(self._part.parts, self._prompts, self._keys)
        return search

    def run(self) -> list[list[Hypothesis]]:
        """The hypotheses, by a search that a batch like this one has left, or that is left for one."""
        key = self._key()
        search = self._decoder.kept_search(key) or self._made()
        self._tell_prompt()
        search.begin(self._part.parts, self._prompts, self._keys)
        while search.step(TOKENS_PER_CALL):
            pass
        found = search.end()
        self._decoder.keep_search(key, search)
        return found

    def _made(self) -> Search:
        steps = self._decoder.steps(self._part, _share(self._options))
        given = steps, self._decoder.kind, *self._prompts.shape, self._options, self._processors
        try:
            if isinstance(self._options, Beam):
                return BeamSearch(*given)
            return SamplingSearch(*given, None if self._streams is None else self._tell)
        except MemoryError as error:
            raise OptionError(
                f"max_new_tokens={self._options.max_new_tokens} for {len(self._prompts)} inputs: {error}; "
                "fewer of either need less"
            ) from error

    def _tell_prompt(self) -> None:
        if self._streams is not None:
            self._streams.begin(self._prompts[0])

    def _tell(self, number: int, sequence: int, token: int) -> None:
        self._streams.token(self._part.numbers[number], sequence, token)

    def _key(self) -> tuple | None:
        """What a search must have been made for to serve; None where no other one can."""
        if self._processors or self._streams is not None or not self._keeps:
            return None
        parts = tuple((name, array.shape) for name, array in self._part.parts.items())
        fixed = tuple((name, array.shape, array.tobytes()) for name, array in self._part.fixed.items())
        return self._options.key, self._prompts.shape, parts, fixed


def _batches(
    decoder: Session | Decoder,
    feeds: Feeds | Sequence[Feeds],
    options: Generation,
    processors: Sequence[Processor],
    streams: Told | None,
) -> Iterator[SearchBatch]:
    """The inputs by batches that are searched one after the other."""
    if not isinstance(options, (Greedy, Sampling, Beam)):
        raise OptionError(f"options are Greedy, Sampling or Beam, not {type(options).__name__}")
    if not isinstance(processors, Sequence) or not all(map(callable, processors := tuple(processors))):
        raise OptionError(
            f"logits_processor is a list of functions of tokens and scores, not {shown(processors)}"
        )
    lives_on = isinstance(decoder, Decoder)
    decoder = decoder if lives_on else Decoder(decoder)
    if decoder.attention is None and (options.output_attentions or getattr(options, "coverage_penalty", 0)):
        raise OptionError(
            "the attention is asked for; name the decoder's output: Decoder(..., attention=...)"
        )
    share = _share(options)
    batches = decoder.batches(feeds)
    given = sum(len(batch.numbers) for batch in batches)
    prompts = _prompts(options, given)
    inputs = len(prompts)
    if given == 1 < inputs:
        batches = [batches[0].repeated(inputs)]
    if streams is not None and streams.alone and inputs * share != 1:
        raise OptionError(
            f"a streamer with put and end hears one sequence, and {inputs} inputs of {share} sequences are "
            "generated; give a function of input, sequence and token"
        )
    seeds = _seeds(options, inputs)
    for batch in in_parts(batches, max(1, MOST_ROWS // share)):
        for part in _by_length(batch, prompts):
            own = np.array([prompts[number] for number in part.numbers], np.int64)
            keys = None if seeds is None else seeds[part.numbers]
            yield SearchBatch(decoder, part, options, own, keys, processors, streams, lives_on)


def _share(options: Generation) -> int:
    """Places an input."""
    if isinstance(options, Beam):
        return options.num_beams
    return options.num_return_sequences if isinstance(options, Sampling) else 1


def _prompts(options: Generation, inputs: int) -> list[list[int]]:
    """What each input's decoder is given before the first token is chosen; several for a single input count
    as so many inputs."""
    if not is_listed(options.prefix):
        raise _no_prefix(options)
    prefix = list(options.prefix)
    shared = not any(map(is_listed, prefix))
    if not shared and not all(map(is_listed, prefix)):
        raise _no_prefix(options)
    if not shared and inputs != 1 and len(prefix) != inputs:
        raise OptionError(f"prefix has {len(prefix)} sequences for {inputs} inputs")
    given = [prefix] * inputs if shared else [list(own) for own in prefix]
    for token in (token for own in given for token in own):
        if not is_whole(token) or not 0 <= token <= MAX_INT:
            raise _no_prefix(options)
    start = [] if options.decoder_start_token_id is None else [options.decoder_start_token_id]
    if not start and not all(given):
        raise OptionError(
            "a decoder is given a token before it gives one: name decoder_start_token_id, or the prefix of "
            "each input"
        )
    return [[*start, *own] for own in given]


def _no_prefix(options: Generation) -> OptionError:
    return OptionError(
        f"prefix={shown(options.prefix)}: a list of tokens, or one for each input, whole numbers from 0 on"
    )


def _by_length(batch: Batch, prompts: list[list[int]]) -> list[Batch]:
    """The batch in parts whose prompts are equally long."""
    lengths = np.array([len(prompts[number]) for number in batch.numbers])
    if len(set(lengths.tolist())) <= 1:
        return [batch]
    return [batch.cut(lengths == length) for length in dict.fromkeys(lengths.tolist())]


def _seeds(options: Generation, inputs: int) -> np.ndarray | None:
    """A key for the random numbers of each sequence of each input, int64 [inputs, sequences]."""
    if not isinstance(options, Sampling):
        return None
    if isinstance(options.seed, int):
        own = [_mixed(_mixed(options.seed) ^ number) for number in range(inputs)]
    elif len(options.seed) == inputs:
        own = [_mixed(seed) for seed in options.seed]
    else:
        raise OptionError(f"seed has {len(options.seed)} numbers for {inputs} inputs")
    sequences = range(options.num_return_sequences)
    keys = [[_mixed(key ^ _mixed(sequence)) for sequence in sequences] for key in own]
    return np.array(keys, np.uint64).reshape(inputs, len(sequences)).view(np.int64)


_MASK = 2**64 - 1


def _mixed(x: int) -> int:
    """splitmix64 of x, as in ``kernels/search/sampling.py``."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
