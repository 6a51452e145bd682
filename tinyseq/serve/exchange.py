"""What the workers of a server let each other know, by files: their metrics, and what clients order."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tinyseq.serve.metrics import Family


class Exchange:
    """Where the workers of a server leave what they have counted, and what all shall do.

    Args:
        folder: that of the server; None where there is one worker.
        number: that of this worker.
    """

    def __init__(self, folder: Path | None, number: int) -> None:
        self._folder, self.number = folder, number
        self._own = f"{number} {os.getpid()}"
        self._orders = (folder or Path()) / "orders"
        self._heard = 0

    def leave(self, families: Sequence[Family]) -> None:
        """Lets the other workers know."""
        if self._folder is None:
            return
        told = [(family.kind, family.name, family.text, family.samples) for family in families]
        path = self._folder / f"{self.number}.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(told), encoding="utf-8")
        new.replace(path)

    def gather(self, families: Sequence[Family]) -> dict[str, Sequence[Family]]:
        """What all workers have counted, this one's being ``families``; what others say is a second old."""
        found: dict[str, Sequence[Family]] = {str(self.number): families}
        for path in sorted(self._folder.glob("*.json")) if self._folder is not None else ():
            if path.stem != str(self.number):
                found[path.stem] = [_family(*told) for told in json.loads(path.read_text(encoding="utf-8"))]
        return found

    def tell(self, action: str, name: str) -> None:
        """Lets the other workers do what a client has asked of this one: ``load`` or ``unload`` a model."""
        if self._folder is not None:
            line = json.dumps([self._own, action, name]) + "\n"
            with self._orders.open("a", encoding="utf-8") as file:
                file.write(line)

    def orders(self) -> list[tuple[str, str]]:
        """What other workers have been asked to do since this was called before; at first, ever."""
        if self._folder is None or not self._orders.exists():
            return []
        with self._orders.open(encoding="utf-8") as file:
            file.seek(self._heard)
            lines = file.readlines()
            self._heard = file.tell()
        told = [json.loads(line) for line in lines]
        return [(action, name) for own, action, name in told if own != self._own]


def _family(kind: str, name: str, text: str, samples: list[list]) -> Family:
    family = Family(kind, name, text)
    for labels, value in samples:
        family.add(value, **labels)
    return family
