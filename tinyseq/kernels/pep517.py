"""The packaging backend: setuptools' wheel, and in it the kernels of this machine, for every Python here."""

from __future__ import annotations

import sysconfig
import tempfile
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from tinyseq.kernels.build import BUILT, build
from tinyseq.kernels.wheels import packed, python_files

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """A wheel with the kernels in it."""
    build()
    tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    with tempfile.TemporaryDirectory() as scratch:
        return packed(python_files(Path(scratch)), BUILT, [tag], Path(wheel_directory)).name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """A link to this checkout, whose kernels are built in place."""
    build()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
