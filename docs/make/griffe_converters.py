"""Tells griffe, which reads the docstrings for the site, that ``converters/`` is ``tinyseq.converters``."""

from __future__ import annotations

from pathlib import Path

from griffe import Extension, GriffeLoader, Module

CONVERTERS = Path(__file__).parents[2] / "converters"


class Converters(Extension):
    """Puts the package's second folder where its modules are imported from."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **_: object) -> None:
        if pkg.path == "tinyseq":
            pkg.set_member("converters", loader.load(CONVERTERS))
