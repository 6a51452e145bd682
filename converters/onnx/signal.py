"""Older forms of ops on signals, and the short-time Fourier transform, as ops of the table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tinyseq.converters.onnx.drafts import NodeDraft

from tinyseq.errors import UnsupportedError

Upgrade = Callable[[NodeDraft], None]


def _resize(draft: NodeDraft) -> None:
    """Before opset 11 the scales were the second input and there was one way to count."""
    if draft.opset < 11:
        draft.need(0, 1)
        _by_scales(draft, draft.inputs[1])


def _upsample(draft: NodeDraft) -> None:
    """Before opset 9 the scales were an attribute."""
    if "scales" in draft.attributes:
        draft.to_input("scales", 1, np.float32)
    draft.need(0, 1)
    draft.op = "Resize"
    _by_scales(draft, draft.inputs[1])


def _by_scales(draft: NodeDraft, scales: str) -> None:
    """Elements are counted from the first; the nearest is the one before, where an axis shrinks the next."""
    draft.inputs = [draft.inputs[0], "", scales]
    factors = draft.constants.get(scales)
    shrinks = factors is not None and bool((factors < 1).any())
    if shrinks and bool((factors > 1).any()):
        raise UnsupportedError(f"{draft.label} shrinks and stretches; convert the model to opset 11")
    mode = draft.attributes.get("mode", "nearest")
    draft.attributes["mode"] = {"bilinear": "linear"}.get(mode, mode)
    draft.attributes["coordinate_transformation_mode"] = "asymmetric"
    draft.attributes["nearest_mode"] = "ceil" if shrinks else "floor"


def _dft(draft: NodeDraft) -> None:
    """Before opset 20 the axis was an attribute, by default the second."""
    if draft.opset < 20:
        draft.attributes.setdefault("axis", 1)
        draft.to_input("axis", 2)


def _stft(draft: NodeDraft) -> None:
    """Of known frames, one-sided, it is a convolution, which streams: its kernels are the window times the
    waves, one for each part of each frequency."""
    step, length, window = (draft.constants.get(draft.input(place)) for place in (1, 3, 2))
    if length is None and window is not None and not draft.has_input(3):
        length = np.array(window.size)
    known = [array for array in (step, length) if array is not None and array.dtype.kind in "iu"]
    if draft.attributes.get("onesided", 1) != 1 or [array.size for array in known] != [1, 1]:
        return
    hop, size = (int(array.item()) for array in known)
    if hop < 1 or not 1 <= size <= MOST_SAMPLES:
        return
    draft.take("onesided", 1)
    draft.end()
    count = size // 2 + 1
    angles = 2 * np.pi / size * (np.outer(np.arange(count), np.arange(size)) % size)
    waves = np.stack([np.cos(angles), -np.sin(angles)], 1).reshape(2 * count, 1, size)
    kernels = draft.constant(waves.astype(np.float32))
    if draft.has_input(2):
        kernels = draft.before("Mul", kernels, draft.inputs[2])
    # A signal with imaginary parts has two elements along the axis that is taken away here.
    signal = draft.before("Squeeze", draft.inputs[0], draft.constant(np.array([2])))
    signal = draft.before("Unsqueeze", signal, draft.constant(np.array([1])))
    frames = draft.before("Conv", signal, kernels, strides=(hop,))
    turned = draft.before("Transpose", frames, perm=(0, 2, 1))
    draft.becomes("Reshape", turned, draft.constant(np.array([0, 0, count, 2])))


MOST_SAMPLES = 2**13
"""Samples of a frame whose transform is a convolution."""

SIGNAL: dict[str, Upgrade] = {"Resize": _resize, "Upsample": _upsample, "DFT": _dft, "STFT": _stft}
"""By op."""
