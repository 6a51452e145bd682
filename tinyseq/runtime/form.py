"""The streaming form of a model, which a session and its backend share without knowing each other."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from tinyseq.errors import ModelError
from tinyseq.ir.model import Model

if TYPE_CHECKING:
    from tinyseq.ir.streaming import Streaming


class StreamingForm:
    """What a stream computes in a step, worked out when it is first asked for: who runs whole sequences need
    not wait for it."""

    def __init__(self, simple: Model) -> None:
        self._simple = simple

    @cached_property
    def made(self) -> tuple[Streaming | None, str]:
        """It, or why there is none."""
        from tinyseq.passes.streaming import streaming

        try:
            return streaming(self._simple), ""
        except ModelError as error:
            return None, str(error)

    def streaming(self) -> Streaming:
        """It.

        Raises:
            ModelError: there is none; says why.
        """
        streaming, refusal = self.made
        if streaming is None:
            raise ModelError(refusal)
        return streaming

    def model(self) -> Model:
        """Its model; raises as ``streaming`` does."""
        return self.streaming().model
