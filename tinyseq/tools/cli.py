"""The command line: ``tinyseq inspect | run | verify | convert | build | generate | decode | demo |
serve``.

Exit status: 0 fine, 1 a check failed, 2 wrong usage, 3 a model or file cannot be read or used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np

from tinyseq import __version__
from tinyseq.backends import ALL_PRECISIONS, DEVICES, PRECISIONS, check_precision, device_named
from tinyseq.common.files import same
from tinyseq.common.text import printable
from tinyseq.decode.generation.decoder import Decoder
from tinyseq.decode.generation.generate import generate
from tinyseq.decode.transducer.models import Transducer
from tinyseq.decode.vocabulary import read_vocabulary
from tinyseq.demo import command as demo
from tinyseq.errors import DeviceError, FeedError, OptionError, TinyseqError
from tinyseq.export import command as building
from tinyseq.reference import Watch
from tinyseq.runtime.loading import WEIGHT_FILES, load
from tinyseq.runtime.session import Session
from tinyseq.serve import command as serving
from tinyseq.tools import console, decode_command, inputs, narrowing
from tinyseq.tools import generate_command as generation
from tinyseq.tools.console import JSON_HELP, file_name, read_arrays, say, say_json, write_arrays
from tinyseq.tools.inspection import inspect, open_sizes, step_sizes
from tinyseq.tools.stream_check import FRAMES, check_stream, frame_sizes
from tinyseq.tools.verify import table, verify

FINE, FAILED, USAGE, UNREADABLE = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    console.prepare()
    try:
        try:
            args = _parser().parse_args(arguments)
            return args.command(args)
        finally:
            console.flush()
    except TinyseqError as error:
        print(f"tinyseq: {error}", file=sys.stderr)
        return USAGE if isinstance(error, (FeedError, OptionError)) else UNREADABLE
    except BrokenPipeError:
        console.abandon()
        return FINE
    except OSError as error:
        console.abandon()
        print(f"tinyseq: {printable(str(error))}", file=sys.stderr)
        return UNREADABLE
    except MemoryError as error:
        print(f"tinyseq: there is not enough memory: {printable(str(error))}", file=sys.stderr)
        return UNREADABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tinyseq", description="Runs recurrent sequence models.")
    parser.add_argument("--version", action="version", version=f"tinyseq {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    command = commands.add_parser(
        "inspect", help="what a model, or a file of weights, is made of, and what a step of it costs"
    )
    _add_model(command)
    inputs.add_options(command)
    command.set_defaults(command=_inspect)

    command = commands.add_parser("run", help="run a model once on given or random inputs")
    _add_model(command)
    inputs.add_options(command)
    command.add_argument("--output", type=file_name, metavar="FILE", help="write the outputs to an .npz file")
    command.set_defaults(command=_run)

    command = commands.add_parser("verify", help="compare with the float64 reference and onnxruntime")
    _add_model(command)
    inputs.add_options(command)
    command.add_argument("--stream", action="store_true", help="see if streams give the same bits as a run")
    command.add_argument(
        "--tolerance",
        type=_share,
        metavar="SHARE",
        help="the most that results may differ, as a share of max(1, largest |value|); without it, what the "
        "rounding of float32, or the steps of a quantised model, leaves open",
    )
    command.set_defaults(command=_verify)

    command = commands.add_parser("convert", help="write a model in tinyseq's own format")
    _add_model(command)
    inputs.add_options(command)
    command.add_argument("output", type=file_name, nargs="?", help="the .tinyseq file to write")
    command.add_argument(
        "--compare", action="store_true", help="tell of each precision its bytes and what the outputs lose"
    )
    command.set_defaults(command=_convert)

    command = commands.add_parser("build", help="make a model a C library, weights and kernels inside")
    _add_model(command)
    building.add_arguments(command)
    command.set_defaults(command=_build)

    command = commands.add_parser("generate", help="what an encoder and a decoder generate for inputs")
    _add_model(command)
    command.add_argument("--encoder", type=file_name, metavar="FILE", help="the model that is run first")
    generation.add_arguments(command)
    command.set_defaults(command=_generate)

    command = commands.add_parser(
        "decode", help="turn rows of a CTC model, or what a transducer hears, into tokens or text"
    )
    _add_model(
        command,
        "an .npy or .npz file of rows, a model that gives them, or the folder of a transducer's models",
    )
    inputs.add_options(command)
    decode_command.add_arguments(command)
    command.set_defaults(command=_decode)

    demo.add_parser(commands)

    command = commands.add_parser("serve", help="serve models to live streams and requests")
    serving.add_arguments(command)
    command.set_defaults(command=serving.run)
    return parser


MODEL_FILES = "an .onnx, .keras, .h5 or .tinyseq file"


def _add_model(command: argparse.ArgumentParser, what: str = MODEL_FILES) -> None:
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
    command.add_argument("--json", action="store_true", help=JSON_HELP)


def _share(text: str) -> float:
    """A finite number from 0 on, for argparse."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    return number


