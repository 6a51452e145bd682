"""Serving: live streams, inference and speech over the protocols whose clients exist. ``tinyseq serve``."""

from typing import TYPE_CHECKING

from tinyseq.serve.config import Config, Limits, ModelSource, read_config

if TYPE_CHECKING:
    from tinyseq.serve.asgi import App

__all__ = ["Config", "Limits", "ModelSource", "app", "read_config"]


def app(config: Config | None = None) -> "App":
    """The ASGI app of a configuration, for any server of ASGI; ``tinyseq serve`` runs it with a quicker
    implementation of websockets.

    Its lifespan loads the models.
    """
    # Imported here: who reads a configuration need not wait for it.
    from tinyseq.serve import asgi

    return asgi.App(config or Config())
