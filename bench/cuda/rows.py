"""One figure, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Row(NamedTuple):
    """What was measured: ``case`` of a ``task``, in a unit. ``sizes`` are the case's in numbers, ``against``
    others' figures in the same unit, ``floor`` the best that the device allows."""

    task: str
    case: str
    sizes: dict[str, int]
    value: float
    unit: str
    against: Mapping[str, float] = MappingProxyType({})
    floor: float | None = None

    @property
    def ratios(self) -> dict[str, float]:
        """How many times as good as each of the others: above 1, better."""
        more = self.unit.split()[0] in MORE
        return {
            name: self.value / other if more else other / self.value for name, other in self.against.items()
        }

    def entry(self) -> dict[str, object]:
        """For programs."""
        return {**self._asdict(), "against": dict(self.against), "ratios": self.ratios}

    def line(self) -> str:
        """For people."""
        parts = [f"{self.task:11}{self.case:24}{_number(self.value)} {self.unit}"]
        ratios = self.ratios
        parts += [
            f"{name} {_number(value).strip()} ({ratios[name]:.2f}x)" for name, value in self.against.items()
        ]
        parts += [] if self.floor is None else [f"floor {_number(self.floor).strip()}"]
        return "  ".join(parts)


MORE = ("TFLOP/s", "streams")
"""Units of which more is better; of others, less."""


def sized(**sizes: int) -> tuple[str, dict[str, int]]:
    """A case by its sizes: in words, and in numbers."""
    return " ".join(f"{name}={size}" for name, size in sizes.items()), sizes


def _number(value: float) -> str:
    if 0 < value < 0.01:
        return f"{value:10.1e}"
    return f"{value:10.2f}" if value < 1000 else f"{value:10,.0f}"
