"""A model for WebAssembly as a package of npm: what npm wants beside it."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from tinyseq.common.text import shown
from tinyseq.errors import BuildError, OptionError
from tinyseq.export.header import comment
from tinyseq.export.interface import Argument, Interface
from tinyseq.export.javascript import array_name

NAME = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*")
VERSION = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?")

MADE_BY = "tinyseq"
"""What marks a ``package.json`` as made here, so that it may be made again."""

RELAXED = """

It wants relaxed SIMD, which not every engine has; where it is missing, a `ModelError` says so."""

LICENSE = """The weights in {name}.wasm are its model's, whose own licence holds for them.
The kernels in it, {name}.mjs and {name}.d.mts are tinyseq's:

"""


class Package(NamedTuple):
    """What a package of npm is called."""

    name: str
    version: str


def package_of(given: object) -> Package:
    """NAME or NAME@VERSION, as npm writes it.

    Raises:
        OptionError: npm has no such names.
    """
    text = given if type(given) is str else ""
    at = text.find("@", 1)
    name, version = (text, "1.0.0") if at < 0 else (text[:at], text[at + 1 :])
    if len(name) > 214 or not NAME.fullmatch(name) or not VERSION.fullmatch(version):
        raise OptionError(
            f"npm={shown(given)}: a package of npm is called NAME or @SCOPE/NAME, in lower case, perhaps "
            "with a version behind it: @me/vad@1.2.0"
        )
    return Package(name, version)


def check_folder(folder: Path, package: Package) -> None:
    """A package that is there already is only replaced by itself.

    Raises:
        BuildError: the folder holds another one.
    """
    found = folder / "package.json"
    try:
        told = json.loads(found.read_bytes()) if found.exists() else None
    except (OSError, ValueError, RecursionError):
        told = {}
    is_own = isinstance(told, dict) and (told.get("name"), told.get(MADE_BY)) == (package.name, True)
    is_free = told is None and not (folder / "README.md").exists() and not (folder / "LICENSE").exists()
    if not is_own and not is_free:
        raise BuildError(
            f"{folder} holds another package than {package.name}; give a folder of its own for the package"
        )


def package_files(
    own: Interface, package: Package, about: str, relaxed: bool, folder: Path
) -> dict[str, Path]:
    """Writes ``package.json``, ``README.md`` and ``LICENSE``; gives them by kind."""
    files = {"package": "package.json", "readme": "README.md", "license": "LICENSE"}
    made = {kind: folder / name for kind, name in files.items()}
    made["package"].write_text(json.dumps(_told(own, package, about), indent=2) + "\n")
    made["readme"].write_text(
        _data("npm.md").format(
            package=package.name,
            name=own.name,
            about=comment(about),
            inputs=", ".join(f"{one.name}: {_example(one)}" for one in own.inputs),
            outputs=", ".join(f"{one.name}: {array_name(one)} {one.sizes}" for one in own.outputs),
            relaxed=RELAXED if relaxed else "",
        )
    )
    made["license"].write_text(LICENSE.format(name=own.name) + _data("LICENSE"))
    return made


def _data(name: str) -> str:
    return resources.files("tinyseq.export").joinpath("data", name).read_text()


def _example(one: Argument) -> str:
    if one.by_value:
        return "0n" if one.c_type.endswith("64_t") else "0"
    return f"new {array_name(one)}({one.most})"


def _told(own: Interface, package: Package, about: str) -> dict:
    name = own.name
    return {
        "name": package.name,
        "version": package.version,
        "description": about,
        "license": "SEE LICENSE IN LICENSE",
        "type": "module",
        "exports": {
            ".": {"types": f"./{name}.d.mts", "default": f"./{name}.mjs"},
            f"./{name}.wasm": f"./{name}.wasm",
            "./package.json": "./package.json",
        },
        "types": f"./{name}.d.mts",
        "files": [f"{name}.mjs", f"{name}.d.mts", f"{name}.wasm"],
        "sideEffects": False,
        "engines": {"node": ">=20.16"},
        MADE_BY: True,
    }
