"""The yardstick: torch's recurrent layers on the device, which are cuDNN's."""

from __future__ import annotations

from importlib.util import find_spec
from statistics import median

import numpy as np

from bench.cuda.models import Layer

ORDERS = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}
"""Where torch's gates stand among ONNX's: i f g o and r z n."""

REPEATS = 10


class TorchLayer:
    """A layer in float32 and in float16, timed by the device's events."""

    @classmethod
    def of(cls, layer: Layer) -> TorchLayer | None:
        """The layer, or None where torch is not installed or sees no device."""
        if find_spec("torch") is None:
            return None
        import torch

        return cls(layer) if torch.cuda.is_available() else None

    def __init__(self, layer: Layer) -> None:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        hidden = layer.r.shape[-1]
        order = ORDERS[layer.kind]

        def gates(array: np.ndarray):
            return torch.from_numpy(np.concatenate([np.split(array, len(order))[gate] for gate in order]))

        w_bias, r_bias = np.split(layer.b[0], 2)
        self._layers = {}
        for name, dtype in {"torch float32": torch.float32, "torch float16": torch.float16}.items():
            made = getattr(torch.nn, layer.kind)(hidden, hidden)
            made.load_state_dict(
                {
                    "weight_ih_l0": gates(layer.w[0]),
                    "weight_hh_l0": gates(layer.r[0]),
                    "bias_ih_l0": gates(w_bias),
                    "bias_hh_l0": gates(r_bias),
                }
            )
            self._layers[name] = made.eval().to("cuda", dtype)
        self._torch = torch

    def check(self, feeds: dict[str, np.ndarray], y: np.ndarray, bound: float) -> None:
        """Refuses results that differ from torch's in float32."""
        layer = self._layers["torch float32"]
        with self._torch.inference_mode():
            theirs = layer(*self._inputs(layer, feeds))[0].cpu().numpy()
        if not np.allclose(y[:, 0], theirs, rtol=bound, atol=bound):
            worst = np.abs(y[:, 0] - theirs).max()
            raise AssertionError(f"results differ from torch's by {worst:.3g}, {bound:g} is allowed")

    def seconds(self, feeds: dict[str, np.ndarray], rounds: int) -> dict[str, float]:
        """The median of a call, of each precision."""
        return {name: self._seconds(layer, feeds, rounds) for name, layer in self._layers.items()}

    def _seconds(self, layer, feeds: dict[str, np.ndarray], rounds: int) -> float:
        cuda = self._torch.cuda
        inputs = self._inputs(layer, feeds)
        times = []
        with self._torch.inference_mode():
            for _ in range(rounds + 1):
                start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
                start.record()
                for _ in range(REPEATS):
                    layer(*inputs)
                end.record()
                end.synchronize()
                times.append(start.elapsed_time(end) / 1e3 / REPEATS)
        return median(times[1:])

    def _inputs(self, layer, feeds: dict[str, np.ndarray]):
        dtype = next(layer.parameters()).dtype
        x, *states = (self._torch.from_numpy(array).to("cuda", dtype) for array in feeds.values())
        return x, (tuple(states) if len(states) == 2 else states[0])
