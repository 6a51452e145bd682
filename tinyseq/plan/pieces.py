"""Tensors in pieces: what one is put together from, as long as nothing reads it as a whole.

Who copies a part of it takes that from where the pieces lie.
"""

from typing import NamedTuple

from tinyseq.plan.view import Shape, View

MOST_PIECES = 8
"""Pieces that a copy takes one by one; where there are more, the whole is put together first."""

Bounds = list[tuple[int, int, int]]
"""For each dimension of a view (start, 1, count)."""


class Box(NamedTuple):
    """A run along each axis of a tensor: where it starts and how long it is."""

    starts: Shape
    sizes: Shape

    def meets(self, other: "Box") -> bool:
        return all(
            a < b + m and b < a + n for a, n, b, m in zip(self.starts, self.sizes, other.starts, other.sizes)
        )

    def holds(self, other: "Box") -> bool:
        return all(
            a <= b and b + m <= a + n
            for a, n, b, m in zip(self.starts, self.sizes, other.starts, other.sizes)
        )


class _Place(NamedTuple):
    """Where a view lies in a tensor: the first element's coordinates, and for each dimension of the view the
    axis along which it goes and how far at a time; of no axis where it stands still."""

    starts: list[int]
    ways: list[tuple[int, int]]

    def box(self, shape: Shape) -> Box:
        """What a view of this shape reaches."""
        sizes = [1] * len(self.starts)
        for (axis, step), count in zip(self.ways, shape):
            if axis >= 0:
                sizes[axis] += step * (count - 1)
        return Box(tuple(self.starts), tuple(sizes))


def place_in(whole: View, view: View) -> _Place | None:
    """Where a view of a tensor lies that has all elements of its buffer; None where it goes from one line of
    an axis to the next, or backwards."""
    axes = sorted(range(len(whole.shape)), key=lambda axis: (-whole.strides[axis], whole.shape[axis]))
    axes = [axis for axis in axes if whole.shape[axis] != 1]
    starts, rest = [0] * len(whole.shape), view.offset - whole.offset
    for axis in axes:
        starts[axis], rest = rest // whole.strides[axis], rest % whole.strides[axis]
    ways, reached = [], list(starts)
    for size, stride in zip(view.shape, view.strides):
        if size == 1 or stride == 0:
            ways.append((-1, 0))
            continue
        axis = next((a for a in axes if stride >= whole.strides[a] and stride % whole.strides[a] == 0), -1)
        if axis < 0:
            return None
        ways.append((axis, stride // whole.strides[axis]))
        reached[axis] += (size - 1) * ways[-1][1]
    if rest or any(at < 0 or at >= size for at, size in zip(reached, whole.shape)):
        return None
    return _Place(starts, ways)


class Pieces:
    """A tensor and what is put into it, one after the other: ``parts`` are views of it and their sources."""

    def __init__(self, whole: View, parts: list[tuple[View, View]]) -> None:
        self.whole = whole
        self.parts = parts
        self._boxes: list[tuple[Box, list[int], View]] = []

    def known(self) -> bool:
        """Whether each part is a box of the tensor, so that parts of it can be found."""
        for target, source in self.parts:
            place = place_in(self.whole, target)
            if place is None or any(step > 1 for _, step in place.ways):
                return False
            strides = [0] * len(place.starts)
            for (axis, _), stride in zip(place.ways, source.strides):
                if axis >= 0:
                    strides[axis] = stride
            used = [axis for axis, _ in place.ways if axis >= 0]
            if len(set(used)) != len(used):
                return False
            self._boxes.append((place.box(target.shape), strides, source))
        return True

    def seen(self) -> list[tuple[View, View]]:
        """The parts of which later ones leave something."""
        boxes = [box for box, _, _ in self._boxes]
        return [
            part
            for number, part in enumerate(self.parts)
            if not any(later.holds(boxes[number]) for later in boxes[number + 1 :])
        ]

    def find(self, view: View, most: int) -> list[tuple[Bounds, View]] | None:
        """What a view of the tensor is made of, ``most`` pieces or fewer: for each where in the view it is,
        and the source's view of it; None where that is not known."""
        place = place_in(self.whole, view)
        found: list[tuple[Bounds, View]] = []
        whole = [(0, 1, size) for size in view.shape]
        return found if place is not None and self._find(view, place, whole, most, found) else None

    def _find(self, view: View, place: _Place, bounds: Bounds, most: int, found: list) -> bool:
        starts = list(place.starts)
        for (axis, step), (start, _, _) in zip(place.ways, bounds):
            if axis >= 0:
                starts[axis] += step * start
        own = _Place(starts, place.ways).box(tuple([count for _, _, count in bounds]))
        for box, strides, source in reversed(self._boxes):
            if box.holds(own):
                offset = sum((a - b) * stride for a, b, stride in zip(own.starts, box.starts, strides))
                steps = [strides[axis] * step if axis >= 0 else 0 for axis, step in place.ways]
                shape = tuple([count for _, _, count in bounds])
                found.append((bounds, source.laid(shape, tuple(steps), source.offset + offset)))
                return len(found) <= most
            if box.meets(own):
                return all(
                    self._find(view, place, half, most, found) for half in _halves(place, bounds, own, box)
                )
        return False


def made_of(pieces: Pieces | None, view: View, most: int) -> list[tuple[Bounds, View]]:
    """What a view is made of, each with where in it that is; the view itself where there are no pieces, or
    more than ``most``."""
    found = None if pieces is None else pieces.find(view, most)
    return [([(0, 1, size) for size in view.shape], view)] if found is None else found


def _halves(place: _Place, bounds: Bounds, own: Box, box: Box) -> list[Bounds]:
    """Two parts of a view that reaches into a box and beyond it, along an axis in which it does so."""
    axis = next(
        a
        for a, (start, size) in enumerate(zip(own.starts, own.sizes))
        if start < box.starts[a] or start + size > box.starts[a] + box.sizes[a]
    )
    along = [d for d, (a, _) in enumerate(place.ways) if a == axis and bounds[d][2] > 1]
    dimension = min(along, key=lambda d: bounds[d][2])
    start, _, count = bounds[dimension]
    cut = 1
    if len(along) == 1:
        step, first = place.ways[dimension][1], own.starts[axis]
        edge = box.starts[axis] if first < box.starts[axis] else box.starts[axis] + box.sizes[axis]
        cut = min(max(-((first - edge) // step), 1), count - 1)
    return [
        [*bounds[:dimension], (start, 1, cut), *bounds[dimension + 1 :]],
        [*bounds[:dimension], (start + cut, 1, count - cut), *bounds[dimension + 1 :]],
    ]
