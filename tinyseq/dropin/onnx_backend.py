"""tinyseq behind the interface of the onnx package, ``onnx.backend.base``.

The module itself, like the class ``Backend``, is a backend that computes on the CPU; ``ReferenceBackend``
computes by the float64 reference:

    from tinyseq import onnx_backend
    y, h = onnx_backend.prepare(onnx.load("model.onnx")).run([x])

Inputs are given in the order of the graph's inputs, or as a dict by name. Outputs come in the order of
the graph's outputs, in the types that the graph declares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinyseq.common.given import as_array
from tinyseq.common.text import shown
from tinyseq.errors import FeedError, MissingPackageError, ModelError, TinyseqError, UnsupportedError
from tinyseq.runtime.loading import load
from tinyseq.runtime.session import Session

try:
    import onnx
    from onnx.backend import base
except ImportError as error:
    raise MissingPackageError(
        "tinyseq.onnx_backend needs the onnx package: pip install 'tinyseq[onnx]'"
    ) from error


class Prepared(base.BackendRep):
    """A model ready to run; from several threads at once if need be."""

    def __init__(self, loaded: Session) -> None:
        self._session = loaded

    def run(self, inputs: Any, **kwargs: Any) -> tuple[np.ndarray, ...]:
        """The outputs for inputs given in order, by name, or as the one array of a model with one input.

        Raises:
            FeedError: their number, names, dtypes or shapes do not fit the model.
        """
        _refuse(kwargs, "run")
        results = self._session.run(_by_name([value.name for value in self._session.inputs], inputs))
        outputs = self._session.model.graph.outputs
        return tuple(results[v.name].astype(v.dtype, copy=False) for v in outputs)


def _by_name(names: Sequence[str], inputs: Any) -> Mapping[str, Any]:
    if isinstance(inputs, Mapping):
        return inputs
    given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if len(given) != len(names):
        raise FeedError(f"{len(given)} inputs given; the model takes {len(names)}: {', '.join(names)}")
    return dict(zip(names, given))


def _refuse(options: Mapping[str, Any], function: str) -> None:
    """Options are refused, never ignored."""
    if options:
        raise TinyseqError(f"{function} does not know the options {', '.join(options)}; leave them out")


class Backend(base.Backend):
    """Models on the CPU."""

    device = "cpu"

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether ``prepare`` takes the model."""
        try:
            cls.prepare(model, device, **kwargs)
        except UnsupportedError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> Prepared:
        """Makes a model ready to run.

        Raises:
            ModelError: the model is damaged, or uses what tinyseq does not support; names the node.
            TinyseqError: the device or an option is unknown.
        """
        _refuse(kwargs, "prepare")
        if not cls.supports_device(device):
            raise TinyseqError(f"device {shown(device)} is not supported; 'CPU' is")
        if not isinstance(model, onnx.ModelProto):
            raise ModelError(
                f"a model of the onnx package is prepared, onnx.load(path), not {shown(model)}; "
                "tinyseq.load takes paths"
            )
        return Prepared(load(model, device=cls.device))

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any
    ) -> tuple[np.ndarray, ...]:
        """``prepare`` and ``run`` at once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[np.ndarray, ...]:
        """The outputs of one node of the newest opset, or of ``opset_version``.

        Args:
            inputs: arrays for those inputs of the node that have a name, in order or by name.
            outputs_info: dtype and shape of each output; without it they are inferred.
        """
        opset = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        if not isinstance(node, onnx.NodeProto):
            raise ModelError(f"a node of the onnx package is run, not {shown(node)}")
        names = list(dict.fromkeys(filter(None, node.input)))
        try:
            arrays = {name: as_array(array) for name, array in _by_name(names, inputs).items()}
            model = _around(node, arrays, opset, outputs_info)
        except FeedError:
            raise
        except (TypeError, ValueError) as error:
            raise FeedError(
                f"inputs, outputs_info or opset_version are not those of a node of ONNX: {error}"
            ) from error
        return cls.run_model(model, arrays, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models can be prepared for a device of ONNX's names: ``CPU``."""
        return isinstance(device, str) and device == "CPU"


class ReferenceBackend(Backend):
    """Models by the float64 reference; outputs are rounded to the types that the graph declares."""

    device = "reference"


def _around(
    node: onnx.NodeProto, arrays: Mapping[str, np.ndarray], opset: int, outputs_info
) -> onnx.ModelProto:
    """A model of one node."""
    helper = onnx.helper

    def declared(name: str, dtype: np.dtype, shape: Sequence[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    names = [name for name in node.output if name]
    if outputs_info is None:
        outputs = [helper.make_empty_tensor_value_info(name) for name in names]
    else:
        outputs = [declared(name, *info) for name, info in zip(names, outputs_info, strict=True)]
    inputs = [declared(name, array.dtype, array.shape) for name, array in arrays.items()]
    domains = {"": opset} | ({node.domain: 1} if node.domain else {})
    imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    model = helper.make_model(helper.make_graph([node], "node", inputs, outputs), opset_imports=imports)
    return model if outputs_info is not None else onnx.shape_inference.infer_shapes(model)


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
