"""The plans of one model: each made once, and new sizes bound without planning anew."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from tinyseq.plan.draft import Draft, Plan
from tinyseq.plan.planner import Planner
from tinyseq.plan.sizes import Tape, Wrapped
from tinyseq.plan.view import Shape

MOST_PLANS = 64
"""Shapes whose plans a model keeps; the one met first goes first."""

MOST_FORMULAS = 8
"""Formulas that a model keeps for one set of known values: those that served last."""

Key = tuple


class Formula:
    """A draft with open sizes: the program for every choice of them that meets the tape's conditions."""

    def __init__(
        self,
        planner: Planner,
        shapes: dict[str, Shape],
        opened: set[tuple[str, int]],
        known: dict[str, np.ndarray],
    ) -> None:
        self._shapes = shapes
        self._opened = sorted(opened)
        self._tape = Tape()
        drafted = {name: list(shape) for name, shape in shapes.items()}
        for name, axis in self._opened:
            drafted[name][axis] = self._tape.input(shapes[name][axis])
        self.draft: Draft = planner.draft({name: tuple(sizes) for name, sizes in drafted.items()}, known)

    def values(self, shapes: dict[str, Shape]) -> list[int] | None:
        """The draft's open sizes for inputs of these shapes, or None where the formula does not hold for
        them."""
        if set(differences(self._shapes, shapes)) - set(self._opened):
            return None
        return self._tape.replay([shapes[name][axis] for name, axis in self._opened])

    def plan(self, shapes: dict[str, Shape]) -> Plan | None:
        """The plan for inputs of these shapes, or None where the formula does not hold for them."""
        values = self.values(shapes)
        return None if values is None else self.draft.plan(values)


def differences(one: dict[str, Shape], other: dict[str, Shape]) -> list[tuple[str, int]]:
    """The inputs and axes at which shapes differ; the axis is -1 where the ranks do."""
    found = []
    for name, shape in one.items():
        if len(shape) != len(other[name]):
            found.append((name, -1))
        elif shape != other[name]:
            found += [(name, axis) for axis, pair in enumerate(zip(shape, other[name])) if pair[0] != pair[1]]
    return found


class Family:
    """What has been met and made for one set of known values."""

    def __init__(self, shapes: dict[str, Shape]) -> None:
        self.shapes = shapes
        # Threads share both: they are replaced, never changed.
        self.varying: frozenset[tuple[str, int]] = frozenset()
        self.formulas: tuple[Formula, ...] = ()
        """The one that served last comes first."""

    def plan(self, planner: Planner, shapes: dict[str, Shape], known: dict[str, np.ndarray]) -> Plan:
        """A plan: by a formula that holds, else by a new one in which all sizes that have varied are open."""
        for formula in self.formulas:
            plan = formula.plan(shapes)
            if plan is not None:
                self._has_served(formula)
                return plan
        self.varying = varying = self.varying.union(differences(self.shapes, shapes))
        # Sizes of 0 and 1 are special: dimensions vanish and broadcast.
        opened = {(name, axis) for name, axis in varying if axis >= 0 and axis < len(shapes[name])}
        opened = {(name, axis) for name, axis in opened if shapes[name][axis] > 1}
        if not opened:
            return planner.draft(shapes, known).plan()
        try:
            formula = Formula(planner, shapes, opened, known)
        except Wrapped:
            return planner.draft(shapes, known).plan()
        plan = formula.plan(shapes)
        assert plan is not None
        self._has_served(formula)
        return plan

    def _has_served(self, formula: Formula) -> None:
        others = [one for one in self.formulas if one is not formula]
        self.formulas = (formula, *others[: MOST_FORMULAS - 1])


class Plans:
    """The plans that a planner has made, by the shapes they are for. Safe to use from threads."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self.inputs = planner.inputs
        self._plans: OrderedDict[Key, Plan] = OrderedDict()
        self._families: OrderedDict[Key, Family] = OrderedDict()

    def plan(self, arrays: dict[str, np.ndarray]) -> tuple[Key, Plan]:
        """The plan for these inputs and the key it is kept under."""
        known = {name: array for name, array in arrays.items() if name in self._planner.known}
        values = tuple([(array.shape, array.tobytes()) for array in known.values()])
        key = (values, *[array.shape for array in arrays.values()])
        plan = self._plans.get(key)
        if plan is None:
            shapes = {name: array.shape for name, array in arrays.items()}
            family = _kept(self._families, values, lambda: Family(shapes))
            plan = family.plan(self._planner, shapes, self.known(arrays))
            _kept(self._plans, key, lambda: plan)
        return key, plan

    def known(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Copies of the inputs whose values planning must know."""
        return {name: array.copy() for name, array in arrays.items() if name in self._planner.known}


def _kept(made: OrderedDict, key: Key, make):
    """What is kept under a key, made if need be; of the others as many as may stay."""
    value = made.get(key)
    if value is None:
        value = made.setdefault(key, make())
        while len(made) > MOST_PLANS:
            made.popitem(last=False)
    return value
