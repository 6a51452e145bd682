"""Recognisers and voice detectors behind the protocols of sherpa-onnx, vosk, OpenAI and our own."""

from __future__ import annotations

import base64
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace

import numpy as np
import pytest
from tinyseq.demo import audio
from tinyseq.demo.vad.run import CLIP

import tinyseq
from tests.documents import ROOT, blocks
from tests.serve import telegraph
from tests.serve.server import serving, wait_until
from tests.serve.telegraph import pcm, sound
from tinyseq.serve import read_config
from tinyseq.speech import VoiceDetector

pytest.importorskip("uvicorn", reason="the server needs tinyseq[serve]")
client = pytest.importorskip("websockets.sync.client", reason="its clients are written with websockets")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

WORDS = "bad cafe deed"
REALTIME = "/v1/realtime?intent=transcription"
CONFIG = telegraph.TABLE + telegraph.VOICE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    telegraph.write(folder)
    (folder / "secret").write_text("0123456789abcdef")
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder, "--secret", folder / "secret", config=CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def recognizer(folder) -> tinyseq.Recognizer:
    (folder / "same.toml").write_text(CONFIG)
    sources = {source.name: source for source in read_config(folder / "same.toml").speech}
    return sources["telegraph"].load()


def heard(recognizer: tinyseq.Recognizer, samples: np.ndarray, rate: int = 16_000, chunk: int = 320):
    """The final results that a recogniser gives of sound, an endpoint looked for behind each step."""
    stream, results = recognizer.create_stream(), []
    for at in range(0, len(samples), chunk):
        stream.accept_waveform(rate, samples[at : at + chunk])
        while recognizer.is_ready(stream):
            recognizer.decode(stream)
            if recognizer.is_endpoint(stream):
                results.append(recognizer.end_utterance(stream))
    stream.input_finished()
    while recognizer.is_ready(stream):
        recognizer.decode(stream)
    return [*results, recognizer.end_utterance(stream)]


@contextmanager
def connected(server, path: str = "/", **options):
    with client.connect(server.url(path, "ws"), max_size=None, **options) as socket:
        yield SimpleNamespace(
            send=lambda message: socket.send(json.dumps(message) if isinstance(message, dict) else message),
            recv=lambda: _read(socket.recv(timeout=20)),
            rest=lambda: _rest(socket),
            socket=socket,
        )


def _rest(socket) -> list:
    """All messages until the connection is closed, by whatever code."""
    messages = []
    with suppress(ConnectionClosed):
        messages += (_read(message) for message in socket)
    return messages


def _read(message):
    return json.loads(message) if message.startswith("{") else message


def sent(socket, samples: np.ndarray, size: int, written) -> None:
    for at in range(0, len(samples), size):
        socket.send(written(samples[at : at + size]))


def as_floats(samples: np.ndarray) -> bytes:
    return samples.astype("<f4").tobytes()


# sherpa-onnx


@pytest.mark.parametrize("size", [100, 1600, 20_000])
def test_sherpa(server, recognizer, size):
    samples = sound(WORDS, silence=0.8)
    samples = np.concatenate([samples, sound("fed")])
    with connected(server) as socket:
        sent(socket, samples, size, as_floats)
        socket.send("Done")
        *answers, bye = socket.rest()
    assert bye == "Done!" and socket.socket.close_code == 1000
    expected = heard(recognizer, samples)
    finals = [answer for answer in answers if answer["is_final"]]
    assert [final["text"] for final in finals] == [each.text for each in expected] == [WORDS, "fed"]
    assert [final["segment"] for final in finals] == [0, 1]
    assert [final["is_eof"] for final in finals] == [False, True]
    for final, each in zip(finals, expected):
        assert final["start_time"] == pytest.approx(each.start)
        assert "".join(final["tokens"]) == each.text
        assert np.allclose(np.add(final["timestamps"], each.start), each.starts)
    for answer in answers:
        if answer["segment"] == 0:
            assert WORDS.startswith(answer["text"])


