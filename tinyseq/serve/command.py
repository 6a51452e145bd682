"""The command ``tinyseq serve``."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from tinyseq.errors import OptionError
from tinyseq.serve.config import Config, checked_origin, model_source, read_config, read_secret
from tinyseq.tools import console
from tinyseq.tools.console import file_name, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``tinyseq serve``."""
    parser.description = (
        "Serves models: live streams by websockets, inference by HTTP. Without a model it is the voice "
        "detector of the package."
    )
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="a file that tinyseq loads, or a folder of versions (1/model.onnx); NAME=FILE gives a name",
    )
    parser.add_argument("--host", metavar="ADDRESS", help="where to listen (default 127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="N", help="of HTTP and websockets (default 8000)")
    parser.add_argument("--grpc", type=int, metavar="PORT", help="serve gRPC, too")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that share the port (default 1)")
    parser.add_argument(
        "--token",
        action="append",
        metavar="TEXT",
        help="a bearer token that clients must show; may be repeated",
    )
    parser.add_argument(
        "--origin",
        action="append",
        metavar="ORIGIN",
        help="whose pages may ask, beside the server's own: https://host:port; may be repeated",
    )
    parser.add_argument(
        "--secret",
        type=file_name,
        metavar="FILE",
        help="what signs state tokens: servers that share it resume each other's streams",
    )
    parser.add_argument(
        "--repository",
        type=file_name,
        metavar="FOLDER",
        help="a folder of models: NAME.onnx or NAME/1/model.onnx",
    )
    parser.add_argument("--config", type=file_name, metavar="FILE", help="a serve.toml, see docs/serving.md")
    parser.add_argument(
        "--ray",
        action="store_true",
        help="serve on Ray, whose replicas the workers are; see docs/serving-scale.md",
    )
    parser.add_argument(
        "--most-workers", type=int, metavar="N", help="with --ray: as many where streams need them"
    )


def config_of(args: argparse.Namespace) -> Config:
    """The configuration that the options tell; they win over the file.

    Raises:
        OptionError: the file or an option is wrong.
    """
    config = read_config(args.config) if args.config is not None else Config()
    given = {
        "host": args.host,
        "port": args.port,
        "grpc": args.grpc,
        "workers": args.workers,
        "tokens": None if args.token is None else tuple(args.token),
        "origins": None if args.origin is None else tuple(map(checked_origin, args.origin)),
        "secret": None if args.secret is None else read_secret(args.secret),
        "repository": args.repository,
    }
    config = replace(config, **{name: value for name, value in given.items() if value is not None})
    for name in ("port", "grpc"):
        port = getattr(config, name)
        if port is not None and not 0 <= port <= 65535:
            raise OptionError(f"--{name} {port} is no port; there are 0 to 65535")
    if not 1 <= config.workers <= 1024:
        raise OptionError(f"--workers {config.workers} must be from 1 to 1024")
    models = [model_source(Path(each)) for each in args.models]
    names = [source.name for source in (*config.models, *models)]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"two models are named {name}; NAME=FILE names one otherwise")
    return replace(config, models=(*config.models, *models))


def run(args: argparse.Namespace) -> int:
    """Serves until it is told to end; gives the exit code.

    Raises:
        TinyseqError: an option is wrong, a model cannot be loaded, or a package is missing.
    """
    # Imported here: other commands need none of it.
    from tinyseq.serve import workers

    config = config_of(args)
    if args.ray:
        return _run_on_ray(config, args.most_workers)
    if args.most_workers is not None:
        raise OptionError("--most-workers is for --ray, which starts workers as streams need them")
    workers.uvicorn_package()
    sock = workers.bound(config)
    host, port = sock.getsockname()[:2]
    logging.basicConfig(format="tinyseq: %(message)s", level=logging.INFO)

    def ready() -> None:
        _say_address(config, host, port)

    if config.workers > 1:
        return workers.serve_all(config, sock, ready)
    workers.serve(config, sock, ready=ready)
    return 0


def _say_address(config: Config, host: str, port: int) -> None:
    """Says where clients may come."""
    say(f"listening at http{'s' if config.certificate else ''}://{host}:{port}")
    console.flush()


def _run_on_ray(config: Config, most_workers: int | None) -> int:
    # Imported here: few need it.
    from tinyseq.serve import ray

    if config.port == 0:
        raise OptionError("--port 0 picks a free port, which Ray cannot: name one")

    return ray.serve(config, most_workers, lambda: _say_address(config, config.host, config.port))
