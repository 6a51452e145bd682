"""generate: the tokens that a model gives for inputs. Begin, step, end; offline is all three."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyseq.decode.batches import Batch
from tinyseq.decode.beam import BeamSearch
from tinyseq.decode.decoder import Decoder, Feeds
from tinyseq.decode.options import MOST, Beam, Generation, Greedy, Sampling
from tinyseq.decode.picking import Picking
from tinyseq.decode.search import Hypothesis, Processor, Search, Streamer
from tinyseq.errors import FeedError, OptionError
from tinyseq.session import Session

MOST_ROWS = 512
"""Rows that are stepped together by one call; more inputs take turns."""

TURN = 32
"""Tokens of a hypothesis that are chosen before Python has the word again and can be interrupted."""


class Generating:
    """A generation under way: ``step`` until it is over, or as long as you like, then ``end``.

    It belongs to one thread at a time.
    """

    def __init__(self, searches: Sequence[tuple[Sequence[int], Search]], inputs: int) -> None:
        self._numbers = [numbers for numbers, _ in searches]
        self.searches = [search for _, search in searches]
        self._inputs = inputs

    def step(self) -> bool:
        """One token for every hypothesis of every input; False once all are done."""
        going = [search.step() for search in self.searches]
        return any(going)

    def end(self) -> list[list[Hypothesis]]:
        """For each input its hypotheses, best first; those not finished yet as they stand."""
        found: list[list[Hypothesis]] = [[] for _ in range(self._inputs)]
        for numbers, search in zip(self._numbers, self.searches):
            for number, hypotheses in zip(numbers, search.end()):
                found[number] = hypotheses
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
    turns = list(_turns(decoder, feeds, options, tuple(logits_processor), streamer))
    searches = [make() for make in turns]
    return Generating(searches, sum(len(numbers) for numbers, _ in searches))


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
        decoder: a loaded model, or a ``Decoder``, which also says what its inputs and outputs are and has
            an encoder.
        feeds: arrays by name, as the encoder takes them (or, without one, the decoder: initial state and
            what stays the same), of any number of rows; or a list of such dicts, whose shapes may differ.
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
    for make in _turns(decoder, feeds, options, tuple(logits_processor), streamer):
        numbers, search = make()
        while search.step(TURN):
            pass
        found += zip(numbers, search.end())
    return [hypotheses for _, hypotheses in sorted(found, key=lambda pair: pair[0])]


def _turns(
    decoder: Session | Decoder,
    feeds: Feeds | Sequence[Feeds],
    options: Generation,
    processors: tuple[Processor, ...],
    streamer: Streamer | None,
):
    """Functions that begin the search for some of the inputs each."""
    if not isinstance(options, (Greedy, Sampling, Beam)):
        raise OptionError(f"options are Greedy, Sampling or Beam, not {type(options).__name__}")
    if streamer is not None and isinstance(options, Beam):
        raise OptionError("beam search knows its tokens only at the end; a streamer needs Greedy or Sampling")
    decoder = decoder if isinstance(decoder, Decoder) else Decoder(decoder)
    if decoder.attention is None and (options.output_attentions or getattr(options, "coverage_penalty", 0)):
        raise OptionError(
            "the attention is asked for; name the decoder's output: Decoder(..., attention=...)"
        )
    share = _share(options)
    batches = decoder.batches(feeds, max(1, MOST_ROWS // share))
    inputs = sum(len(batch.numbers) for batch in batches)
    prompts = _prompts(options, inputs)
    seeds = _seeds(options, inputs)
    for batch in batches:
        for part in _by_length(batch, prompts):
            yield lambda part=part: (
                part.numbers,
                _search(decoder, part, options, prompts, seeds, processors, streamer),
            )


def _share(options: Generation) -> int:
    """Places an input."""
    if isinstance(options, Beam):
        return options.num_beams
    return options.num_return_sequences if isinstance(options, Sampling) else 1


def _search(decoder, batch: Batch, options, prompts, seeds, processors, streamer) -> Search:
    own = np.array([prompts[number] for number in batch.numbers], np.int64)
    steps = decoder.steps(batch, _share(options))
    if isinstance(options, Beam):
        return BeamSearch(steps, decoder.kind, own, options, processors)
    keys = None if seeds is None else seeds[batch.numbers]

    def stream(number: int, sequence: int, token: int) -> None:
        streamer(batch.numbers[number], sequence, token)

    told = None if streamer is None else stream
    return Picking(steps, decoder.kind, own, options, processors, keys, told)


def _prompts(options: Generation, inputs: int) -> list[list[int]]:
    """What each input's decoder is given before the first token is chosen."""
    refusal = f"prefix={options.prefix!r}: a list of tokens, or one for each input, whole numbers from 0 on"
    if not _listed(options.prefix):
        raise OptionError(refusal)
    prefix = list(options.prefix)
    shared = not any(map(_listed, prefix))
    if not shared and not all(map(_listed, prefix)):
        raise OptionError(refusal)
    if not shared and len(prefix) != inputs:
        raise OptionError(f"prefix has {len(prefix)} sequences for {inputs} inputs")
    given = [prefix] * inputs if shared else [list(own) for own in prefix]
    for token in (token for own in given for token in own):
        if not isinstance(token, (int, np.integer)) or isinstance(token, bool) or not 0 <= token <= MOST:
            raise OptionError(refusal)
    return [[options.decoder_start_token_id, *own] for own in given]


def _listed(value: object) -> bool:
    return isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))


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
        raise FeedError(f"seed has {len(options.seed)} numbers for {inputs} inputs")
    sequences = range(options.num_return_sequences)
    keys = [[_mixed(key ^ _mixed(sequence)) for sequence in sequences] for key in own]
    return np.array(keys, np.uint64).reshape(inputs, len(sequences)).view(np.int64)


_MASK = 2**64 - 1


def _mixed(x: int) -> int:
    """splitmix64 of x, as in ``kernels/sampling.py``."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
