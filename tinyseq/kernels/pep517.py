"""The packaging backend: setuptools, after the kernels are built.

A wheel holds the compiled libraries, so it is for this platform, and for every Python.
"""

from __future__ import annotations

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from tinyseq.kernels.build import build
from tinyseq.kernels.llvm.architecture import HERE

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
    settings = dict(config_settings or {}) | {"--build-option": [f"--plat-name={HERE.PLATFORM}"]}
    return build_meta.build_wheel(wheel_directory, settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """A link to this checkout, whose kernels are built in place."""
    build()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
