"""The network: a convolutional LSTM of one layer, and what it makes of its state: the next frame."""

from __future__ import annotations

import torch
from torch import nn

CHANNELS = 12
KERNEL = 5


class Network(nn.Module):
    """From a frame [films, 1, SIZE, SIZE] and the state [films, CHANNELS, SIZE, SIZE], twice, to the next
    frame's scores and the new state."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.channels = channels
        self.gates = nn.Conv2d(1 + channels, 4 * channels, KERNEL, padding=KERNEL // 2)
        self.frame = nn.Conv2d(channels, 1, 3, padding=1)
        nn.init.constant_(self.frame.bias, -3.0)

    def forward(
        self, frame: torch.Tensor, h: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        i, f, o, g = self.gates(torch.cat([frame, h], 1)).split(self.channels, 1)
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return self.frame(h), h, c


class Step(nn.Module):
    """A step as it is exported: the next frame, from 0 to 1, in place of its scores."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, frame: torch.Tensor, h: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        scores, h, c = self.network(frame, h, c)
        return torch.sigmoid(scores), h, c
