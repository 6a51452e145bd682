"""Vosk's own transcriber, as its package has it, over a file of PCM16: prints its results as JSON."""

import asyncio
import json
import sys
from types import SimpleNamespace

from vosk.transcriber.transcriber import Transcriber

server, path = sys.argv[1:]


async def main() -> None:
    transcriber = Transcriber.__new__(Transcriber)  # its maker would load a model
    transcriber.args = SimpleNamespace(server=server, output_type="txt")
    process = await asyncio.create_subprocess_exec("cat", path, stdout=asyncio.subprocess.PIPE)
    results, count = await transcriber.recognize_stream_server(process)
    text = transcriber.format_result(results)
    transcriber.args.output_type = "srt"
    subtitles = transcriber.format_result(results)
    print(json.dumps({"results": results, "bytes": count, "text": text, "subtitles": subtitles}))


asyncio.run(main())
