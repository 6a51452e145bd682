"""Who computes: each runtime behind one interface, on one thread. To add one, write a class.

A rival is made for a case. ``call`` is what is timed; ``outputs`` names what the last call gave.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime

import tinyseq
from bench.cases import Case, Layer

Arrays = dict[str, np.ndarray]


class Rival(ABC):
    """A runtime ready to compute one case."""

    name: ClassVar[str]
    package: ClassVar[str]
    rounds: ClassVar[bool] = False
    """Whether it may compute in less than float32: its results are then held to ``cases.ROUNDED``."""

    @classmethod
    def takes(cls, case: Case) -> bool:
        """Whether the case can be computed this way."""
        return True

    @abstractmethod
    def __init__(self, case: Case) -> None: ...

    def feed(self, feeds: Arrays) -> None:
        """Gives other inputs, perhaps of other shapes."""
        self._feeds = dict(feeds)

    @abstractmethod
    def call(self) -> None:
        """Computes the case once and feeds its state back."""

    @abstractmethod
    def outputs(self) -> Arrays:
        """The results of the last call by the model's names."""


def one_thread(model: bytes | Path) -> onnxruntime.InferenceSession:
    """A session that runs on the calling thread; of warnings it says nothing."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OnnxRuntime(Rival):
    """The yardstick: outputs are checked against it, and ratios are to it."""

    name = package = "onnxruntime"

    def __init__(self, case: Case) -> None:
        session = one_thread(case.model)
        self._names = [value.name for value in session.get_outputs()]
        self._run = session.run
        self.feed(case.feeds)
        self._state = [(given, self._names.index(result)) for given, result in case.state.items()]

    def call(self) -> None:
        self._results = results = self._run(None, self._feeds)
        for given, place in self._state:
            self._feeds[given] = results[place]

    def outputs(self) -> Arrays:
        return dict(zip(self._names, self._results, strict=True))


class TinyseqRun(Rival):
    """``model.run``, the state in the caller's hands."""

    name, package = "tinyseq run", "tinyseq"

    def __init__(self, case: Case) -> None:
        self._run = tinyseq.load(case.model, state=case.state).run
        self.feed(case.feeds)
        self._state = tuple(case.state.items())

    def call(self) -> None:
        self._results = results = self._run(self._feeds)
        for given, result in self._state:
            self._feeds[given] = results[result]

    def outputs(self) -> Arrays:
        return self._results


class TinyseqStream(Rival):
    """``stream.step`` into arrays of the caller, the state in the stream's hands."""

    name, package = "tinyseq stream", "tinyseq"

    @classmethod
    def takes(cls, case: Case) -> bool:
        return bool(case.state) and case.rows == 1

    def __init__(self, case: Case) -> None:
        stream = tinyseq.load(case.model, state=case.state).stream()
        stream.restore({name: case.feeds[name] for name in case.state})
        start = stream.snapshot()
        self.feed({name: array for name, array in case.feeds.items() if name not in case.state})
        self._out = stream.step(self._feeds)
        stream.restore(start)
        self._stream, self._state = stream, case.state

    def call(self) -> None:
        self._stream.step(self._feeds, out=self._out)

    def outputs(self) -> Arrays:
        state = self._stream.snapshot()
        return self._out | {result: state[given] for given, result in self._state.items()}


class Torch(Rival):
    """``torch.nn.LSTM`` and ``torch.nn.GRU``; torch reads no ONNX."""

    name = package = "torch"

    @classmethod
    def takes(cls, case: Case) -> bool:
        return case.layer is not None

    def __init__(self, case: Case) -> None:
        import torch

        torch.set_num_threads(1)
        self._no_gradients, self._tensor = torch.inference_mode, torch.from_numpy
        self._layer = _torch_layer(case.layer)
        self._feeds_back = bool(case.state)
        self.feed(case.feeds)

    def feed(self, feeds: Arrays) -> None:
        self._input, *states = map(self._tensor, feeds.values())
        self._states = tuple(states)

    def call(self) -> None:
        states = self._states
        with self._no_gradients():
            y, following = self._layer(self._input, states if len(states) == 2 else states[0])
        self._results = [y, *following] if len(states) == 2 else [y, following]
        if self._feeds_back:
            self._states = tuple(self._results[1:])

    def outputs(self) -> Arrays:
        y, *states = (result.numpy() for result in self._results)
        return {"y": y[:, None]} | dict(zip(("hn", "cn"), states, strict=False))


def _torch_layer(layer: Layer):
    """The layer with its gates in torch's order: i f g o and r z n, where ONNX has i o f c and z r h."""
    import torch

    order = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}[layer.kind]

    def gates(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([np.split(array, len(order))[gate] for gate in order]))

    hidden = layer.weights["R"].shape[-1]
    biases = np.split(layer.weights["B"][0], 2)
    made = getattr(torch.nn, layer.kind)(hidden, hidden)
    made.load_state_dict(
        {
            "weight_ih_l0": gates(layer.weights["W"][0]),
            "weight_hh_l0": gates(layer.weights["R"][0]),
            "bias_ih_l0": gates(biases[0]),
            "bias_hh_l0": gates(biases[1]),
        }
    )
    return made.eval()


class OpenVino(Rival):
    """OpenVINO, held to float32: by itself it may compute in bfloat16.

    It takes single layers only: it refuses the voice detector's tensors of unknown rank.
    """

    name = package = "openvino"
    precision: ClassVar[dict[str, str]] = {"INFERENCE_PRECISION_HINT": "f32"}

    @classmethod
    def takes(cls, case: Case) -> bool:
        return case.layer is not None

    def __init__(self, case: Case) -> None:
        import openvino

        core = openvino.Core()
        options = {**self.precision, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        compiled = core.compile_model(core.read_model(io.BytesIO(case.model)), "CPU", options)
        self._request = compiled.create_infer_request()
        self._names = [port.get_any_name() for port in compiled.outputs]
        self.feed(case.feeds)
        self._state = [(given, self._names.index(result)) for given, result in case.state.items()]

    def call(self) -> None:
        self._results = results = self._request.infer(self._feeds)
        for given, place in self._state:
            self._feeds[given] = results[place]

    def outputs(self) -> Arrays:
        return {name: self._results[place] for place, name in enumerate(self._names)}


class OpenVinoAsItComes(OpenVino):
    """OpenVINO with its own choice of precision, which is bfloat16 where the processor has it."""

    name = "openvino as it comes"
    precision: ClassVar[dict[str, str]] = {}
    rounds = True


RIVALS: tuple[type[Rival], ...] = (
    OnnxRuntime,
    TinyseqRun,
    TinyseqStream,
    Torch,
    OpenVino,
    OpenVinoAsItComes,
)


def installed() -> list[type[Rival]]:
    """The rivals whose packages are here, onnxruntime first."""
    return [rival for rival in RIVALS if find_spec(rival.package) is not None]
