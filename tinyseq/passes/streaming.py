"""The form in which a stream runs a model."""

from __future__ import annotations

from tinyseq.ir.model import Model
from tinyseq.ir.streaming import Streaming
from tinyseq.passes.state import expose_state


def streaming(model: Model) -> Streaming:
    """The model as a stream runs it.

    Raises:
        ModelError: it cannot be computed chunk by chunk; names the node, its op and why.
    """
    if model.state:
        return Streaming(expose_state(model))
    # Imported here: a model that has state pairs says itself what goes from step to step.
    from tinyseq.passes.time import followed

    return followed(model)
