"""Models by name and version: loaded from files or a folder, replaced while streams run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import ModelError, StateError
from tinyseq.runtime.loading import load
from tinyseq.runtime.session import Session
from tinyseq.runtime.state import State
from tinyseq.serve.batcher import Batcher
from tinyseq.serve.config import Config, ModelSource, checked_name
from tinyseq.serve.errors import DrainingError, FullError, UnknownModelError
from tinyseq.serve.load import Load
from tinyseq.serve.repository import files_of, order, repository, stamp
from tinyseq.serve.rows import PoolRows, StreamRows, live_rows, state_bytes
from tinyseq.serve.runs import Runs
from tinyseq.serve.streams import ServedStream, awaited
from tinyseq.serve.tokens import message_bytes
from tinyseq.speech.voice_detector import MODEL as DETECTOR

if TYPE_CHECKING:
    from tinyseq.serve.admission import Admission
    from tinyseq.serve.metrics import Metrics

log = logging.getLogger("tinyseq.serve")

Feeds = Mapping[str, np.ndarray]

DETECTOR_NAME = "silero_vad"
"""Under what name the package's own voice detector is served when no model is named."""


class ServedModel:
    """A version of a model that is served.

    ``model`` is what ``tinyseq.load`` gave, ``ready`` whether new streams are taken.
    """

    def __init__(self, name: str, version: str, model: Session, models: Models) -> None:
        self.name, self.version, self.model = name, version, model
        self.ready = True
        self.streams: set[ServedStream] = set()
        self.refusal: ModelError | None = None
        """Why the model cannot be streamed, if so."""
        self._models = models
        self.metrics = models.metrics.of_model(name, version)
        self.token_bytes = 0
        """What a message with a state token may have; all states of a model are of one size."""
        self.rows: Any = None
        self.batcher: Any = None
        try:
            self.rows = live_rows(model)
            self.batcher = self._batcher(self.rows)
            self.token_bytes = message_bytes(state_bytes(self.rows))
        except ModelError as error:
            self.refusal = error
        self.whole = Runs(model)
        self._runs = self._batcher(self.whole)

    def _batcher(self, steps: PoolRows | StreamRows | Runs) -> Batcher:
        own = self._models
        return Batcher(steps, own.config.limits, own.admission, self.metrics, own.pace, own.executor)

    @property
    def fingerprint(self) -> str:
        """What tells the model from others."""
        return self.model.fingerprint

    def open_stream(self, state: State | bytes | None = None) -> ServedStream:
        """A new stream, from its start or from a state.

        Raises:
            FullError: no stream more is taken; has the seconds after which to try again.
            ModelError: the model cannot be streamed; says why.
            StateError: the bytes are no state of this model.
        """
        if self.refusal is not None:
            raise self.refusal
        limits = self._models.config.limits
        if not self.ready:
            raise DrainingError(f"model {self.name} {self.version} is being replaced", limits.retry_after)
        if isinstance(state, bytes):
            state = State.from_bytes(state)
        if state is not None and not state.belongs_to(self.model):
            raise StateError(f"the state is of another model than {self.name} {self.version}")
        self._models.admission.open_stream()
        stream = ServedStream(self)
        self.streams.add(stream)
        self.metrics.streams += 1
        self.metrics.opened += 1
        if state is not None:
            stream.restore(state)
        return stream

    def closed(self, stream: ServedStream, reason: str) -> None:
        """Counts a stream out."""
        self.streams.discard(stream)
        self.metrics.streams -= 1
        self._models.admission.close_stream()
        self._models.metrics.ended[reason] += 1

    async def infer(self, feeds: Feeds, timeout: float | None = None) -> dict[str, np.ndarray]:
        """What ``model.run`` gives of arrays, in the same bits; states that are left out are the model's
        initial ones.

        Raises:
            FeedError: names, dtypes or shapes do not fit.
            FullError: too many requests are being answered, or ``timeout`` seconds have passed.
        """
        admission = self._models.admission
        admission.open_request()
        self.metrics.requests += 1
        line = self._runs.line(None)
        size = sum([array.nbytes for array in feeds.values()])
        try:
            asked = awaited(lambda done: line.step(self.whole.kind(feeds), feeds, done, size))
            return await (asked if timeout is None else asyncio.wait_for(asked, timeout))
        except TimeoutError:
            after = self._models.config.limits.retry_after
            raise FullError(f"the request has waited for {timeout:g} seconds", after, "timeout") from None
        finally:
            line.close(lambda: None)
            admission.close_request()


