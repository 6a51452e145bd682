"""What the core offers to protocols."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tinyseq.serve.admission import Admission
    from tinyseq.serve.bearer import Bearer
    from tinyseq.serve.config import Config
    from tinyseq.serve.exchange import Exchange
    from tinyseq.serve.metrics import Metrics
    from tinyseq.serve.models import Models
    from tinyseq.serve.origins import Origins
    from tinyseq.serve.speech.served import Speech
    from tinyseq.serve.tokens import Tokens


class Live(Protocol):
    """A websocket that stands, as the worker sees it."""

    def tick(self, now: float) -> None:
        """Called every second or so: pings, and ends what is too long silent."""

    def drain(self) -> None:
        """Called when the server is about to end."""


@dataclass(eq=False)
class Services:
    """All that the protocols of one worker share."""

    config: Config
    models: Models
    speech: Speech
    admission: Admission
    metrics: Metrics
    tokens: Tokens
    bearer: Bearer
    origins: Origins
    exchange: Exchange
    connections: set[Live] = field(default_factory=set)
    """The websockets that stand."""
    draining: bool = False
    """Whether the server is about to end: it is not ready, and takes nothing new."""

    @property
    def ready(self) -> bool:
        """Whether models are served and the server is not about to end."""
        return not self.draining and all(model.ready for model in self.models)

    async def load(self, name: str) -> None:
        """Loads a model anew as a client asks, here and soon in all workers; see ``Models.load``."""
        await self.models.load(name)
        self.exchange.tell("load", name)

    def unload(self, name: str) -> None:
        """Serves a model no more, here and soon in any worker; see ``Models.unload``."""
        self.models.unload(name)
        self.exchange.tell("unload", name)