def _device(name: str) -> str:
    """A device, for argparse; whether it is at hand is seen when a model is loaded."""
    try:
        device_named(name)
    except DeviceError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def _load(args: argparse.Namespace) -> Session:
    return _load_as(args, args.precision)


def _load_as(args: argparse.Namespace, precision: str | None) -> Session:
    state = inputs.pairs(args.state, "--state") or None
    try:
        if precision is not None:
            check_precision(args.device, precision, args.keep)
    except DeviceError as error:
        raise OptionError(str(error)) from error
    return load(args.model, device=args.device, state=state, precision=precision, keep=args.keep)


def _inspect(args: argparse.Namespace) -> int:
    if args.model.suffix.lower() in WEIGHT_FILES:
        return _inspect_weights(args)
    session = _load(args)
    description = inspect(session, _steps(args, session))
    if args.json:
        say_json(description)
        return FINE
    print(session)
    ops = ", ".join(f"{count} {op}" for op, count in description["ops"].items())
    say(f"  ops     {ops}")
    say(f"  weights {description['parameters']:,} numbers, {description['parameter_bytes']:,} bytes")
    shapes = ", ".join(f"{name} {shape}" for name, shape in description["step_shapes"].items())
    if description["operations_per_step"] is not None:
        given = inputs.pairs(args.size, "--size")
        others = ", ".join(f"--size {name}=N" for name in open_sizes(session) if name not in given)
        more = f" ({others} counts another)" if others else ""
        say(f"  step    {description['operations_per_step']:,} operations, of {shapes}{more}")
    if description["memory"] is not None:
        whose = f"its {session.rows_of_model} rows" if session.rows_of_model > 1 else "a stream"
        bytes_ = "{weights:,} bytes of packed weights, {state:,} {whose}, {arena:,} a call"
        say(f"  memory  {bytes_.format(**description['memory'], whose=whose)}")
    if description["step_error"] is not None:
        say(f"  step    not counted: {description['step_error']} (--size and --input say of what to count)")
    return FINE


def _steps(args: argparse.Namespace, session: Session) -> Iterator[dict[str, np.ndarray]]:
    """Inputs of a step to try in order."""
    for sizes in step_sizes(session):
        try:
            yield inputs.feeds_of(args, session, sizes)
        except FeedError:
            if not sizes and (args.input or args.inputs or args.size):
                raise
            yield {}
            return


def _inspect_weights(args: argparse.Namespace) -> int:
    """Lists the arrays of a file that holds weights without a model."""
    from tinyseq.converters import weights

    arrays = weights.read(args.model)
    count, size = sum(a.size for a in arrays.values()), sum(a.nbytes for a in arrays.values())
    if args.json:
        listed = {name: {"dtype": a.dtype.name, "shape": list(a.shape)} for name, a in arrays.items()}
        say_json({"arrays": listed, "parameters": count, "parameter_bytes": size})
        return FINE
    say(f"weights without a model; tinyseq.Graph says what they are the weights of ({args.model})")
    for name, array in arrays.items():
        say(f"  {name} {array.dtype}{list(array.shape)}")
    say(f"  {len(arrays)} arrays, {count:,} numbers, {size:,} bytes")
    return FINE


def _run(args: argparse.Namespace) -> int:
    session = _load(args)
    feeds = inputs.feeds_of(args, session)
    with inputs.size_hint(args, session):
        results = session.run(feeds)
    if args.output is not None:
        write_arrays(args.output, results)
    if args.json:
        say_json({name: array.tolist() for name, array in results.items()})
    else:
        for name, array in results.items():
            say(f"{name} {array.dtype}{list(array.shape)}", *str(array).split("\n"))
    return FINE


def _verify(args: argparse.Namespace) -> int:
    session = _load(args)
    if args.stream and args.tolerance is not None:
        raise OptionError(
            "--stream compares bits, of which --tolerance allows none to differ; give one of them"
        )
    if args.stream:
        args.size += [f"{name}={FRAMES}" for name in _sizes_not_given(args, session)]
        with inputs.size_hint(args, session):
            report = check_stream(session, inputs.feeds_of(args, session), seed=args.seed)
        say(*([report.as_json()] if args.json else map(str, report.findings)))
        return FINE if report.passed else FAILED
    feeds = inputs.feeds_of(args, session)
    with inputs.size_hint(args, session), _progress(session) as watch:
        rows = verify(session, args.model, feeds, watch, args.tolerance)
    passed = all(row.within for row in rows)
    if args.json:
        say_json({"passed": passed, "comparisons": [asdict(row) for row in rows]})
    else:
        say(*table(rows, args.tolerance))
    return FINE if passed else FAILED


