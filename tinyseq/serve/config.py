"""What a server is told: a file ``serve.toml`` and the options of the command, as one checked value."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyseq.common.given import as_path, is_number, is_whole
from tinyseq.common.text import shown
from tinyseq.errors import ModelError, OptionError
from tinyseq.serve.origins import ANY, OPAQUE, Origin

if TYPE_CHECKING:
    from tinyseq.serve.speech.sources import SpeechSource

KIB, MIB = 2**10, 2**20


def _limit(default: float, least: float, most: float, text: str) -> Any:
    """A limit: a whole number where the default is one, and what is said of it in the documentation."""
    return field(default=default, metadata={"range": (least, most), "text": text})


@dataclass(frozen=True)
class Limits:
    """Every limit of a worker; all are in ``/metrics``. Times are seconds unless the name says otherwise."""

    streams: int = _limit(2048, 1, 2**20, "live streams of a worker; more are refused with 503")
    requests: int = _limit(256, 1, 2**20, "inference requests of a worker that are answered at one time")
    queued_bytes: int = _limit(
        256 * MIB, KIB, 2**40, "what waits for a step, all streams of a worker together"
    )
    message_bytes: int = _limit(
        MIB,
        KIB,
        2**30,
        "a message of a websocket; a longer one closes it with 1009. One that resumes a stream may have "
        "what its token takes",
    )
    token_bytes: int = _limit(
        16 * MIB, KIB, 2**30, "what the token of a stream of sound may have beside its model's state"
    )
    body_bytes: int = _limit(
        64 * MIB, KIB, 2**32, "the body of a request, unpacked; a longer one is answered 413"
    )
    connections: int = _limit(8192, 1, 2**20, "connections of a worker; more are refused with 503")
    header_bytes: int = _limit(64 * KIB, KIB, MIB, "the address and the headers of a request")
    chunks_ahead: int = _limit(8, 1, 4096, "chunks of a stream that wait, at which no more is read from it")
    unsent_bytes: int = _limit(
        MIB, KIB, 2**30, "what a client has not read yet, at which it is closed with 1013"
    )
    rows: int = _limit(512, 1, 2**16, "streams that a step takes at the most")
    window_ms: float = _limit(4.0, 0, 1000, "how long a step waits for more streams when the worker is busy")
    thread_ms: float = _limit(5.0, 0, 1e6, "steps that take longer leave the event loop for a thread")
    guard_ms: float = _limit(1000.0, 1, 1e6, "p99 of a chunk's time, above which no new stream is taken")
    retry_after: float = _limit(5.0, 1, 86400, "what Retry-After says where a client is refused")
    request_seconds: float = _limit(60.0, 0.1, 86400, "for a request to be sent whole; then it is cut off")
    open_seconds: float = _limit(10.0, 0.1, 3600, "for the first message that says what a stream is")
    idle_seconds: float = _limit(600.0, 1, 1e9, "without a message, after which a stream is closed")
    ping_seconds: float = _limit(20.0, 0.1, 1e9, "between the pings of a websocket")
    pong_seconds: float = _limit(20.0, 0.1, 1e9, "for the answer to a ping, after which the client is gone")
    drain_seconds: float = _limit(30.0, 0, 3600, "for streams to end when the server is to stop")
    retire_seconds: float = _limit(3600.0, 0, 1e9, "for streams of a model that was replaced or unloaded")
    token_seconds: float = _limit(86400.0, 0, 1e9, "how long a state token is taken; 0 for ever")


@dataclass(frozen=True)
class ModelSource:
    """A model to serve: a file, or a folder of versions. ``load`` takes the rest as its options."""

    name: str
    path: Path
    device: str = "cpu"
    precision: str = "float32"
    state: Mapping[str, str] | None = None
    finite: bool = True
    threads: int = 1


@dataclass(frozen=True)
class Config:
    """All that a server is told.

    ``tokens`` are the bearer tokens of which a client must show one; none: everybody may. ``origins`` are
    those whose pages may ask, beside the server's own; ``*`` stands for all. ``secret`` signs
    state tokens; None: one is made at the start, and what it signed is worth nothing after a restart.
    ``speech`` are the tables ``[speech.NAME]``: recognisers and voice detectors. ``file`` is the one that all
    this was read from, if any.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    grpc: int | None = None
    workers: int = 1
    tokens: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    secret: bytes | None = None
    certificate: Path | None = None
    key: Path | None = None
    models: tuple[ModelSource, ...] = ()
    repository: Path | None = None
    control: bool = True
    watch_seconds: float = 0.0
    speech: tuple[SpeechSource, ...] = ()
    file: Path | None = None
    limits: Limits = Limits()


