"""The protocol of sherpa-onnx's websocket server, whose clients send float32 at 16 kHz."""

from __future__ import annotations

from typing import Any

from tinyseq.errors import TinyseqError
from tinyseq.serve.errors import BadRequestError
from tinyseq.serve.protocols.sound import ENDS, SoundHandler, dumped, floats
from tinyseq.serve.speech.steps import Heard
from tinyseq.speech.result import RecognizerResult

RATE = 16_000
"""Hz, which the protocol does not tell."""

DONE, BYE = "Done", "Done!"


class SherpaHandler(SoundHandler):
    """Answers with a JSON object whenever something new was heard."""

    _segment = 0
    _said: str | None = None
    _ends = False

    def received(self, data: bytes | str) -> None:
        """Sound, or that there is no more."""
        if self._ends:
            raise BadRequestError(f"{DONE!r} was said, and nothing follows")
        if isinstance(data, bytes):
            self._hear(RATE, floats(data), self._heard)
        elif data == DONE:
            self._ends = True
            self._end(RATE, self._over)
        else:
            raise BadRequestError(f"a text message is {DONE!r}, behind the last of the sound")

    def _heard(self, result: Heard | TinyseqError) -> None:
        if isinstance(result, TinyseqError):
            self._refused(result)
            return
        for over in result.over:
            self._say(over, is_final=True)
            self._segment += 1
            self._said = None
        if result.now.text != (self._said or ""):
            self._said = result.now.text
            self._say(result.now)

    def _over(self, result: Heard | TinyseqError) -> None:
        if isinstance(result, TinyseqError):
            self._refused(result)
            return
        for over in result.over[:-1]:
            self._say(over, is_final=True)
            self._segment += 1
        self._say(result.over[-1], is_final=True, is_eof=True)
        self._connection.send(BYE)
        self._leave("finished", 1000)

    def _say(self, result: RecognizerResult, is_final: bool = False, is_eof: bool = False) -> None:
        vocabulary: Any = self._served.engine.decoder.options.vocabulary
        message = {
            "text": result.text,
            "tokens": [vocabulary[token] for token in result.tokens],
            "timestamps": [round(second - result.start, 6) for second in result.starts],
            "segment": self._segment,
            "start_time": round(result.start, 6),
            "is_final": is_final,
            "is_eof": is_eof,
        }
        self._connection.send(dumped(message))

    def draining(self) -> None:
        """Says what was heard up to now; such clients know of no way to go on elsewhere."""
        if self._stream is None:
            self._leave("drained", 1001, ENDS)
            return

        def last(result: Heard | TinyseqError) -> None:
            if isinstance(result, Heard):
                for over in result.over:
                    self._say(over, is_final=True)
                    self._segment += 1
            self._leave("drained", 1001, ENDS)

        if not self._ends:
            self._ends = True
            self._end(RATE, last)
