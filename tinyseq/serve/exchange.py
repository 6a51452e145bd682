"""What the workers of a server let each other know, by files: their metrics, and what clients order."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tinyseq.serve.metrics import Family


class Exchange:
    """Where the workers of a server leave what they have counted, and what all shall do.

    Nobody sees a file before all of it is written: each is written under a name of its own, and then given
    the one by which others read it.

    Args:
        folder: that of the server; None where there is one worker.
        number: that of this worker.
    """

    def __init__(self, folder: Path | None, number: int) -> None:
        self._folder, self.number = folder, number
        self._own = f"{number} {os.getpid()}"
        self._heard = 0

    def leave(self, families: Sequence[Family]) -> None:
        """Lets the other workers know."""
        if self._folder is None:
            return
        told = [(family.kind, family.name, family.text, family.samples) for family in families]
        self._written(self._folder, told).replace(self._folder / f"{self.number}.json")

    def gather(self, families: Sequence[Family]) -> dict[str, Sequence[Family]]:
        """What all workers have counted, this one's being ``families``; what others say is a second old."""
        found: dict[str, Sequence[Family]] = {str(self.number): families}
        for path in sorted(self._folder.glob("*.json")) if self._folder is not None else ():
            if path.stem != str(self.number):
                found[path.stem] = [_family(*told) for told in json.loads(path.read_text(encoding="utf-8"))]
        return found

    def tell(self, action: str, name: str) -> None:
        """Lets the other workers do what a client has asked of this one: ``load`` or ``unload`` a model."""
        if self._folder is None:
            return
        new = self._written(self._folder, [self._own, action, name])
        number = self._heard
        while True:
            try:
                # Fails where another worker has taken the number.
                os.link(new, self._order(self._folder, number))
                break
            except FileExistsError:
                number += 1
        new.unlink()

    def orders(self) -> list[tuple[str, str]]:
        """What other workers have been asked to do since this was called before; at first, ever."""
        found: list[tuple[str, str]] = []
        while self._folder is not None and (path := self._order(self._folder, self._heard)).exists():
            own, action, name = json.loads(path.read_text(encoding="utf-8"))
            self._heard += 1
            if own != self._own:
                found.append((action, name))
        return found

    def _written(self, folder: Path, told: object) -> Path:
        """A file of this worker that nobody looks for."""
        path = folder / f"{self._own}.new"
        path.write_text(json.dumps(told), encoding="utf-8")
        return path

    def _order(self, folder: Path, number: int) -> Path:
        """Orders are numbered from 0, without gaps."""
        return folder / f"order-{number}"


def _family(kind: str, name: str, text: str, samples: list[list]) -> Family:
    family = Family(kind, name, text)
    for labels, value in samples:
        family.add(value, **labels)
    return family