def test_sherpa_without_sound(server):
    with connected(server, "/sherpa/telegraph") as socket:
        socket.send("Done")
        answer, bye = socket.rest()
    assert (answer["text"], answer["tokens"], bye) == ("", [], "Done!")


# vosk


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_vosk(server, recognizer, rate):
    samples = np.concatenate([sound(WORDS, rate, silence=0.8), sound("fed", rate)])
    answers = []
    with connected(server) as socket:
        socket.send({"config": {"sample_rate": float(rate)}})
        for at in range(0, len(samples), 4000):
            socket.send(pcm(samples[at : at + 4000]))
            answers.append(socket.recv())
        socket.send('{"eof" : 1}')
        *none, final = socket.rest()
    assert not none and socket.socket.close_code == 1000
    given = np.frombuffer(pcm(samples), "<i2")
    first, last = heard(recognizer, given, rate)
    (over,) = [answer for answer in answers if "text" in answer]
    assert (over["text"], final["text"]) == (first.text, last.text) == (WORDS, "fed")
    for answer, result in ((over, first), (final, last)):
        words = [(each["word"], each["start"], each["end"]) for each in answer["result"]]
        assert words == [(word, pytest.approx(a), pytest.approx(b)) for word, a, b, _ in result.words]
        assert all(0 < each["conf"] <= 1 for each in answer["result"])
    assert all("partial" in answer for answer in answers if answer is not over)
    assert max(len(answer.get("partial", "")) for answer in answers) > 5


def test_vosk_answers_once_however_much_a_message_holds(server, recognizer):
    samples = np.concatenate([sound(text, silence=0.8) for text in ("bad", "cafe", "deed")])
    with connected(server, "/vosk") as socket:
        socket.send({"config": {"max_alternatives": 3, "words": 0}})
        socket.send(pcm(samples))
        assert [one["text"] for one in socket.recv()["alternatives"]] == ["bad cafe deed"]
        socket.send(b"")
        assert socket.recv() == {"partial": ""}
        socket.send('{"eof": 1}')
        (final,) = socket.rest()
    assert final["alternatives"][0]["text"] == "" and "result" not in final["alternatives"][0]


