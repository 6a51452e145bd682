"""The movements: exercises that a package carries, three sets of an archive, and folders of CSV files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinyseq.errors import FeedError, ModelError

from ..fetch import fetch, manifest
from ..report import shown
from ..texts import read

EXERCISES = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "upright row",
)
CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")
"""Acceleration in g and rotation in rad/s, each along the watch's three axes."""
RATE, MEAN_OF = 50.0, 4
"""Hz of the watch, and how many of its values the model sees the mean of."""
HELD_OUT = (8, 9, 10)
"""People whom no model was trained on."""

ARCHIVE = ("GunPoint", "PickupGestureWiimoteZ", "BasicMotions")
LONGEST = 60


class Recording(NamedTuple):
    """A movement: steps of several channels."""

    steps: np.ndarray
    """float32[steps, channels]."""
    label: int
    person: int = 0


def reduced(samples: np.ndarray, count: int = MEAN_OF) -> np.ndarray:
    """The means of every ``count`` samples [samples, channels], as float32."""
    whole = samples[: len(samples) // count * count]
    return whole.reshape(-1, count, whole.shape[1]).mean(1).astype(np.float32)


def exercises() -> list[Recording]:
    """The exercises, as the model sees them.

    Raises:
        UnavailableError: their package cannot be had.
    """
    # A pickle; its checksum says that it is the one that was looked at.
    found = np.load(fetch(_assets()["exercises"]), allow_pickle=True).item()
    return [
        Recording(reduced(samples), int(label), int(person))
        for samples, label, person in zip(found["X"], found["y"], found["subject"], strict=True)
    ]


def archived(name: str) -> tuple[list[Recording], list[Recording]]:
    """The training and the test set of ``ARCHIVE``'s, each recording of no more than ``LONGEST`` steps,
    each the mean of several; those of one channel with mean 0 and deviation 1.

    Raises:
        UnavailableError: their package cannot be had.
    """
    parts = [
        fetch(_assets()[f"{name}-{part}".lower()]).read_text(encoding="utf-8") for part in ("train", "test")
    ]
    labels = sorted({line.rpartition(":")[2] for line in _rows(parts[0])})
    train, test = ([_recording(line, labels) for line in _rows(part)] for part in parts)
    return train, test


def _assets() -> dict:
    return manifest(Path(__file__).with_name("manifest.toml"))


def _rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and line[0] not in "#@"]


def _recording(line: str, labels: Sequence[str]) -> Recording:
    *channels, label = line.split(":")
    steps = np.array([[float(number) for number in channel.split(",")] for channel in channels]).T
    if len(channels) == 1:  # as is usual in this archive; with several, their sizes tell much
        steps = (steps - steps.mean(0)) / np.maximum(steps.std(0), 1e-6)
    return Recording(reduced(steps, -(-len(steps) // LONGEST)), labels.index(label))


def read_csv(path: Path) -> np.ndarray:
    """The numbers of a CSV file, float32[rows, columns]; a first line that names columns is passed over.

    Raises:
        ModelError: the file cannot be read, or there is nothing in it.
        FeedError: it is not of rows of as many finite numbers each.
    """
    try:
        rows = [row for row in csv.reader(read(path, "CSV").splitlines()) if row]
    except csv.Error as error:
        raise ModelError(f"cannot read {shown(path)}: {error}; give a CSV file in UTF-8") from error
    if rows and not _is_number(rows[0][0]):
        del rows[0]
    try:
        found = np.array(rows, np.float32)
    except ValueError as error:
        raise FeedError(f"{path} is not of rows of as many numbers each: {error}") from error
    if found.ndim != 2 or not np.isfinite(found).all():
        raise FeedError(f"{path} has no rows, or numbers that are not finite; give rows of finite numbers")
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def in_folders(folder: Path) -> tuple[list[str], list[Recording]]:
    """The names of a folder's folders, and the recordings in these: CSV files of a row a step.

    Raises:
        FeedError: there are fewer than two folders with files in them, or a file cannot be read.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and [*path.glob("*.csv")])
    if len(names) < 2:
        raise FeedError(f"{folder} has not two folders of CSV files; make one for each kind of movement")
    return names, [
        Recording(read_csv(path), label, person)
        for label, name in enumerate(names)
        for person, path in enumerate(sorted((folder / name).glob("*.csv")))
    ]
