"""OpenAI's own client of realtime transcription, over a file of PCM16 at 24 kHz: prints what it was told."""

import asyncio
import base64
import json
import sys
from pathlib import Path

from openai import AsyncOpenAI

base, token, path = sys.argv[1:]


async def main() -> None:
    client = AsyncOpenAI(base_url=base, api_key=token)
    data, kinds, deltas = Path(path).read_bytes(), [], []
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        audio = {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
            "turn_detection": None,
        }
        await connection.session.update(session={"type": "transcription", "audio": {"input": audio}})
        for at in range(0, len(data), 4800):
            await connection.input_audio_buffer.append(audio=base64.b64encode(data[at : at + 4800]).decode())
        await connection.input_audio_buffer.commit()
        async for event in connection:
            kinds.append([event.type, type(event).__name__])
            if event.type == "conversation.item.input_audio_transcription.delta":
                deltas.append(event.delta)
            if event.type == "conversation.item.input_audio_transcription.completed":
                told = {"transcript": event.transcript, "seconds": event.usage.seconds}
                break
    print(json.dumps({"kinds": kinds, "deltas": deltas, **told}))


asyncio.run(main())
