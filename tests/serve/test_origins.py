"""Pages of other origins: what browsers let them send is refused, unless the configuration names them."""

from __future__ import annotations

import http.client
import json

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.export.browser import COMMAND, browser, served
from tests.serve.native import Client
from tests.serve.server import serving
from tests.serve.test_streams import RATE, SILERO
from tinyseq.serve.errors import OriginError
from tinyseq.serve.origins import Origin, Origins
from tinyseq.speech.voice_detector import MODEL

APP = "https://app.example.com"
CONFIG = f'[models]\nsilero_vad = "{MODEL}"\n[speech.vad]\nkind = "voice"\n[limits]\nguard_ms = 60000\n'


def may(origin: str | None, asked: str, *allowed: str, host: str = "0.0.0.0", guarded: bool = False) -> bool:
    """Whether a page of an origin may ask what is found at an address."""
    headers = {"host": asked} | ({} if origin is None else {"origin": origin})
    try:
        Origins(allowed, host, guarded).check(headers)
    except OriginError as error:
        assert error.status == 403 and "server.origins" in str(error)
        return False
    return True


def test_programs_that_are_no_browsers_may():
    assert may(None, "evil.example:8000") and may(None, "")


@pytest.mark.parametrize(
    "asked",
    [
        "localhost:8000",
        "LOCALHOST:8000",
        "a.localhost:8000",
        "127.0.0.1:8000",
        "192.168.1.5:8000",
        "[::1]:8000",
    ],
)
def test_the_pages_of_the_server_itself_may(asked):
    assert may(f"http://{asked.lower()}", asked)
    assert not may("http://other.example:8000", asked)
    assert not may(f"http://{asked.lower()}1", asked)
    assert not may(f"http://{asked.lower().partition(':')[0]}", asked)


def test_ports_that_are_not_told():
    assert may("http://127.0.0.1", "127.0.0.1") and may("http://127.0.0.1", "127.0.0.1:80")
    assert may("https://127.0.0.1", "127.0.0.1:443") and not may("https://127.0.0.1", "127.0.0.1:80")


def test_a_name_may_be_a_strangers():
    """DNS rebinding: the page and what it asks for have one name, which now stands for this server."""
    name, origin = "rebound.example:8000", "http://rebound.example:8000"
    assert not may(origin, name)
    assert not may("http://localhost.evil.example", "localhost.evil.example")
    assert not may("http://127.0.0.1.evil.example", "127.0.0.1.evil.example")
    assert may(origin, name, guarded=True) and may(origin, name, host="rebound.example")
    assert may(origin, name, origin)
    with pytest.raises(OriginError, match="stranger's name"):
        Origins((), "127.0.0.1", False).check({"host": name, "origin": origin})


def test_origins_that_are_listed():
    assert may(APP, "localhost:8000", APP) and may(APP, "localhost:8000", f"{APP}:443")
    assert may("https://app.example.com:443", "localhost", "HTTPS://APP.example.com")
    assert not may("http://app.example.com", "localhost", APP)
    assert not may(f"{APP}:8443", "localhost", APP) and not may(f"{APP}.evil.example", "localhost", APP)
    assert may("null", "localhost", "null") and not may("null", "localhost", APP)
    assert may("null", "localhost", "*") and may("chrome-extension://abcd", "x", "chrome-extension://abcd")


@pytest.mark.parametrize(
    "text",
    ["", "null", "x", "//x", "http://", "http://x/", "http://x?a", "http://a@x", "http://[", "http://x:y"],
)
def test_what_is_no_origin_may_not(text):
    assert Origin.of(text) is None and not may(text, text, guarded=True) and not may(text, "x", APP)


@pytest.fixture(scope="module")
def listing(tmp_path_factory):
    """A server that one other origin's pages may ask."""
    with serving(tmp_path_factory.mktemp("listing"), "--origin", APP, config=CONFIG) as running:
        yield running


REFUSED = ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1"]
PATHS = ["/speech/vad", "/v1/realtime?intent=transcription", "/", "/nothing"]


