"""What all commands share that read a model: their arguments, and how it is loaded."""

from __future__ import annotations

import argparse

from tinyseq.backends import ALL_PRECISIONS, DEVICES, check_precision, check_threads, device_named
from tinyseq.errors import DeviceError, OptionError
from tinyseq.runtime.loading import load
from tinyseq.runtime.session import Session
from tinyseq.tools import inputs
from tinyseq.tools.console import JSON_HELP, file_name
from tinyseq.tools.stream_check import frame_sizes

MODEL_FILES = "an .onnx, .keras, .h5 or .tinyseq file"


def add_model(command: argparse.ArgumentParser, what: str = MODEL_FILES) -> None:
    """What each command takes that reads a model."""
    command.add_argument("model", type=file_name, help=what)
    command.add_argument(
        "--state", action="append", default=[], metavar="INPUT=OUTPUT", help="a pair that carries state"
    )
    command.add_argument(
        "--device",
        type=_device,
        default=DEVICES[0],
        metavar="NAME",
        help=f"what runs it: {', '.join(DEVICES)}, or cuda:1 for a second one (default {DEVICES[0]})",
    )
    command.add_argument(
        "--precision",
        choices=ALL_PRECISIONS,
        help=f"to what weights are rounded (default {ALL_PRECISIONS[0]}, or what the file has)",
    )
    command.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="NAME",
        help="a weight, or a node whose weights, --precision leaves as they are",
    )
    command.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="how many threads of the CPU may share a call (default 1); the same bits",
    )
    command.add_argument("--json", action="store_true", help=JSON_HELP)


def _device(name: str) -> str:
    """A device, for argparse; whether it is at hand is seen when a model is loaded."""
    try:
        device_named(name)
    except DeviceError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def load_given(args: argparse.Namespace) -> Session:
    """The model, as the arguments ask for it."""
    return load_as(args, args.precision)


def load_as(args: argparse.Namespace, precision: str | None) -> Session:
    """The model, with another precision than the arguments ask for."""
    state = inputs.pairs(args.state, "--state") or None
    try:
        if precision is not None:
            check_precision(args.device, precision, args.keep)
        check_threads(args.device, args.threads)
    except DeviceError as error:
        raise OptionError(str(error)) from error
    return load(
        args.model,
        device=args.device,
        state=state,
        precision=precision,
        keep=args.keep,
        threads=args.threads,
    )


def frame_sizes_not_given(args: argparse.Namespace, session: Session) -> list[str]:
    """The open sizes that are numbers of frames, but for those that are given."""
    given = inputs.pairs(args.size, "--size")
    return [name for name in frame_sizes(session) if name not in given]
