"""Which protocol a client speaks that sends sound: told by the path, or at ``/`` by its first message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinyseq.serve.protocols.openai_realtime import RealtimeHandler
from tinyseq.serve.protocols.sherpa import SherpaHandler
from tinyseq.serve.protocols.sound import ENDS
from tinyseq.serve.protocols.voice import VoiceHandler
from tinyseq.serve.protocols.vosk import VoskHandler

if TYPE_CHECKING:
    from tinyseq.serve.connection import Connection
    from tinyseq.serve.services import Services
    from tinyseq.serve.speech.served import ServedSpeech


class EitherHandler:
    """A client of sherpa-onnx's server or of vosk's, both of which connect without a path: text that is JSON
    comes first from the one, sound from the other."""

    subprotocol: str | None = None

    def __init__(self, services: Services, connection: Connection, served: ServedSpeech) -> None:
        services.admission.check()
        self._made_of = services, connection, served
        self._connection = connection
        self._handler: SherpaHandler | VoskHandler | None = None

    def opened(self) -> None:
        """Nothing is said before the client has spoken."""

    def received(self, data: bytes | str) -> None:
        """The first message decides."""
        if self._handler is None:
            is_vosk = isinstance(data, str) and data.lstrip().startswith("{")
            self._handler = (VoskHandler if is_vosk else SherpaHandler)(*self._made_of)
        self._handler.received(data)

    def closed(self, code: int) -> None:
        """The client has gone."""
        if self._handler is not None:
            self._handler.closed(code)

    def draining(self) -> None:
        """The server ends."""
        if self._handler is None:
            self._connection.close(1001, ENDS)
        else:
            self._handler.draining()


def _recognizer(kind: type[Any]) -> Any:
    """What makes handlers for clients of a recogniser: that of the path or of ``model`` in the query."""

    def make(services: Services, connection: Connection, name: str | None = None) -> Any:
        served = services.speech.find(name or connection.query.get("model"), "recognizer")
        return kind(services, connection, served)

    return make


def _voice(services: Services, connection: Connection, name: str) -> VoiceHandler:
    return VoiceHandler(services, connection, services.speech.find(name))


ROUTES = {
    r"/": _recognizer(EitherHandler),
    r"/sherpa(/(?P<name>[^/]+))?": _recognizer(SherpaHandler),
    r"/vosk(/(?P<name>[^/]+))?": _recognizer(VoskHandler),
    r"/v1/realtime": _recognizer(RealtimeHandler),
    r"/speech/(?P<name>[^/]+)": _voice,
}