REFUSED = {
    "a word list": ("/", ['{"config": {"phrase_list": ["a"]}}'], "hotwords"),
    "an unknown setting": ("/", ['{"config": {"speed": 1}}'], "'speed'; there are sample_rate"),
    "a rate": ("/", ['{"config": {"sample_rate": 3}}'], "sample_rate is a whole number"),
    "hotwords": ("/", ['{"config": {"hotwords": 3}}'], "hotwords are a list"),
    "hotwords of other letters": ("/", ['{"config": {"hotwords": ["xy"]}}', b"\0\0"], "'xy' cannot be spelt"),
    "settings behind sound": ("/vosk", [b"\0\0", '{"config": {}}'], "before all sound"),
    "half a sample of vosk": ("/vosk", [b"\0\0\0"], "samples take 2 bytes"),
    "half a sample of sherpa": ("/", [b"\0\0\0"], "samples take 4 bytes"),
    "NaN": ("/", [np.full(9, np.nan, "<f4").tobytes()], "holds NaN"),
    "text that is nothing": ("/", ["hello"], "'Done'"),
    "JSON that is nothing": ("/", ['{"a": 1}'], "config or eof"),
    "broken JSON": ("/", ["{"], "no JSON"),
    "start behind sound": ("/speech/vad", [b"\0\0\0\0", '{"start": {}}'], "before all sound"),
    "an unknown start": ("/speech/vad", ['{"start": {"speed": 1}}'], "there are sample_rate"),
    "a format": ("/speech/vad", ['{"start": {"format": "mp3"}}'], "f32le or s16le"),
    "a state": ("/speech/vad", ['{"start": {"state_every": -1}}'], "seconds"),
    "hotwords of a detector": ("/speech/vad", ['{"start": {"hotwords": ["a"]}}'], "knows no hotwords"),
    "a token": ("/speech/vad", ['{"resume": "abcd"}'], "token is damaged"),
    "no token": ("/speech/vad", ['{"resume": 3}'], "state token as text"),
    "sound to OpenAI": ("/v1/realtime?intent=transcription", [b"\0\0"], "base64"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_why_and_the_server_lives(server, case):
    path, messages, reason = REFUSED[case]
    with connected(server, path) as socket:
        try:
            for message in messages:
                socket.send(message)
            socket.rest()
        except ConnectionClosed:
            pass
    assert socket.socket.close_code in (1007, 1008) and reason in socket.socket.close_reason
    assert server.get("/v2/health/live")[0] == 200 and "Traceback" not in server.output()


@pytest.mark.parametrize(
    ("path", "status"), [("/speech/none", 404), ("/vosk/vad", 404), ("/?model=x", 404), ("/v1/realtime", 404)]
)
def test_what_is_not_served_is_refused_before_it_stands(server, path, status):
    with pytest.raises(InvalidStatus) as refused, connected(server, path):
        pass
    assert refused.value.response.status_code == status


VALUES = [None, True, -1, 0, 3, 1e400, float("nan"), "", "x" * 300, "f32le", [], ["a"], [[1]], {}, {"a": 1}]
KEYS = [
    *(
        "config",
        "eof",
        "start",
        "state",
        "resume",
        "finish",
        "type",
        "session",
        "audio",
        "event_id",
        "hotwords",
    ),
    *("sample_rate", "words", "format", "probability", "state_every", "phrase_list", "max_alternatives"),
]
KINDS = ["session.update", "transcription_session.update", "input_audio_buffer.append", "response.create"]
KINDS += [f"input_audio_buffer.{what}" for what in ("commit", "clear")]


def garbage(draw: np.random.Generator) -> str | bytes:
    """A message, much of which is nearly right."""
    if draw.random() < 0.4:
        return draw.bytes(int(draw.choice([0, 1, 2, 3, 4, 7, 640, 4000])))
    if draw.random() < 0.2:
        return str(draw.choice(["Done", "{", "[1]", '{"eof" : 1}', "\0", "[" * 500, '{"a":' * 500]))

    def inner(depth: int):
        if depth == 0 or draw.random() < 0.3:
            return VALUES[draw.integers(len(VALUES))]
        return {str(draw.choice(KEYS)): inner(depth - 1) for _ in range(draw.integers(1, 3))}

    message = {str(draw.choice(KEYS)): inner(3) for _ in range(draw.integers(1, 3))}
    if draw.random() < 0.5:
        message["type"] = str(draw.choice(KINDS))
    return json.dumps(message)


@pytest.mark.parametrize("path", ["/", "/sherpa", "/vosk", "/speech/vad", "/speech/telegraph", "REALTIME"])
def test_garbage_ends_in_close_codes_and_leaves_nothing(server, path):
    draw = np.random.default_rng(len(path))
    for _ in range(60):
        with connected(server, REALTIME if path == "REALTIME" else path) as socket:
            with suppress(ConnectionClosed):
                for _ in range(draw.integers(1, 8)):
                    socket.send(garbage(draw))
            socket.socket.close()
            assert socket.socket.close_code in (1000, 1007, 1008, 1009), socket.socket.close_reason
    wait_until(lambda: server.metric("tinyseq_streams") == 0)
    assert server.metric("tinyseq_queued_bytes") == 0
    assert "Traceback" not in server.output(), server.output()


# Our own


def test_events_of_a_voice_detector(server):
    samples = audio.read(CLIP).samples
    expected = VoiceDetector().segments(16_000, samples)
    with connected(server, "/speech/vad") as socket:
        ready = socket.recv()
        assert (ready["type"], ready["kind"], ready["seq"]) == ("ready", "voice", 0)
        sent(socket, samples, 3000, as_floats)
        socket.send({"finish": True})
        *events, finished = socket.rest()
    assert finished == {"type": "finished", "seq": -(-len(samples) // 3000)}
    assert [event["type"] for event in events] == ["start", "end"] * len(expected)
    seconds = [event["seconds"] for event in events]
    assert np.allclose(seconds, np.array(expected).reshape(-1))


def test_many_streams_of_any_rate_are_what_each_is_alone(server):
    """Batched, and in pieces of their own."""
    samples, detector = audio.read(CLIP).samples[: 5 * 16_000], VoiceDetector()
    with ExitStack() as stack:
        sockets, expected = [], []
        for number in range(8):
            rate, own = (16_000, samples) if number % 2 else (48_000, np.repeat(samples, 3))
            own = own[number * 1000 :]
            expected.append([each for segment in detector.segments(rate, own) for each in segment])
            socket = stack.enter_context(connected(server, "/speech/vad"))
            socket.send({"start": {"sample_rate": rate, "format": "f32le"}})
            sockets.append((socket, own))
        for turn in range(0, 300_000, 4800):
            for socket, own in sockets:
                if turn < len(own):
                    socket.send(as_floats(own[turn : turn + 4800]))
        for (socket, _), seconds in zip(sockets, expected):
            socket.send({"finish": True})
            told = [each["seconds"] for each in socket.rest() if "seconds" in each]
            assert np.allclose(told, seconds, atol=1e-6)


def test_results_tell_stable_text_from_tentative(server, recognizer):
    samples = np.concatenate([sound(WORDS, silence=0.8), sound("fed")])
    with connected(server, "/speech/telegraph") as socket:
        assert socket.recv()["kind"] == "recognizer"
        socket.send({"start": {"format": "s16le", "hotwords": {"fed": 2.0}}})
        assert socket.recv()["format"] == "s16le"
        sent(socket, samples, 900, pcm)
        socket.send({"finish": True})
        *results, finished = socket.rest()
    finals = [each for each in results if each["is_final"]]
    assert [each["text"] for each in finals] == [WORDS, "fed"] and finished["type"] == "finished"
    assert [each["utterance"] for each in finals] == [0, 1]
    stable = ""
    for each in results:
        assert each["stable"] + each["tentative"] == each["text"]
        if each["utterance"] == 0:
            assert each["stable"].startswith(stable)
            stable = each["stable"]
    assert any(0 < len(each["stable"]) < len(WORDS) for each in results)
    first = heard(recognizer, np.frombuffer(pcm(samples), "<i2"))[0]
    assert finals[0]["words"] == [each._asdict() for each in first.words]


@pytest.mark.parametrize(
    ("name", "settings"), [("vad", {"sample_rate": 48_000}), ("telegraph", {"hotwords": ["fed"]})]
)
def test_a_stream_goes_on_by_its_token(server, folder, name, settings):
    """On another server that has the secret: every token, and the end is what it would have been."""
    samples = (
        audio.read(CLIP).samples[: 8 * 16_000] if name == "vad" else sound("bad cafe deed fed", silence=0.7)
    )
    chunks = np.array_split(samples, 20)

    def rest_of(socket, begin: int) -> list[dict]:
        for chunk in chunks[begin:]:
            socket.send(as_floats(chunk))
        socket.send({"finish": True})
        return [each for each in socket.rest() if each["type"] not in ("state", "ready")]

    with connected(server, f"/speech/{name}") as socket:
        socket.send({"start": settings})
        assert (socket.recv()["type"], socket.recv()["type"]) == ("ready", "ready")
        before = []
        for chunk in chunks[:11]:
            socket.send(as_floats(chunk))
        socket.send({"state": True})
        while (message := socket.recv())["type"] != "state":
            before.append(message)
        assert message["seq"] == 11
        after = rest_of(socket, 11)
    assert after[-1] == {"type": "finished", "seq": 20}
    with serving(folder, "--secret", folder / "secret", config=CONFIG) as other:
        for running in (server, other):
            with connected(running, f"/speech/{name}") as socket:
                socket.recv()
                socket.send({"resume": message["token"]})
                ready = socket.recv()
                assert (ready["type"], ready["seq"]) == ("ready", 11)
                assert ready["sample_rate"] == settings.get("sample_rate", 16_000)
                assert rest_of(socket, 11) == after
        with connected(other, f"/speech/{'telegraph' if name == 'vad' else 'vad'}") as socket:
            socket.send({"resume": message["token"]})
            socket.rest()
        assert socket.socket.close_code == 1008 and "another model" in socket.socket.close_reason


def test_states_are_sent_as_often_as_asked(server):
    with connected(server, "/speech/vad") as socket:
        socket.send({"start": {"state_every": 0.01}})
        socket.recv(), socket.recv()
        kinds = []
        for number in range(200):
            socket.send(as_floats(np.zeros(512, np.float32)))
            if number % 10 == 9:
                socket.send({"state": True})
                kinds.append(socket.recv()["type"])
        assert kinds.count("state") == len(kinds)


def test_sound_that_is_refused_is_told_and_the_stream_goes_on(server):
    samples = audio.read(CLIP).samples[: 4 * 16_000]
    with connected(server, "/speech/vad") as socket:
        socket.recv()
        told = []
        for chunk in np.array_split(samples, 40):
            socket.send(as_floats(np.full(100, np.inf)))
            told.append(socket.recv())
            socket.send(as_floats(chunk))
        socket.send({"finish": True})
        told += socket.rest()
    errors = [each for each in told if each["type"] == "error"]
    assert len(errors) == 40 and all("nothing was taken" in each["error"] for each in errors)
    seconds = [each["seconds"] for each in told if "seconds" in each]
    assert np.allclose(seconds, np.array(VoiceDetector().segments(16_000, samples)).reshape(-1))


def test_a_client_that_is_too_fast_is_held_back(server):
    """Far more sound than may wait, sent without reading anything."""
    with connected(server, "/sherpa") as socket:
        for _ in range(40):
            socket.send(as_floats(np.zeros(100_000, np.float32)))
        socket.send("Done")
        assert socket.rest()[-1] == "Done!"
    assert server.metric("tinyseq_queued_bytes") == 0


def test_streams_are_counted_and_bounded(folder, tmp_path):
    telegraph.write(tmp_path)
    with serving(tmp_path, config=CONFIG + "[limits]\nstreams = 2\n") as running:
        with connected(running) as one, connected(running, "/speech/vad") as two:
            one.send(b"\0\0\0\0" * 400)
            two.send(b"\0\0\0\0" * 512)
            two.send({"state": True})
            two.recv(), two.recv()
            assert running.metric("tinyseq_streams", model="telegraph") == 1
            with pytest.raises(InvalidStatus) as refused, connected(running, "/vosk"):
                pass
            answer = refused.value.response
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
        with connected(running) as again:
            again.send("Done")
            assert again.rest()[-1] == "Done!"
        assert running.metric("tinyseq_streams") == 0
        assert running.metric("tinyseq_refused_total", reason="streams") == 1


# OpenAI


def appended(socket, samples: np.ndarray, size: int = 2400) -> None:
    for at in range(0, len(samples), size):
        audio = base64.b64encode(pcm(samples[at : at + size])).decode()
        socket.send({"type": "input_audio_buffer.append", "audio": audio})


def until(socket, kind: str) -> list[dict]:
    events = []
    while not events or events[-1]["type"] != kind:
        events.append(socket.recv())
        assert events[-1]["type"] != "error" or kind == "error", events[-1]
    return events


COMPLETED = "conversation.item.input_audio_transcription.completed"


def test_openai_with_commits(server):
    with connected(server, REALTIME, subprotocols=["realtime"]) as socket:
        assert socket.socket.subprotocol == "realtime"
        created = socket.recv()
        assert created["type"] == "session.created" and created["session"]["type"] == "transcription"
        given = {"transcription": {"model": "gpt-4o-transcribe", "language": "en"}, "turn_detection": None}
        socket.send({"type": "session.update", "session": {"audio": {"input": given}}})
        session = socket.recv()["session"]
        assert session["audio"]["input"]["transcription"]["model"] == "telegraph"
        assert session["audio"]["input"]["turn_detection"] is None
        items = []
        for text in ("bad cafe", "deed"):
            # A pause is no end.
            appended(socket, np.concatenate([sound(text, 24_000, silence=1.0), sound("fed", 24_000)]))
            socket.send({"type": "input_audio_buffer.commit"})
            events = until(socket, "conversation.item.done")
            (completed,) = [event for event in events if event["type"] == COMPLETED]
            deltas = [event["delta"] for event in events if event["type"].endswith(".delta")]
            assert completed["transcript"] == text + "fed" == "".join(deltas) and len(deltas) > 1
            assert completed["usage"]["type"] == "duration"
            items.append(completed["item_id"])
            (committed,) = [event for event in events if event["type"].endswith("committed")]
            assert committed["previous_item_id"] == ([None, *items][len(items) - 1])
        assert len(set(items)) == 2


def test_openai_with_turns(server):
    with connected(server, REALTIME) as socket:
        turns = {"type": "server_vad", "silence_duration_ms": 300, "threshold": 0.5, "prefix_padding_ms": 300}
        given = {"turn_detection": turns, "format": {"type": "audio/pcm", "rate": 24_000}}
        session = {"type": "transcription", "audio": {"input": given}}
        socket.send({"type": "session.update", "session": session})
        told = until(socket, "session.updated")[-1]["session"]["audio"]["input"]["turn_detection"]
        assert told == {"type": "server_vad", "silence_duration_ms": 300}
        for text in ("bad", "fed"):
            appended(socket, sound(text, 24_000, silence=0.4))
        for text, start in (("bad", 0.0), ("fed", 0.7)):
            events = until(socket, "conversation.item.done")
            kinds = [event["type"] for event in events]
            begun = events[kinds.index("input_audio_buffer.speech_started")]
            assert begun["audio_start_ms"] == pytest.approx(1000 * start, abs=40)
            stopped, committed = "input_audio_buffer.speech_stopped", "input_audio_buffer.committed"
            assert kinds.index(stopped) < kinds.index(committed)
            assert events[kinds.index(COMPLETED)]["transcript"] == text


def test_openai_as_it_was_before(server):
    with connected(server, REALTIME) as socket:
        given = {"input_audio_format": "pcm16", "turn_detection": None}
        socket.send({"type": "transcription_session.update", "session": given})
        until(socket, "transcription_session.updated")
        appended(socket, sound("fed", 24_000))
        socket.send({"type": "input_audio_buffer.clear"})
        assert until(socket, "input_audio_buffer.cleared")
        appended(socket, sound("deed", 24_000))
        socket.send({"type": "input_audio_buffer.commit"})
        assert until(socket, COMPLETED)[-1]["transcript"] == "deed"


def _input(**settings) -> dict:
    return {"type": "session.update", "session": {"audio": {"input": settings}}}


WRONG = {
    "an event": ({"type": "response.create"}, "there is no event 'response.create'"),
    "an empty buffer": ({"type": "input_audio_buffer.commit"}, "nothing was appended"),
    "sound": ({"type": "input_audio_buffer.append", "audio": "?"}, "no base64"),
    "half a sample": ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "samples take 2 bytes"),
    "a conversation": ({"type": "session.update", "session": {"type": "realtime"}}, "'transcription' here"),
    "a model": (_input(transcription={"model": "whisper-1"}), "there are telegraph"),
    "a language": (_input(transcription={"language": "de"}), "understands en"),
    "a prompt": (_input(transcription={"prompt": "Hi"}), "keywords"),
    "keywords": (_input(transcription={"keywords": ["bad", "zoo"]}), "'zoo' cannot be spelt"),
    "noise": (_input(noise_reduction={"type": "near_field"}), "must be null"),
    "a format": (_input(format={"type": "audio/pcmu"}), "audio/pcm at 24000"),
    "turns": (_input(turn_detection={"type": "semantic_vad"}), "server_vad"),
    "what there is not": (_input(speed=2), "no 'speed' here"),
}


def test_openai_is_told_what_is_wrong_and_goes_on(server):
    with connected(server, REALTIME) as socket:
        socket.recv()
        for event, reason in WRONG.values():
            socket.send({**event, "event_id": "mine"})
            error = socket.recv()
            assert error["type"] == "error" and reason in error["error"]["message"], (event, error)
            assert error["error"]["event_id"] == "mine"
        socket.send(_input(turn_detection=None, transcription={"keywords": ["fed"]}))
        appended(socket, sound("fed", 24_000))
        socket.send({"type": "input_audio_buffer.commit"})
        assert until(socket, COMPLETED)[-1]["transcript"] == "fed"
        socket.send(_input(transcription={"keywords": ["bad"]}))
        assert "before all sound" in until(socket, "error")[-1]["error"]["message"]


# What the documentation shows


def test_the_client_of_the_documentation(folder, recognizer, tmp_path):
    """It goes on where the server was killed, on the next one."""
    (block,) = [
        block.text for block in blocks(ROOT / "docs" / "serving-speech.md") if block.language == "python"
    ]
    names: dict = {}
    exec(compile(block, "serving-speech.md", "exec"), names)
    samples = np.frombuffer(pcm(np.concatenate([sound(WORDS, silence=0.8), sound("fed")])), "<i2")
    secret = "--secret", folder / "secret"
    with serving(tmp_path, *secret, "--config", folder / "same.toml") as running:
        address = running.url("/speech/telegraph", "ws")
        assert names["transcribe"](samples, address) == [WORDS, "fed"]
        found = ThreadPoolExecutor(1).submit(names["transcribe"], np.tile(samples, 40), address)
        wait_until(lambda: running.metric("tinyseq_chunks_total", model="telegraph") > 60)
        running.process.kill()
    with serving(tmp_path, *secret, "--config", folder / "same.toml", "--port", running.port):
        assert found.result(100) == [WORDS, *[f"fed{WORDS}"] * 39, "fed"]


# The end


def test_every_client_is_told_when_the_server_ends(tmp_path):
    telegraph.write(tmp_path)
    samples = sound(WORDS)
    with serving(tmp_path, config=CONFIG) as running, ExitStack() as stack:
        paths = ["/sherpa", "/vosk", REALTIME, "/speech/telegraph", "/", "/speech/vad"]
        sockets = [stack.enter_context(client.connect(running.url(path, "ws"))) for path in paths]
        sherpa, vosk, openai, own, _, voice = sockets
        sherpa.send(as_floats(samples))
        vosk.send(pcm(samples))
        openai.send(json.dumps(_input(turn_detection=None)))
        audio = base64.b64encode(pcm(sound(WORDS, 24_000))).decode()
        openai.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        own.send(as_floats(samples))
        voice.send(as_floats(samples))
        assert json.loads(sherpa.recv(20))["text"] == json.loads(vosk.recv(20))["partial"] == WORDS
        while "delta" not in json.loads(openai.recv(20)):
            pass
        while json.loads(own.recv(20))["type"] != "result":
            pass
        running.process.send_signal(signal.SIGTERM)
        last = [_rest(socket) for socket in sockets]
        assert [socket.close_code for socket in sockets] == [1001] * 6
        assert last[0][-1]["is_final"] and last[0][-1]["text"] == last[1][-1]["text"] == WORDS
        assert next(each for each in last[2] if each["type"] == COMPLETED)["transcript"] == WORDS
        assert last[3][-1]["type"] == last[5][-1]["type"] == "state" and last[3][-1]["seq"] == 1
        assert last[4] == [] and running.process.wait(20) == 0
