"""The network: a GRU over features, and at every step all quantiles of all steps ahead."""

from __future__ import annotations

import torch
from torch import nn

from .data import QUANTILES
from .features import COUNT

HIDDEN = 48


class Network(nn.Module):
    """From features [batch, steps, COUNT] to quantiles [batch, steps, horizon, QUANTILES], in order by
    construction: the median, and what each lies further out than the one before."""

    def __init__(self, horizon: int, hidden: int = HIDDEN, dropout: float = 0.2) -> None:
        super().__init__()
        self.gru = nn.GRU(COUNT, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, horizon * len(QUANTILES))
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(features)
        y = self.head(self.dropout(y))
        parts = [y[..., at :: len(QUANTILES)] for at in range(len(QUANTILES))]
        middle = len(QUANTILES) // 2
        found = [parts[middle]]
        for part in reversed(parts[:middle]):
            found.insert(0, found[0] - nn.functional.softplus(part))
        for part in parts[middle + 1 :]:
            found.append(found[-1] + nn.functional.softplus(part))
        return torch.stack(found, -1)


def pinball(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """The pinball loss of quantiles [..., QUANTILES] of values [...], the mean of all."""
    levels = torch.tensor(QUANTILES)
    error = true[..., None] - found
    return torch.maximum(levels * error, (levels - 1) * error).mean()