def _sizes_not_given(args: argparse.Namespace, session: Session) -> list[str]:
    """The open sizes that are numbers of frames, but for those that are given."""
    given = inputs.pairs(args.size, "--size")
    return [name for name in frame_sizes(session) if name not in given]


@contextmanager
def _progress(session: Session) -> Iterator[Watch | None]:
    """A bar over the nodes that the reference computes, on a terminal and where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield None
        return
    count = len(session.model.graph.nodes)
    with tqdm(total=count, unit="op", leave=False, file=sys.stderr, disable=None) as bar:
        yield lambda node, inputs, outputs: bar.update()


def _convert(args: argparse.Namespace) -> int:
    output = args.output
    if output is None and not args.compare:
        raise OptionError("convert takes the .tinyseq file to write, or --compare, which needs none")
    if output is not None and same(args.model, output):
        raise OptionError(f"{output} is the model itself, which is not overwritten; give another name")
    session = _load(args)
    found, why = _roundings(args, session)
    if output is not None:
        session.save(output)
    if args.json:
        written = {} if output is None else {"output": str(output), "bytes": output.stat().st_size}
        say_json(written | ({"precisions": [row.as_json() for row in found]} if found else {}))
        return FINE
    if output is not None:
        say(f"wrote {output} ({output.stat().st_size:,} bytes)")
    if found:
        say(*narrowing.table(found))
        say(*([f"outputs were not compared: {why}"] if why else []))
    return FINE


def _roundings(args: argparse.Namespace, session: Session) -> tuple[list[narrowing.Rounding], str]:
    """What precisions make of the model: all, to compare, or the one at hand beside float32; and why their
    outputs are not compared, where they are not."""
    if not args.compare and not session.computed.weights.narrow:
        return [], ""
    asked = PRECISIONS["cpu"] if args.compare else (ALL_PRECISIONS[0], session.precision)
    args.device = "cpu"
    feeds, why = None, ""
    try:
        if session.streams:
            args.size += [f"{name}={FRAMES}" for name in _sizes_not_given(args, session)]
        feeds = inputs.feeds_of(args, session)
        session.run(feeds)
    except FeedError as error:
        if args.input or args.inputs:
            raise
        feeds, why = None, str(error)
    exact = _load_as(args, ALL_PRECISIONS[0])
    made = (exact if name == exact.precision else _load_as(args, name) for name in asked)
    return [narrowing.rounding(one, exact, feeds) for one in made], why


def _build(args: argparse.Namespace) -> int:
    session = _load(args)
    building.build(args, session, inputs.sizes_of(args), inputs.given_of(args, session))
    return FINE


def _generate(args: argparse.Namespace) -> int:
    options = generation.options(args)
    known = None if args.vocabulary is None else read_vocabulary(args.vocabulary)
    decoder = Decoder(
        _load(args),
        None if args.encoder is None else load(args.encoder, device=args.device, precision=args.precision),
        tokens=args.tokens,
        scores=args.scores,
        kind=args.kind,
        attention=args.attention,
        rows=args.rows,
        connect=inputs.pairs(args.connect, "--connect"),
    )
    found = [
        [generation.described(hypothesis, known, args.separator) for hypothesis in hypotheses]
        for hypotheses in generate(decoder, inputs.arrays_of(args), options)
    ]
    if args.json:
        say_json(found)
    else:
        print(*generation.lines(found), sep="\n")
    return FINE


def _decode(args: argparse.Namespace) -> int:
    if args.model.is_dir():
        return _decode_transducer(args)
    if args.model.suffix == ".npy":
        arrays = {args.model.stem: read_arrays(args.model)}
    elif args.model.suffix == ".npz":
        arrays = read_arrays(args.model)
    else:
        session = _load(args)
        with inputs.size_hint(args, session):
            arrays = session.run(inputs.feeds_of(args, session))
    decode_command.decode(args, arrays)
    return FINE


def _decode_transducer(args: argparse.Namespace) -> int:
    if args.state:
        raise FeedError("--state names what one model carries; a transducer's models are found without it")
    transducer = Transducer.load(args.model, start=args.start)
    if transducer.encoder is None:
        raise FeedError(f"{args.model} holds no encoder, so there is nothing to decode")
    with inputs.size_hint(args, transducer.encoder):
        frames = transducer.encode(inputs.feeds_of(args, transducer.encoder), args.name)
    decode_command.decode_frames(args, transducer, frames)
    return FINE
