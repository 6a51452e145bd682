"""Metrics of all workers of a server, of which any may be asked: by files in a folder of theirs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tinyseq.serve.metrics import Family


class Exchange:
    """Where the workers of a server leave what they have counted.

    Args:
        folder: that of the server; None where there is one worker.
        number: that of this worker.
    """

    def __init__(self, folder: Path | None, number: int) -> None:
        self._folder, self.number = folder, number

    def leave(self, families: Sequence[Family]) -> None:
        """Lets the other workers know."""
        if self._folder is None:
            return
        told = [(family.kind, family.name, family.text, family.samples) for family in families]
        path = self._folder / f"{self.number}.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(told))
        new.replace(path)

    def gather(self, families: Sequence[Family]) -> dict[str, Sequence[Family]]:
        """What all workers have counted, this one's being ``families``; what others say is a second old."""
        found: dict[str, Sequence[Family]] = {str(self.number): families}
        for path in sorted(self._folder.glob("*.json")) if self._folder is not None else ():
            if path.stem != str(self.number):
                found[path.stem] = [_family(*told) for told in json.loads(path.read_text())]
        return found


def _family(kind: str, name: str, text: str, samples: list[list]) -> Family:
    family = Family(kind, name, text)
    for labels, value in samples:
        family.add(value, **labels)
    return family
