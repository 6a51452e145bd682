"""What clients of the soak do: lives, each led again and again."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import numpy as np

from bench.serving.stream import LiveStream
from bench.serving.tapes import PATH, SAME, Tape
from bench.serving.websocket import PATIENCE, ClosedError, RefusedError, connect, handshake

if TYPE_CHECKING:
    from bench.serving.soak import Soak

CHUNKS = 400
"""Of a tape."""

Life = Callable[["Soak"], Awaitable[str]]
"""Gives a word for how it ended."""


async def whole(soak: Soak) -> str:
    """A stream from its beginning to its end, at some pace."""
    stream = await LiveStream.open(soak.port, soak.tape())
    await _play(soak, stream, soak.random.randint(1, 120))
    await stream.finish()
    return "finished"


async def _play(soak: Soak, stream: LiveStream, count: int) -> None:
    pause = soak.random.choice((0.0, 0.005, 0.032))
    for _ in range(min(count, CHUNKS - stream.sent)):
        stream.send()
        if soak.random.random() < 0.9:
            await stream.hear_all()
        await asyncio.sleep(pause)
    await stream.hear_all()


async def leaves(soak: Soak) -> str:
    """A client that leaves in mid-stream, by a close or without a word."""
    stream = await LiveStream.open(soak.port, soak.tape())
    await _play(soak, stream, soak.random.randint(0, 40))
    stream.send(soak.random.randint(0, 20))
    if soak.random.random() < 0.5:
        stream.socket.abort()
        return "cut its connection"
    stream.socket.close()
    await stream.socket.gone()
    return "left"


async def resumes(soak: Soak) -> str:
    """A client that loses its connection, and goes on elsewhere from its last token."""
    tape = soak.tape()
    stream = await LiveStream.open(soak.port, tape)
    token = await stream.token()
    until = soak.random.randint(60, 200)
    while stream.heard < until:
        try:
            await _play(soak, stream, 20)
            token = await stream.token()
            stream.send(soak.random.randint(0, 10))
            if soak.random.random() < 0.3:
                stream.socket.abort()
                raise ClosedError(1006, "cut")
            await stream.hear_all()
        except (ClosedError, ConnectionError):
            stream = await _again(soak, tape, token)
            soak.seen["resumed"] += 1
    await stream.finish()
    return "finished after resuming"


async def _again(soak: Soak, tape: Tape, token: str) -> LiveStream:
    begin = time.monotonic()
    while True:
        try:
            stream = await LiveStream.open(soak.port, tape, token)
            if stream.sent < CHUNKS:
                stream.send()
                await stream.hear_all()
            soak.resumed.append(time.monotonic() - begin)
            return stream
        except RefusedError:
            # Full: that takes as long as others stay.
            begin = time.monotonic()
        except (ClosedError, ConnectionError):
            if time.monotonic() > begin + PATIENCE:
                raise
        await asyncio.sleep(0.05)


async def half_open(soak: Soak) -> str:
    """A client that is there no more, though nobody was told: it answers no ping."""
    stream = await LiveStream.open(soak.port, soak.tape(), answers=False)
    await _play(soak, stream, soak.random.randint(0, 5))
    await stream.socket.gone()
    return "half open, cut by the server"


async def unfinished(soak: Soak) -> str:
    """A client that never says what it wants as a whole."""
    asked = handshake(PATH)
    _, writer = await asyncio.open_connection("127.0.0.1", soak.port)
    writer.write(asked[: soak.random.randrange(len(asked))])
    await asyncio.sleep(soak.random.random())
    writer.transport.abort()
    return "gone before the handshake"


async def garbage(soak: Soak) -> str:
    """A client that sends noise instead of frames."""
    client = await connect(soak.port, PATH)
    client.write(soak.random.randbytes(soak.random.randint(1, 5000)))
    await asyncio.sleep(0.05)
    client.end()
    code = await client.gone()
    assert code in (1002, 1006, 1007, 1009), f"garbage was answered with {code}"
    return f"garbage, closed with {code}"


async def slow(soak: Soak) -> str:
    """A client that asks for much and reads nothing."""
    stream = await LiveStream.open(soak.port, soak.tape())
    transport = stream.socket.transport
    # Else the system may keep tens of megabytes for a client.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    transport.pause_reading()
    end = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end:
            for _ in range(20):
                stream.say(state=True)
            await asyncio.sleep(0.005)
    except ClosedError:
        return "read nothing, cut by the server"
    transport.abort()
    raise TimeoutError("a client that reads nothing was not cut off")


async def flood(soak: Soak) -> str:
    """A client that sends far more at once than is stepped."""
    stream = await LiveStream.open(soak.port, soak.tape())
    stream.send(soak.random.randint(100, CHUNKS))
    await stream.finish()
    return "flooded and finished"


async def faulty(soak: Soak) -> str:
    """A client whose chunks are refused now and then: the state is as if they had not been sent."""
    stream = await LiveStream.open(soak.port, soak.tape())
    errors = 0
    for _ in range(soak.random.randint(2, 30)):
        stream.send()
        if soak.random.random() < 0.3:
            numbers = np.frombuffer(stream.tape.payload(0)[4:], np.float32).copy()
            numbers[soak.random.randrange(len(numbers))] = np.nan
            stream.socket.send(SAME + numbers.tobytes())
            errors += 1
    stream.say(finish=True)
    told = []
    while not told or told[-1]["type"] != "finished":
        message = await stream.hear()
        if message is not None:
            told.append(message)
    assert [each["type"] for each in told[:-1]] == ["error"] * errors, f"NaN was answered with {told}"
    assert stream.heard == stream.sent, f"{stream.heard} of {stream.sent} chunks were answered"
    await stream.socket.gone()
    return "finished beside refused chunks"


async def crowd(soak: Soak) -> str:
    """Many clients at once, more than are taken."""
    opening = (LiveStream.open(soak.port, soak.tape()) for _ in range(60))
    made = await asyncio.gather(*opening, return_exceptions=True)
    refused = 0
    for each in made:
        if isinstance(each, RefusedError):
            soak.refused(each)
            refused += 1
        elif isinstance(each, BaseException):
            raise each
    for each in made:
        if isinstance(each, LiveStream):
            each.socket.abort()
    soak.seen["refused in a crowd"] += refused
    await asyncio.sleep(3)
    return "came as a crowd"


async def reset(soak: Soak) -> str:
    """A client that resets its connection with bytes still under way."""
    stream = await LiveStream.open(soak.port, soak.tape())
    stream.send(30)
    linger = struct.pack("ii", 1, 0)
    stream.socket.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.socket.abort()
    return "reset its connection"


LIVES: tuple[tuple[Life, int], ...] = (
    (whole, 8),
    (leaves, 4),
    (resumes, 4),
    (half_open, 2),
    (unfinished, 2),
    (garbage, 2),
    (slow, 1),
    (flood, 2),
    (faulty, 2),
    (crowd, 1),
    (reset, 1),
)
"""Lives, and how many clients lead each."""