class Models:
    """All models of a worker. To be made where the event loop runs."""

    def __init__(self, config: Config, admission: Admission, metrics: Metrics) -> None:
        self.config, self.admission, self.metrics = config, admission, metrics
        self.pace = Load(config.limits)
        self.executor = ThreadPoolExecutor(4, "tinyseq-step")
        self._served: dict[str, dict[str, ServedModel]] = {}
        self._sources = {source.name: source for source in config.models}
        self._stamps: dict[str, Any] = {}
        self._retired: list[tuple[float, ServedModel]] = []

    def __iter__(self) -> Iterator[ServedModel]:
        """All versions that are served."""
        for versions in self._served.values():
            yield from versions.values()

    def find(self, name: str, version: str | None = None) -> ServedModel:
        """A model; without a version its latest one.

        Raises:
            UnknownModelError: there is none of that name and version.
        """
        versions = self._served.get(name)
        if not versions:
            raise UnknownModelError(f"no model {shown(name)} is served")
        if version is None or version == "":
            return versions[max(versions, key=order)]
        found = versions.get(version)
        if found is None:
            raise UnknownModelError(
                f"model {name} has no version {shown(version)}; there are {', '.join(sorted(versions))}"
            )
        return found

    def add(self, name: str, session: Session, version: str = "1") -> ServedModel:
        """Serves a loaded model; one of that name and version is replaced."""
        served = ServedModel(checked_name(name), version, session, self)
        self._retire(self._served.setdefault(name, {}).get(version))
        self._served[name][version] = served
        return served

    async def load_all(self) -> None:
        """Loads what the configuration names, or else the package's own voice detector.

        Raises:
            ModelError: a file cannot be read, or is no model.
        """
        if self.config.repository is not None:
            for source in repository(self.config.repository):
                self._sources.setdefault(source.name, source)
        if not self._sources and not self.config.speech:
            self._sources[DETECTOR_NAME] = ModelSource(DETECTOR_NAME, DETECTOR)
        for name in self._sources:
            await self.load(name)

    async def load(self, name: str) -> None:
        """Loads all versions of a model anew: new streams are of these, streams that are live go on with
        theirs.

        Raises:
            UnknownModelError: the configuration names no such model.
            ModelError: a file cannot be read; what was served is served on.
        """
        source = self._source(name)
        self._stamps[name] = stamp(source)
        loop = asyncio.get_running_loop()
        found = files_of(source)
        sessions = {
            version: await loop.run_in_executor(self.executor, _loaded, source, path)
            for version, path in found.items()
        }
        for version in set(self._served.get(name, ())) - set(sessions):
            self._retire(self._served[name].pop(version))
        for version, session in sessions.items():
            self.add(name, session, version)

    def unload(self, name: str) -> None:
        """Serves a model no more; streams that are live go on.

        Raises:
            UnknownModelError: it is not served.
        """
        self.find(name)
        for served in self._served.pop(name).values():
            self._retire(served)

    def close(self) -> None:
        """Ends what runs beside the event loop."""
        self.pace.close()
        self.executor.shutdown(wait=False, cancel_futures=True)

    def index(self) -> list[tuple[str, str, bool]]:
        """Names, versions and whether they are ready, of all models that are or could be served."""
        served = [(model.name, model.version, model.ready) for model in self]
        known = {name for name, _, _ in served}
        return served + [(name, "", False) for name in self._sources if name not in known]

    def _source(self, name: str) -> ModelSource:
        if self.config.repository is not None and name not in self._sources:
            for source in repository(self.config.repository):
                self._sources.setdefault(source.name, source)
        if name not in self._sources:
            raise UnknownModelError(f"no model {shown(name)} is in the configuration or the repository")
        return self._sources[name]

    def _retire(self, served: ServedModel | None) -> None:
        if served is not None:
            served.ready = False
            self._retired.append((monotonic(), served))

    def tick(self, now: float) -> None:
        """Called every second or so: streams of models that were replaced long ago are ended."""
        limit = now - self.config.limits.retire_seconds
        for since, served in list(self._retired):
            for stream in list(served.streams) if since < limit else ():
                stream.end()
            if not served.streams:
                self._retired.remove((since, served))

    def names(self) -> list[str]:
        """What can be loaded."""
        return list(self._sources)

    def changed(self) -> list[str]:
        """Models whose files are others than when they were loaded; of a repository new ones, too."""
        if self.config.repository is not None:
            for source in repository(self.config.repository):
                self._sources.setdefault(source.name, source)
        return [name for name, source in self._sources.items() if stamp(source) != self._stamps.get(name)]


def _loaded(source: ModelSource, path: Path) -> Session:
    session = load(
        path,
        device=source.device,
        state=source.state,
        finite=source.finite,
        precision=source.precision,
        threads=source.threads,
    )
    # Worked out here, in a thread, and not when the first client comes.
    session.fingerprint  # noqa: B018
    session.state  # noqa: B018
    return session
