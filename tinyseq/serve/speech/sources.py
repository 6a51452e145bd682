"""What a table ``[speech.NAME]`` of ``serve.toml`` says, and the recogniser or voice detector that it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tinyseq.common.given import as_path, is_number, is_whole
from tinyseq.common.text import shown
from tinyseq.decode.ctc.decoder import CtcDecoder
from tinyseq.decode.ctc.options import CtcBeamSearch, CtcGreedy
from tinyseq.decode.lm.arpa import is_arpa, read_arpa
from tinyseq.decode.transducer.decoder import TransducerDecoder
from tinyseq.decode.transducer.models import Transducer
from tinyseq.decode.transducer.options import TransducerBeamSearch, TransducerGreedy
from tinyseq.decode.vocabulary import read_lexicon, read_vocabulary
from tinyseq.errors import OptionError, TinyseqError
from tinyseq.ir.model import Value
from tinyseq.runtime.loading import load
from tinyseq.runtime.session import Session
from tinyseq.serve.repository import stamps
from tinyseq.speech.endpoint import Endpointing
from tinyseq.speech.front_end import Chunks
from tinyseq.speech.recognizer import Recognizer
from tinyseq.speech.segments import VoiceOptions
from tinyseq.speech.voice_detector import VoiceDetector

KINDS = ("recognizer", "voice")

COMMON = ("kind", "aliases", "language", "factory", "options")
MODEL = ("model", "device", "precision", "state", "finite", "threads")
SOUND = ("chunk", "input", "shape", "constants", "sample_rate", "frame_seconds", "output")
RECOGNIZER = (*COMMON, *MODEL, "transducer", *SOUND, "decoder", "endpointing")
VOICE = (*COMMON, *MODEL, *(each.name for each in fields(VoiceOptions)))

SEARCHES: dict[tuple[str, str], type] = {
    ("ctc", "beam"): CtcBeamSearch,
    ("ctc", "greedy"): CtcGreedy,
    ("transducer", "beam"): TransducerBeamSearch,
    ("transducer", "greedy"): TransducerGreedy,
}

Engine = Recognizer | VoiceDetector


@dataclass(frozen=True)
class SpeechSource:
    """A recogniser or a voice detector to serve, as its table in ``serve.toml`` has it.

    ``folder`` is the one that paths in the table are relative to, ``file`` the one that has the table.
    """

    name: str
    table: Mapping[str, Any]
    folder: Path = field(default=Path())
    file: Path | None = None

    def __post_init__(self) -> None:
        self._check()

    @property
    def kind(self) -> str:
        """``"recognizer"`` or ``"voice"``."""
        return self.table.get("kind", "recognizer")

    @property
    def aliases(self) -> tuple[str, ...]:
        """Further names by which clients ask for it."""
        return tuple(self.table.get("aliases", ()))

    @property
    def language(self) -> str | None:
        """What it understands, as ``"en"``, if the table says so."""
        return self.table.get("language")

    def stamp(self) -> Any:
        """What differs when the table or one of its files has changed."""
        decoder = self.table.get("decoder", {})
        named = [self.table.get("model"), *(decoder.get(key) for key in ("vocabulary", "lexicon", "lm"))]
        paths = [self.folder / each for each in named if isinstance(each, str)]
        try:
            if "transducer" in self.table:
                folder = self.folder / self.table["transducer"]
                paths += [path for path in folder.iterdir() if path.is_file()]
            return self.table, stamps(paths)
        except (OSError, ValueError):
            return self.table, None

    def load(self) -> Engine:
        """Reads all files and makes what is served.

        Raises:
            TinyseqError: a file cannot be read, or something does not fit; says where.
        """
        try:
            made = self._made()
        except TinyseqError as error:
            raise OptionError(f"speech.{self.name}: {error}") from error
        if isinstance(made, Recognizer) and made.decoder.options.vocabulary is None:
            raise self._wrong("decoder.vocabulary", "is missing: what is served are texts")
        return made

    def _check(self) -> None:
        kind = self.table.get("kind", "recognizer")
        if kind not in KINDS:
            raise self._wrong("kind", f"is {shown(kind)} and must be one of {', '.join(KINDS)}")
        known = COMMON if "factory" in self.table else RECOGNIZER if kind == "recognizer" else VOICE
        self._known("", self.table, known)
        for key, checks in CHECKS.items():
            if key in self.table and not checks[0](self.table[key]):
                raise self._wrong(key, f"is {shown(self.table[key])} and must be {checks[1]}")
        if "factory" in self.table:
            return
        if kind == "recognizer":
            if ("model" in self.table) == ("transducer" in self.table):
                raise self._wrong(
                    "model", "or transducer is needed, one of both: a file, or a folder of three"
                )
            for key in ("chunk", "frame_seconds", "decoder"):
                if key not in self.table:
                    raise self._wrong(key, f"is missing: {CHECKS[key][1]}")
            self._known("endpointing.", self.table.get("endpointing", {}), _names(Endpointing))
            search = self.table["decoder"].get("search", "beam")
            if search not in ("beam", "greedy"):
                raise self._wrong("decoder.search", f"is {shown(search)} and must be beam or greedy")
            self._known("decoder.", self.table["decoder"], ("search", "start", *_names(self._method)))

    @property
    def _method(self) -> type:
        family = "transducer" if "transducer" in self.table else "ctc"
        return SEARCHES[family, self.table["decoder"].get("search", "beam")]

    def _known(self, place: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                raise self._wrong(f"{place}{key}", f"is unknown; there are {', '.join(known)}")

    def _wrong(self, key: str, what: str) -> OptionError:
        return OptionError(f"speech.{self.name}.{key} {what}")

    def _path(self, given: object, what: str) -> Path:
        return self.folder / as_path(given, what)

    def _made(self) -> Engine:
        if "factory" in self.table:
            return self._manufactured()
        if self.kind == "voice":
            options = {name: self.table[name] for name in _names(VoiceOptions) if name in self.table}
            return VoiceDetector(self._session() if "model" in self.table else None, **options)
        if "transducer" in self.table:
            return self._transducer()
        return self._recognizer(self._session(), CtcDecoder(self._options()))

    def _session(self) -> Session:
        given = {name: self.table[name] for name in MODEL[1:] if name in self.table}
        return load(self._path(self.table["model"], "a model"), **given)

    def _transducer(self) -> Recognizer:
        start = self.table["decoder"].get("start")
        device = self.table.get("device", "cpu")
        found: Any = Transducer.load(
            self._path(self.table["transducer"], "a folder"), device=device, start=start
        )
        if found.encoder is None:
            raise OptionError("the folder of the transducer has no encoder, which hears the sound")
        return self._recognizer(found.encoder, TransducerDecoder(found, self._options()))

    def _options(self) -> Any:
        given = {key: value for key, value in self.table["decoder"].items() if key not in ("search", "start")}
        if "vocabulary" in given:
            given["vocabulary"] = read_vocabulary(self._path(given["vocabulary"], "a vocabulary"))
        if "lexicon" in given:
            given["lexicon"] = read_lexicon(self._path(given["lexicon"], "a lexicon"))
        if "lm" in given:
            path = self._path(given["lm"], "a language model")
            if not is_arpa(path):
                raise OptionError(
                    f"decoder.lm: {path} is no ARPA file; streams with a binary of KenLM's cannot be saved, "
                    "and so not be resumed elsewhere"
                )
            given["lm"] = read_arpa(path)
        return self._method(**given)

    def _recognizer(self, model: Session, decoder: CtcDecoder | TransducerDecoder) -> Recognizer:
        table = self.table
        feeds = self._feeds(model)
        chunk = table["chunk"]
        return Recognizer(
            model,
            front_end=lambda: Chunks(chunk, feeds),
            decoder=decoder,
            frame_seconds=table["frame_seconds"],
            output=table.get("output"),
            sample_rate=table.get("sample_rate", 16_000),
            endpointing=Endpointing(**table.get("endpointing", {})),
        )

    def _feeds(self, model: Session) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """What makes of a chunk of samples what the model takes."""
        carried = {pair.input for pair in model.state}
        values = {value.name: value for value in model.stream_inputs if value.name not in carried}
        constants = self.table.get("constants", {})
        for name in constants:
            if name not in values:
                raise OptionError(f"constants.{name}: the model takes {', '.join(values)}")
        fixed = {name: _constant(values[name], given) for name, given in constants.items()}
        left = [name for name in values if name not in fixed]
        name = self.table.get("input", left[0] if len(left) == 1 else None)
        if name is None or left != [name]:
            raise OptionError(
                f"the model takes {', '.join(left)}: input says which is the sound, constants what others are"
            )
        value, chunk = values[name], self.table["chunk"]
        shape = self.table.get("shape") or _shape(model, value)
        dtype = value.dtype
        try:
            np.zeros(chunk, dtype).reshape(shape)
        except ValueError as error:
            raise OptionError(f"a chunk of {chunk} samples cannot lie as {list(shape)}: {error}") from error

        def feeds(samples: np.ndarray) -> dict[str, np.ndarray]:
            return {name: samples.astype(dtype, copy=False).reshape(shape), **fixed}

        return feeds

    def _manufactured(self) -> Engine:
        module, colon, function = self.table["factory"].partition(":")
        with _looked_for_in(self.folder):
            try:
                factory = getattr(import_module(module), function or "missing", None) if colon else None
            except ImportError as error:
                raise OptionError(f"factory: cannot import {module}: {error}") from error
        if not callable(factory):
            raise OptionError(f"factory is {shown(self.table['factory'])} and must be module:function")
        try:
            made = factory(**self.table.get("options", {}))
        except Exception as error:  # whatever a user's own function raises
            raise OptionError(f"factory: {self.table['factory']} raised {error!r}") from error
        wanted = Recognizer if self.kind == "recognizer" else VoiceDetector
        if not isinstance(made, wanted):
            raise OptionError(
                f"factory gave {type(made).__name__}, and kind {self.kind!r} is a {wanted.__name__}"
            )
        return made


def _names(options: type) -> tuple[str, ...]:
    return tuple(each.name for each in fields(options))


def _constant(value: Value, given: object) -> np.ndarray:
    """A number or nested lists of them as the model takes them."""
    try:
        return np.array(given, value.dtype)
    except (TypeError, ValueError) as error:
        raise OptionError(f"constants.{value.name} is {shown(given)}: {error}") from error


def _shape(model: Session, value: Value) -> tuple[int, ...]:
    """How a chunk lies in an input: one row, and the samples along what else is open."""
    sizes = value.shape
    rows = dict(model.rows_fed[0]) if len(model.rows_fed) == 1 else {}
    if sizes is None:
        raise OptionError(f"shape is needed: the model does not say that of {value.name}")
    shape = [size if isinstance(size, int) else -1 for size in sizes]
    if value.name in rows and shape[rows[value.name]] == -1:
        shape[rows[value.name]] = 1
    if shape.count(-1) > 1:
        raise OptionError(
            f"shape is needed: that of {value.name} is {list(sizes)}, and it is not certain where the samples"
            " of a chunk lie; -1 stands where they do"
        )
    return tuple(shape)


@contextmanager
def _looked_for_in(folder: Path) -> Iterator[None]:
    """Lets modules beside ``serve.toml`` be imported."""
    place = str(folder.resolve())
    sys.path.insert(0, place)
    try:
        yield
    finally:
        sys.path.remove(place)


def _is_text(given: object) -> bool:
    return isinstance(given, str) and bool(given)


def _is_table(given: object) -> bool:
    return isinstance(given, Mapping)


CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "aliases": (lambda given: isinstance(given, list) and all(map(_is_text, given)), "a list of names"),
    "language": (_is_text, "a text such as 'en'"),
    "factory": (_is_text, "module:function, which gives a Recognizer or a VoiceDetector"),
    "options": (_is_table, "a table of what the factory is given"),
    "model": (_is_text, "the path of a model"),
    "transducer": (_is_text, "the path of a folder with encoder, decoder and joiner"),
    "device": (_is_text, "a device, as 'cpu'"),
    "precision": (_is_text, "a precision, as 'float32'"),
    "state": (_is_table, "a table from inputs to outputs"),
    "finite": (lambda given: isinstance(given, bool), "true or false"),
    "threads": (lambda given: is_whole(given) and given > 0, "how many threads may share a call"),
    "chunk": (lambda given: is_whole(given) and given > 0, "how many samples the model takes in a step"),
    "input": (_is_text, "the name of the model's input for sound"),
    "shape": (lambda given: isinstance(given, list) and all(map(is_whole, given)), "a list of whole numbers"),
    "constants": (_is_table, "a table of what other inputs are given"),
    "sample_rate": (lambda given: is_whole(given) and given > 0, "a whole number of Hz"),
    "frame_seconds": (lambda given: is_number(given) and given > 0, "how long a row of scores lasts"),
    "output": (_is_text, "the name of the model's output of scores"),
    "decoder": (_is_table, "a table with the options of the search, the vocabulary among them"),
    "endpointing": (_is_table, "a table of Endpointing's rules"),
}
"""Of each key what it must be, in code and in words."""