@pytest.mark.parametrize("path", [SILERO, *PATHS])
def test_no_websocket_stands_for_pages_of_others(listing, path):
    for origin in REFUSED:
        with pytest.raises(InvalidStatus) as refused:
            connect(listing.url(path, "ws"), origin=origin)
        answer = refused.value.response
        told = json.loads(answer.body)["error"]
        assert answer.status_code == 403 and "--origin" in told and origin in told
    assert listing.metric("tinyseq_refused_total", reason="origin") > 0


def test_websockets_stand_for_own_pages_and_listed_ones(server, listing):
    for running in (server, listing):
        with Client(running.url(SILERO, "ws"), RATE, origin=running.url("")) as client:
            assert client.ready["type"] == "ready"
    for origin in (APP, listing.url("")):
        with connect(listing.url("/speech/vad", "ws"), origin=origin) as socket:
            assert json.loads(socket.recv(20))["type"] == "ready"


def asked(server, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, b"{}" if method == "POST" else None, given)
    answer = connection.getresponse()
    told = {name.lower(): value for name, value in answer.getheaders()}
    body = answer.read()
    connection.close()
    return answer.status, told, body


UNLOAD = "/v2/repository/models/silero_vad/unload"


def test_requests_that_change_something(server):
    """What a form of any page could send."""
    for path in (UNLOAD, "/v2/models/silero_vad/infer", "/v2/repository/models/silero_vad/load"):
        status, _, body = asked(
            server, "POST", path, Origin="https://evil.example", Content_Type="text/plain"
        )
        assert status == 403 and b"--origin" in body
    rebound = {"Origin": "http://evil.example", "Host": "evil.example"}
    assert asked(server, "POST", UNLOAD, **rebound)[0] == 403
    assert asked(server, "POST", "/v2/repository/index", Origin=server.url(""))[0] == 200
    assert asked(server, "POST", "/v2/repository/index")[0] == 200
    assert asked(server, "GET", "/v2/models/silero_vad", Origin="https://evil.example")[0] == 200


def test_browsers_are_told_which_pages_may_read(listing):
    ask = {"Access_Control_Request_Method": "POST"}
    status, told, _ = asked(listing, "OPTIONS", "/v2/models/silero_vad/infer", Origin=APP, **ask)
    assert status == 200 and told["access-control-allow-origin"] == APP and told["vary"] == "origin"
    assert "inference-header-content-length" in told["access-control-allow-headers"]
    for method, path in (("GET", "/v2/models/silero_vad"), ("POST", "/nothing")):
        assert asked(listing, method, path, Origin=APP)[1]["access-control-allow-origin"] == APP
        others = asked(listing, method, path, Origin="https://evil.example")[1]
        assert "access-control-allow-origin" not in others
    status, told, _ = asked(listing, "OPTIONS", UNLOAD, Origin="https://evil.example", **ask)
    assert status == 405 and "access-control-allow-origin" not in told


TRY = """new Promise((done) => {{
    const socket = new WebSocket("{socket}");
    socket.onmessage = () => {{ socket.close(); done("open"); }};
    socket.onerror = () => done("refused");
}})"""
FETCH = (
    'fetch("{url}", {{ method: "POST", headers: {{ "content-type": "application/json" }}, body: "{{}}" }})'
)
FETCH += '.then((answer) => answer.json()).then((found) => found[0].name, () => "refused")'


@pytest.mark.skipif(COMMAND is None, reason="chromium, which shows pages, is not installed")
def test_a_page_from_elsewhere_in_a_browser(tmp_path):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.html").write_text("<title>elsewhere</title>")
    with served(tmp_path / "pages") as elsewhere, browser(tmp_path / "browser") as shown:
        shown.open(elsewhere, "document.title === 'elsewhere'")
        for arguments, opens in (((), False), (("--origin", elsewhere), True)):
            folder = tmp_path / f"server {opens}"
            folder.mkdir()
            with serving(folder, *arguments) as running:
                found = shown.run(TRY.format(socket=running.url(SILERO, "ws")))
                assert found == ("open" if opens else "refused")
                found = shown.run(FETCH.format(url=running.url("/v2/repository/index")))
                assert found == ("silero_vad" if opens else "refused")
