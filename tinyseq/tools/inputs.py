"""What a command gives a model: inputs by name, from options and from files, and the sizes of random ones."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tinyseq.errors import FeedError
from tinyseq.ir.feeds import checked_array
from tinyseq.ir.model import Value
from tinyseq.runtime.session import Session
from tinyseq.tools.console import file_name, read_arrays
from tinyseq.tools.verify import random_feeds


def add_options(command: argparse.ArgumentParser) -> None:
    """The options by which inputs are given."""
    command.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an input: a number, or an .npy file; the others are random",
    )
    command.add_argument("--inputs", type=file_name, metavar="FILE", help="an .npz file with inputs by name")
    command.add_argument(
        "--size", action="append", default=[], metavar="NAME=N", help="a named dimension of random inputs"
    )
    command.add_argument("--seed", type=_natural, default=0, help="of the random inputs (default 0)")


def _natural(text: str) -> int:
    """A whole number from 0 on, for argparse."""
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def pairs(texts: list[str], what: str) -> dict[str, str]:
    """What is written as NAME=VALUE, by name; ``what`` is the option."""
    parts = [text.partition("=") for text in texts]
    for name, equals, value in parts:
        if not (name and equals and value):
            raise FeedError(f"{what} {name!r}: write it as NAME=VALUE")
    return {name: value for name, _, value in parts}


def feeds_of(
    args: argparse.Namespace, session: Session, others: Mapping[str, int] = MappingProxyType({})
) -> dict[str, np.ndarray]:
    """The inputs that are given, the others random, of the sizes that are given or else ``others``."""
    given, sizes = given_of(args, session), sizes_of(args)
    known = {size for value in session.inputs for size in value.shape or () if isinstance(size, str)}
    for name, size in sizes.items():
        if name not in known or not 0 <= size < 2**31:
            raise FeedError(f"--size {name}={size}: the model leaves open {', '.join(known) or 'nothing'}")
    return random_feeds(session, {**others, **sizes}, given, args.seed)


def given_of(args: argparse.Namespace, session: Session) -> dict[str, np.ndarray]:
    """The inputs that are given."""
    given = arrays_of(args)
    values = {value.name: value for value in session.inputs}
    unknown = given.keys() - values.keys()
    if unknown:
        raise FeedError(f"{args.inputs} holds {sorted(unknown)}; the model takes {', '.join(values)}")
    for name, text in pairs(args.input, "--input").items():
        if name not in values:
            raise FeedError(f"--input {name}: the model takes {', '.join(values)}")
        given[name] = read_arrays(Path(text)) if text.endswith(".npy") else _number(text, values[name].dtype)
    return given


def sizes_of(args: argparse.Namespace) -> dict[str, int]:
    """The sizes that are given."""
    try:
        return {name: int(text) for name, text in pairs(args.size, "--size").items()}
    except ValueError as error:
        raise FeedError(f"--size takes NAME=N with a whole number N: {error}") from error


@contextmanager
def size_hint(args: argparse.Namespace, session: Session) -> Iterator[None]:
    """Says of random inputs that were refused how to give them other sizes."""
    try:
        yield
    except FeedError as error:
        shapes = [value.shape or () for value in session.inputs]
        given = pairs(args.size, "--size")
        open_sizes = dict.fromkeys(size for shape in shapes for size in shape if isinstance(size, str))
        open_sizes = [size for size in open_sizes if size not in given]
        if not open_sizes:
            raise
        raise FeedError(
            f"{error} (random inputs have size 1 where the model leaves it open: "
            f"{', '.join(f'--size {size}=N' for size in open_sizes)} sets it)"
        ) from error


def arrays_of(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """The arrays of ``--inputs`` by name."""
    arrays = {} if args.inputs is None else read_arrays(args.inputs)
    if isinstance(arrays, np.ndarray):
        raise FeedError(
            f"--inputs {args.inputs}: this is one array without a name; give an .npz file of arrays by name"
        )
    return arrays


def _number(text: str, dtype: np.dtype) -> np.ndarray:
    try:
        return checked_array(Value("", dtype, None), json.loads(text), "value")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise FeedError(f"{text!r} is neither a number, a JSON list of numbers nor an .npy file") from error
