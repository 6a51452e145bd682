"""The network: a GRU over the channels, and at every step the scores of all classes."""

from __future__ import annotations

import torch
from torch import nn


class Network(nn.Module):
    """From steps [batch, steps, channels] to probabilities [batch, steps, classes]; in training, to their
    logarithms. ``mean`` and ``deviation`` are those of the channels."""

    def __init__(
        self,
        mean: torch.Tensor,
        deviation: torch.Tensor,
        classes: int,
        hidden: int = 32,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", 1 / deviation)
        self.gru = nn.GRU(len(mean), hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, classes)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru((steps - self.mean) * self.scale)
        scores = self.head(self.dropout(y))
        return scores.log_softmax(-1) if self.training else scores.softmax(-1)
