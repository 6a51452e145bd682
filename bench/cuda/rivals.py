"""The yardstick: the same by torch on the device, whose recurrent layers are cuDNN's."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from statistics import median

import numpy as np

from bench.cuda.models import LanguageModel, Layer
from bench.cuda.timing import Effort, wall

ORDERS = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}
"""Where torch's gates stand among ONNX's: i f g o and r z n."""


def at_hand() -> bool:
    """Whether torch is installed and sees a device."""
    if find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _seconds(call: Callable[[], object], effort: Effort) -> float:
    """The median of a call, by the device's clock."""
    import torch

    def timed(repeats: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / repeats

    with torch.inference_mode():
        timed(2)
        repeats = effort.repeats(timed(1))
        return median(timed(repeats) for _ in range(effort.rounds))


class TorchLayer:
    """A layer in float32, without TF32, and in float16."""

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

    def seconds(self, feeds: dict[str, np.ndarray], effort: Effort) -> dict[str, float]:
        """Of a call, in each precision."""
        found = {}
        for name, layer in self._layers.items():
            inputs = self._inputs(layer, feeds)
            found[name] = _seconds(lambda layer=layer, inputs=inputs: layer(*inputs), effort)
        return found

    def _inputs(self, layer, feeds: dict[str, np.ndarray]):
        dtype = next(layer.parameters()).dtype
        x, *states = (self._torch.from_numpy(array).to("cuda", dtype) for array in feeds.values())
        return x, (tuple(states) if len(states) == 2 else states[0])


class TorchProduct:
    """A product of the sizes m, k and n."""

    def __init__(self, m: int, k: int, n: int) -> None:
        import torch

        self._x, self._w = torch.randn(m, k, device="cuda"), torch.randn(k, n, device="cuda")

    def seconds(self, effort: Effort) -> dict[str, float]:
        """Of a call, in each precision."""
        import torch

        found = {}
        for name, dtype, tf32 in (
            ("torch float32", torch.float32, False),
            ("torch tf32", torch.float32, True),
            ("torch bfloat16", torch.bfloat16, False),
        ):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            x, w = self._x.to(dtype), self._w.to(dtype)
            found[name] = _seconds(lambda x=x, w=w: x @ w, effort)
        torch.backends.cuda.matmul.allow_tf32 = False
        return found


class TorchText:
    """Greedy generation in a loop, each token chosen and fed on the device."""

    def __init__(self, model: LanguageModel, feeds: dict[str, np.ndarray], tokens: int) -> None:
        import torch

        self._torch, self._tokens = torch, tokens
        hidden = model.table.shape[1]
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        layer = torch.nn.LSTM(hidden, hidden)
        layer.load_state_dict({name: torch.from_numpy(each) for name, each in zip(names, model.cell)})
        self._layer = layer.eval().to("cuda")
        self._table, self._out = (torch.from_numpy(each).to("cuda") for each in (model.table, model.out))
        self._state = tuple(torch.from_numpy(feeds[name]).to("cuda") for name in ("h", "c"))

    def seconds(self, effort: Effort) -> float:
        """Of a text, all in all."""
        return wall(self._text, effort)

    def _text(self) -> None:
        torch, state = self._torch, self._state
        with torch.inference_mode():
            token, said = torch.ones(state[0].shape[1], dtype=torch.int64, device="cuda"), []
            for _ in range(self._tokens):
                y, state = self._layer(self._table[token][None], state)
                token = (y[0] @ self._out).argmax(1)
                said.append(token)
            torch.stack(said).cpu()