def read_config(path: str | Path, base: Config | None = None) -> Config:
    """The Config that a TOML file tells; what it leaves out is as in ``base``. Paths in it are relative to
    the folder of the file.

    Raises:
        ModelError: it cannot be read.
        OptionError: a key is unknown or its value is none; says which.
    """
    path = as_path(path, "a configuration")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"cannot read {path}: {_why(error)}; give a TOML file") from error
    return _Reader(path).config(tables, base or Config())


def renewed(config: Config) -> Config:
    """The Config with the tables ``[speech.NAME]`` that its file has now.

    Raises:
        OptionError: the file cannot be read, or something in it is wrong.
    """
    if config.file is None:
        return config
    others = [source for source in config.speech if source.file != config.file]
    return replace(config, speech=(*others, *read_config(config.file).speech))


class _Reader:
    """Reads tables, and names the file and the key in messages."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def config(self, tables: Mapping[str, Any], base: Config) -> Config:
        tables = dict(tables)
        server = self._table(tables.pop("server", {}), "server")
        limits = self._limits(self._table(tables.pop("limits", {}), "limits"), base.limits)
        models = self._models(self._table(tables.pop("models", {}), "models"))
        speech = self._speech(self._table(tables.pop("speech", {}), "speech"))
        if tables:
            raise self._unknown("table", next(iter(tables)), ("server", "limits", "models", "speech"))
        given = {key: self._server(key, value) for key, value in server.items()}
        if "secret_file" in given:
            given["secret"] = read_secret(given.pop("secret_file"))
        return replace(
            base,
            **given,
            models=(*base.models, *models),
            speech=(*base.speech, *speech),
            file=self._path,
            limits=limits,
        )

    def _server(self, key: str, value: object) -> Any:
        checks: dict[str, Callable[[str, object], Any]] = {
            "host": self._text,
            "port": lambda name, given: self._whole(name, given, 0, 65535),
            "grpc": lambda name, given: self._whole(name, given, 0, 65535),
            "workers": lambda name, given: self._whole(name, given, 1, 1024),
            "tokens": lambda name, given: tuple(self._texts(name, given)),
            "origins": self._origins,
            "secret_file": self._file,
            "certificate": self._file,
            "key": self._file,
            "repository": self._file,
            "control": self._truth,
            "watch_seconds": lambda name, given: self._number(name, given, 0, 86400),
        }
        if key not in checks:
            raise self._unknown("key", f"server.{key}", checks)
        return checks[key](f"server.{key}", value)

    def _limits(self, table: Mapping[str, object], base: Limits) -> Limits:
        known = {limit.name: limit for limit in fields(Limits)}
        given: dict[str, Any] = {}
        for key, value in table.items():
            if key not in known:
                raise self._unknown("key", f"limits.{key}", known)
            least, most = known[key].metadata["range"]
            check = self._whole if isinstance(known[key].default, int) else self._number
            given[key] = check(f"limits.{key}", value, least, most)
        return replace(base, **given)

    def _models(self, table: Mapping[str, object]) -> list[ModelSource]:
        sources = []
        for name, given in table.items():
            place = f"models.{name}"
            own = dict(self._table({"path": given} if isinstance(given, str) else given, place))
            if "path" not in own:
                raise self._wrong(place, own, "a table with the path of a file or a folder")
            checks: dict[str, Callable[[str, object], Any]] = {
                "path": self._file,
                "device": self._text,
                "precision": self._text,
                "finite": self._truth,
                "state": self._pairs,
                "threads": lambda name, given: self._whole(name, given, 1, 64),
            }
            for key in own:
                if key not in checks:
                    raise self._unknown("key", f"{place}.{key}", checks)
            options: dict[str, Any] = {
                key: checks[key](f"{place}.{key}", value) for key, value in own.items()
            }
            sources.append(ModelSource(checked_name(name), **options))
        return sources

    def _speech(self, tables: Mapping[str, object]) -> list[SpeechSource]:
        if not tables:
            return []
        # Imported here: searches and detectors, which few servers have.
        from tinyseq.serve.speech.sources import SpeechSource

        sources = []
        for name, given in tables.items():
            table = self._table(given, f"speech.{name}")
            try:
                sources.append(SpeechSource(checked_name(name), table, self._path.parent, self._path))
            except OptionError as error:
                raise OptionError(f"{self._path}: {error}") from error
        return sources

    def _table(self, given: object, place: str) -> Mapping[str, Any]:
        if not isinstance(given, Mapping):
            raise self._wrong(place, given, "a table")
        return given

    def _text(self, place: str, given: object) -> str:
        if not isinstance(given, str) or not given:
            raise self._wrong(place, given, "a text")
        return given

    def _texts(self, place: str, given: object) -> list[str]:
        if not isinstance(given, list):
            raise self._wrong(place, given, "a list of texts")
        return [self._text(place, each) for each in given]

    def _origins(self, place: str, given: object) -> tuple[str, ...]:
        try:
            return tuple(map(checked_origin, self._texts(place, given)))
        except OptionError as error:
            raise OptionError(f"{self._path}: {place}: {error}") from error

    def _truth(self, place: str, given: object) -> bool:
        if not isinstance(given, bool):
            raise self._wrong(place, given, "true or false")
        return given

    def _pairs(self, place: str, given: object) -> dict[str, str]:
        return {
            name: self._text(f"{place}.{name}", other) for name, other in self._table(given, place).items()
        }

    def _file(self, place: str, given: object) -> Path:
        return self._path.parent / as_path(self._text(place, given), place)

    def _whole(self, place: str, given: object, least: float, most: float) -> int:
        if not is_whole(given) or not least <= given <= most:
            raise self._wrong(place, given, f"a whole number from {least} to {most}")
        return int(given)

    def _number(self, place: str, given: object, least: float, most: float) -> float:
        if not is_number(given) or not least <= given <= most:
            raise self._wrong(place, given, f"a number from {least:g} to {most:g}")
        return float(given)

    def _wrong(self, place: str, given: object, wanted: str) -> OptionError:
        return OptionError(f"{self._path}: {place} is {shown(given)} and must be {wanted}")

    def _unknown(self, what: str, name: str, known: Any) -> OptionError:
        return OptionError(f"{self._path}: {what} {name} is unknown; there are {', '.join(known)}")


NAME_HELP = "letters, digits, '.', '_' and '-', not beginning with a point, 128 at the most"


def checked_name(name: str) -> str:
    """The name of a model, as it stands in addresses.

    Raises:
        OptionError: it is none.
    """
    plain = name.isascii() and all(letter.isalnum() or letter in "._-" for letter in name)
    if not plain or not 1 <= len(name) <= 128 or name.startswith("."):
        raise OptionError(f"{shown(name)} cannot be the name of a model: {NAME_HELP}")
    return name


def checked_origin(text: str) -> str:
    """An origin whose pages may ask.

    Raises:
        OptionError: it is none.
    """
    if text not in (ANY, OPAQUE) and Origin.of(text) is None:
        raise OptionError(
            f"{shown(text)} is no origin: https://host or http://host:port is, without a path; "
            f"{OPAQUE!r} is that of pages from files, and {ANY!r} stands for all"
        )
    return text


def _why(error: Exception) -> str:
    """What kept a file from being read."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def read_secret(path: Path) -> bytes:
    """What a file holds to sign state tokens with.

    Raises:
        ModelError: it cannot be read.
        OptionError: it is too short to be a secret.
    """
    try:
        secret = path.read_bytes().strip()
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the secret {shown(str(path))}: {_why(error)}") from error
    if len(secret) < 16:
        raise OptionError(
            f"the secret {path} has {len(secret)} bytes and must have 16 at least: "
            "head -c 32 /dev/urandom | base64 makes one"
        )
    return secret


def model_source(given: Path) -> ModelSource:
    """The model that an argument of the command names: ``NAME=PATH``, or a path, whose stem is the name.

    Raises:
        OptionError: the name is none.
    """
    name, equals, rest = str(given).partition("=")
    try:
        path = as_path(rest if equals else str(given), "a model")
    except ModelError as error:
        raise OptionError(str(error)) from error
    return ModelSource(checked_name(name if equals else path.stem or path.name), path)
