"""The optimizers with which the language model is trained: Muon for the matrices, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = 3.4445, -4.7750, 2.0315
"""Of the polynomial that brings singular values near 1."""
RISE = 100
"""For so many steps rates rise."""


class Muon(torch.optim.Optimizer):
    """Steps along the momentum with all its singular values near 1 (Jordan et al. 2024).

    In float32: that of torch computes in bfloat16, for which few processors have instructions.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        """One step by the gradients that the matrices have."""
        for group in self.param_groups:
            for matrix in group["params"]:
                mean = self.state[matrix].setdefault("mean", torch.zeros_like(matrix))
                mean.lerp_(matrix.grad, 1 - group["momentum"])
                ahead = matrix.grad.lerp(mean, group["momentum"])
                # As long as AdamW's steps, so that both take rates of the same size.
                rate = 0.2 * max(matrix.shape) ** 0.5 * group["lr"]
                matrix.add_(orthogonal(ahead), alpha=-rate)


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """A matrix with the same singular vectors and singular values near 1, by Newton and Schulz."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    found = wide / wide.norm().clamp(min=1e-7)
    first, second, third = COEFFICIENTS
    for _ in range(rounds):
        square = found @ found.T
        found = first * found + torch.addmm(square, square, square, beta=second, alpha=third) @ found
    return found.T if found.shape != matrix.shape else found


class Optimizers:
    """Muon for the matrices of recurrent and linear layers, AdamW for embeddings, the output and biases; the
    rates of both rise for the first steps and fall to nothing over the last part of the epochs, ``fall``."""

    def __init__(
        self,
        model: nn.Module,
        epochs: int,
        rates: tuple[float, float],
        fall: float,
        by_adam: Iterable[Tensor],
    ) -> None:
        self._model, self._epochs, self._rates, self._fall = model, epochs, rates, fall
        self._steps = 0
        plain = {id(parameter) for parameter in by_adam}
        matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in plain]
        others = [p for p in model.parameters() if p.ndim != 2 or id(p) in plain]
        self._optimizers = (
            Muon(matrices, rates[0]),
            torch.optim.AdamW(others, rates[1], betas=(0.9, 0.98), weight_decay=0.01, fused=True),
        )

    def step(self, loss: Tensor, epoch: float) -> None:
        """Learns from a loss, so many epochs after the beginning."""
        self._steps += 1
        share = min(1, self._steps / RISE, (1 - epoch / self._epochs) / self._fall)
        self._model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        for optimizer, rate in zip(self._optimizers, self._rates, strict=True):
            optimizer.param_groups[0]["lr"] = share * rate
            optimizer.step()
