"""``tinyseq inspect``: what a model, or a file of weights, is made of."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from tinyseq.errors import FeedError
from tinyseq.runtime.loading import WEIGHT_FILES, read
from tinyseq.runtime.session import Session
from tinyseq.tools import inputs
from tinyseq.tools.commands.models import add_model, load_given
from tinyseq.tools.console import FINE, say, say_json
from tinyseq.tools.inspection import inspect, open_sizes, step_sizes


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_model(command)
    inputs.add_options(command)


def run(args: argparse.Namespace) -> int:
    """Prints what the model is made of."""
    if args.model.suffix.lower() in WEIGHT_FILES:
        return _inspect_weights(args)
    session = load_given(args)
    description = inspect(session, read(args.model), _steps(args, session))
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
