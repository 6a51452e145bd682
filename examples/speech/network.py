"""The network: samples in, every 30 ms log-probabilities of letters out; its past is in three states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from .grammar import VOCABULARY

RATE = 16_000
WINDOW, HOP, STACKED = 400, 160, 3
"""Samples of a frame and from one to the next; frames that the network hears at a time."""
CHUNK = HOP * STACKED
"""Samples of a step: 30 ms."""
TAIL = WINDOW - HOP
"""Samples that a step needs of those before."""
BINS, BANDS, WIDTH, LAYERS = 256, 40, 192, 3
FLOOR = 1e-3
"""Power that is added before the logarithm: about 70 dB below full scale."""


def mel(hertz: np.ndarray | float) -> np.ndarray:
    """Of frequencies, how high they sound."""
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def mel_bands(warp: float = 1.0) -> np.ndarray:
    """Triangular bands from 60 to 7800 Hz, all multiplied by ``warp``: [BANDS, BINS / 2 - 1]."""
    edges = 700 * (10 ** (np.linspace(mel(60), mel(7800), BANDS + 2) / 2595) - 1) * warp
    hertz = np.arange(1, BINS // 2) * RATE / BINS
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    # Bands narrower than the bins are as wide as these.
    rising = (hertz - np.minimum(low, middle - RATE / BINS)) / np.maximum(middle - low, RATE / BINS)
    falling = (np.maximum(high, middle + RATE / BINS) - hertz) / np.maximum(high - middle, RATE / BINS)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def waves() -> np.ndarray:
    """Windowed cosines and sines, the weights of a convolution: [BINS - 2, 1, WINDOW]."""
    window = np.hanning(WINDOW + 1)[:-1]
    angles = 2 * np.pi * np.outer(np.arange(1, BINS // 2), np.arange(WINDOW)) / BINS
    return np.concatenate([np.cos(angles) * window, np.sin(angles) * window])[:, None].astype(np.float32)


def power_in_bands(samples: torch.Tensor, hop: int, bands: torch.Tensor) -> torch.Tensor:
    """What ``FrontEnd`` gives, by fast Fourier transforms: of samples [B, samples] and bands as ``mel_bands``
    gives them, [B, BANDS, frames]."""
    window = torch.from_numpy(np.hanning(WINDOW + 1)[:-1].astype(np.float32))
    frames = samples.unfold(1, WINDOW, hop) * window
    folded = frames[..., :BINS] + nn.functional.pad(frames[..., BINS:], (0, 2 * BINS - WINDOW))
    spectrum = torch.fft.rfft(folded)[..., 1 : BINS // 2]
    return bands @ (spectrum.real**2 + spectrum.imag**2).transpose(1, 2)


class FrontEnd(nn.Module):
    """The power in bands, of frames of sound: [B, samples] to [B, BANDS, frames]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("waves", torch.from_numpy(waves()))
        self.register_buffer("bands", torch.from_numpy(np.tile(mel_bands(), 2)))

    def forward(self, samples):
        return self.bands @ nn.functional.conv1d(samples[:, None], self.waves, stride=HOP) ** 2


class Net(nn.Module):
    """The acoustic model behind the front end.

    Args:
        width: units of a layer.
        recurrence: computes a layer: its module, input and state to output and state.
    """

    def __init__(self, width: int = WIDTH, recurrence: Callable = nn.GRU.__call__) -> None:
        super().__init__()
        self._recurrence = recurrence
        self.norm = nn.BatchNorm1d(BANDS * STACKED)
        self.conv = nn.Conv1d(BANDS * STACKED, width, 3)
        self.layers = nn.ModuleList(nn.GRU(width, width, batch_first=True) for _ in range(LAYERS))
        self.out = nn.Linear(width, len(VOCABULARY))

    def forward(self, power, context, hidden):
        """Power [B, BANDS, 3 T], the two stacks before [B, 120, 2] and states [LAYERS, B, width] to
        log-probabilities [B, T, 29], and both as they are then."""
        batch, bands, frames = power.shape
        stacked = torch.log(power + FLOOR).reshape(batch, bands, frames // STACKED, STACKED)
        stacked = self.norm(stacked.permute(0, 3, 1, 2).reshape(batch, STACKED * bands, frames // STACKED))
        heard = torch.cat([context, stacked], 2)
        x = torch.relu(self.conv(heard)).transpose(1, 2)
        states = []
        for layer, state in zip(self.layers, hidden):
            y, state = self._recurrence(layer, x, state[None])
            x = x + y
            states.append(state)
        return torch.log_softmax(self.out(x), 2), heard[:, :, -2:], torch.cat(states)


class Recogniser(nn.Module):
    """Front end and network as one graph, for a stream: one step is CHUNK samples."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.front_end, self.net = FrontEnd(), net

    def forward(self, samples, tail, context, hidden):
        heard = torch.cat([tail, samples], 1)
        rows, context, hidden = self.net(self.front_end(heard), context, hidden)
        return rows, heard[:, -TAIL:], context, hidden


def beginning(batch: int, width: int = WIDTH) -> tuple[torch.Tensor, torch.Tensor]:
    """The context and the states at the start of a stream."""
    return torch.zeros(batch, BANDS * STACKED, 2), torch.zeros(LAYERS, batch, width)
