"""Streamers: what is told of tokens as they are chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from tinyseq.common.text import shown
from tinyseq.decode.generation.options import Beam, Generation
from tinyseq.errors import OptionError


@runtime_checkable
class TokenStreamer(Protocol):
    """What has the two methods of Hugging Face's ``BaseStreamer``, for one sequence of one input."""

    def put(self, value: np.ndarray) -> object:
        """Is given the prompt, int64 [1, tokens], then each token as it is chosen, int64 [1]."""

    def end(self) -> object:
        """Is called when the generation has ended."""


Streamer = Callable[[int, int, int], object] | TokenStreamer
"""Is told of each token as it is chosen, the end token among them: a function of the input's number, the
sequence's number and the token, or a ``TokenStreamer``."""


class Told:
    """One of either kind. ``alone`` says that it knows one sequence only."""

    def __init__(self, streamer: Streamer) -> None:
        self.alone = isinstance(streamer, TokenStreamer)
        self._streamer = streamer

    def begin(self, prompt: np.ndarray) -> None:
        """Tells of a prompt [tokens]."""
        if isinstance(self._streamer, TokenStreamer):
            self._streamer.put(prompt[None])

    def token(self, number: int, sequence: int, token: int) -> None:
        """Tells of a token."""
        if isinstance(self._streamer, TokenStreamer):
            self._streamer.put(np.array([token], np.int64))
        else:
            self._streamer(number, sequence, token)

    def end(self) -> None:
        """Tells of the end."""
        if isinstance(self._streamer, TokenStreamer):
            self._streamer.end()


def told(streamer: Streamer | None, options: Generation) -> Told | None:
    """What tells a streamer, if there is one.

    Raises:
        OptionError: it is none, or the method chooses no token before the end.
    """
    if streamer is None:
        return None
    if isinstance(streamer, type) or not (isinstance(streamer, TokenStreamer) or callable(streamer)):
        raise OptionError(
            "streamer is a function of input, sequence and token, or an object with put and end, not "
            f"{shown(streamer)}"
        )
    if isinstance(options, Beam):
        raise OptionError("beam search knows its tokens only at the end; a streamer needs Greedy or Sampling")
    return Told(streamer)
