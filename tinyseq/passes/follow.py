"""Following one open size of a graph, the stream's frames, from node to node."""

from __future__ import annotations

import numpy as np

from tinyseq.errors import ModelError
from tinyseq.ir import types
from tinyseq.ir.model import Model, ModelGraph, Node, captured
from tinyseq.ir.streaming import Streaming
from tinyseq.passes import along, reshapes, running, windows
from tinyseq.passes.axes import NO_RULE, Sizes, growing
from tinyseq.passes.probe import Probe
from tinyseq.passes.rings import Rings
from tinyseq.passes.tracks import HORIZON, Padding, Refusal, Track, clock_of
from tinyseq.shapes import Shape

REMEDY = "give whole sequences to model.run"


class Following:
    """What is known of a graph's tensors as the frames of a stream pass through them.

    ``tracks`` are the tensors that have frames; ``generated`` those of them that are made of the number of
    frames alone; ``counts`` tensors that hold such numbers, by the track they are of, and ``settled`` what is
    the same whatever they are; ``places`` what numbers frames and is none itself, and why; ``latest`` what
    holds something of the frames so far, and is ``owing`` where frames come at the end. ``looking`` are the
    nodes so far that look along the frames, ``refused`` the one that ended it, and why. ``rings`` has the
    streaming graph as far as it is written. Where chunks may be empty within the graph, it is ``guarded``.
    Frames come in by the ``unit``.
    """

    def __init__(
        self, graph: ModelGraph, exposed: Model, sizes: Sizes, size: str, unit: int = 1, guarded: bool = False
    ) -> None:
        self.size = size
        self.unit = unit
        self.graph = graph
        self.exposed = exposed
        self.probes = sizes.along(size)
        self.others = [name for name in sizes.distinct if name != size]
        self.tracks: dict[str, Track] = {}
        self.counts: dict[str, Track] = {}
        self.latest: set[str] = set()
        self.settled: dict[str, np.ndarray] = {}
        self.places: dict[str, Refusal] = {}
        self.generated: set[str] = set()
        self.inputs: dict[str, int] = {}
        self.looking: list[Node] = []
        self.refused: tuple[Node, Refusal] | None = None
        self.guarded, self.owing = guarded, False
        self.aligned: set[str] = set()
        self.rings = Rings(exposed)
        self.sizes = sizes
        self.types = types.of_tensors(graph)
        self._originals = {name: node for node in graph.nodes for name in node.outputs if name}
        self._carried = {pair.input for pair in exposed.state}
        same = {name for name in sizes.names if sizes.one(name) == size}
        for value in graph.inputs:
            axes = [axis for axis, name in enumerate(value.shape or ()) if name in same]
            if len(axes) > 1:
                raise ModelError(
                    f"input {value} grows along two axes with {size!r}, so the model cannot be streamed; "
                    f"{REMEDY}"
                )
            if axes:
                self.inputs[value.name] = axes[0]
                self.tracks[value.name] = Track.source(axes[0], unit)

    def follow(self) -> None:
        """Follows the frames to the outputs; ``looking`` are then the nodes that look along them.

        Raises:
            ModelError: a node's result cannot be computed chunk by chunk; says why.
        """
        for node in self.exposed.graph.nodes:
            written = len(self.rings.nodes)
            try:
                self._pass(node)
                if len(self.rings.nodes) == written or node.row.state or node.op == "Scan":
                    self.rings.nodes.append(node)
            except Refusal as refusal:
                self.refused = node, refusal.with_traceback(None)
                raise ModelError(f"{node} {refusal}, so the model cannot be streamed; {REMEDY}") from None
            except NO_RULE as error:
                if isinstance(error, ModelError):
                    raise
                raise ModelError(
                    f"{node} meets frames in a way that shapes do not tell ({error}), so the model cannot be "
                    f"streamed; {REMEDY}"
                ) from error
        self._check_settled()
        self._check_numbers()
        for value in self.graph.outputs:
            self._check_output(value.name)

    def _check_settled(self) -> None:
        """Refuses what the number of frames decides: what it is of those looked into, it is of all."""
        for probe in self.sizes.others(self.size) if self.settled else ():
            for name, settled in self.settled.items():
                value = probe.values.get(name)
                if value is not None and not np.array_equal(value, settled):
                    raise ModelError(
                        f"{self._originals[name]} decides by how many frames there are, so the model cannot "
                        f"be streamed; {REMEDY}"
                    )

    def _check_numbers(self) -> None:
        """Refuses what pads or cuts by how many frames there are: tracks of other lengths than runs have."""
        if not self.counts and all(node.row.state for node in self.looking):
            return
        for frames, probe in self.sizes.trials(self.size).items():
            for name, track in self.tracks.items():
                shape, node = probe.shapes.get(name), self._originals.get(name)
                padding = track.padding or Padding(0, 0, 0.0)
                length = (track.whole[frames // self.unit] + padding.before + padding.after) * track.rows
                beyond = name in self.generated and frames > max(self.frames)
                if shape is not None and node is not None and not beyond and shape[track.axis] != length:
                    raise ModelError(
                        f"{node} pads, cuts or repeats frames by how many frames there are, so the model "
                        f"cannot be streamed; {REMEDY}"
                    )

    def streaming(self) -> Streaming:
        """The streaming form of the model, once the frames are followed."""
        kept = {value.name: self.tracks.get(value.name) for value in self.graph.outputs}
        kept = {name: track for name, track in kept.items() if track is not None}
        moving = bool(self.rings.tables) or self.owing or any(track.late for track in kept.values())
        clock = clock_of(self.rings.tables, self.rings.period) if moving else None
        if moving and clock is None:
            raise ModelError(
                f"{self.looking[0]} and others look along so many frames, or in such strides, that the steps "
                f"of a stream are alike after more than {HORIZON // 2} of them only; {REMEDY}"
            )
        if moving and not self.guarded:
            again = Following(self.graph, self.exposed, self.sizes, self.size, self.unit, guarded=True)
            again.follow()
            return again.streaming()
        return Streaming(
            self.rings.model(moving),
            self.inputs,
            {name: track.axis for name, track in kept.items()},
            {name: track.latency(self.rings.period) for name, track in kept.items()}
            if self.unit == 1
            else {},
            clock,
            tuple(self.rings.places),
            self._rows(),
        )

    @property
    def in_rows(self) -> bool:
        """Whether there is one open size beside the frames, that of rows."""
        return len(self.others) == 1

    def _rows(self) -> dict[str, int]:
        """The axes of the rows of inputs and outputs; of those that have no other open size."""
        rows = {}
        for value in (*self.graph.inputs, *self.graph.outputs) if self.in_rows else ():
            axes = self.sizes.growing(self.others[0], value.name)
            track = self.tracks.get(value.name)
            if len(axes) == 1 and (track is None or track.axis not in axes):
                rows[value.name] = axes[0]
        return rows

    def kept(
        self, node: Node, name: str, axis: int, count: int, value: float = 0.0, what: str = "", perm=()
    ) -> tuple[str, str]:
        """A tensor behind ``count`` frames of it that are kept, as ``Rings.kept`` has it; rows are open. With
        ``what``, that of another tensor of its type and shape, or of the shape that ``perm`` makes of it."""
        shape = self._in_rows(name)
        shape[axis] = count
        if perm:
            shape, axis = [shape[own] for own in perm], perm.index(axis)
        dtype = self.types[name]
        if dtype.kind != "f" and np.isinf(value):
            least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            value = least if value < 0 else most
        return self.rings.kept(node, what or name, tuple(shape), axis, value, dtype.kind != "f")

    def counted(self, node: Node, name: str, axis: int) -> str:
        """The number of a tensor's frames so far, for each of its rows."""
        shape = tuple(size if isinstance(size, str) else 1 for size in self._in_rows(name))
        return self.rings.counted(node, self.rings.size(node, name, axis), shape)[1]

    def _in_rows(self, name: str) -> list[int | str]:
        """The shape of a tensor, its rows being open."""
        shape: list[int | str] = list(self.shapes(name)[0])
        for other in self.others:
            for place in self.sizes.growing(other, name):
                if shape[place] != self.sizes.number(other):
                    raise Refusal("would have to keep frames in which rows are joined with other sizes")
                shape[place] = "rows"
        if shape.count("rows") > 1:
            raise Refusal("would have to keep frames of two open sizes")
        return shape

    def _check_output(self, name: str) -> None:
        track = self.tracks.get(name)
        if name in self.counts or name in self.places:
            what = "depends on how many frames there are"
        elif track is not None and track.padding is not None:
            what = "begins or ends with padding in time"
        else:
            return
        raise ModelError(f"output {name!r} {what}, so the model cannot be streamed; {REMEDY}")

    def shapes(self, name: str) -> tuple[Shape, Shape]:
        """A tensor's shape for one number of frames and for another."""
        one, other = (probe.shapes.get(name) for probe in self.probes)
        if one is None or other is None:
            raise Refusal(f"meets tensor {name!r}, whose shape cannot be told before it is computed")
        return one, other

    def maker(self, name: str) -> Node | None:
        """The node that makes a tensor; None of inputs and constants."""
        return self._originals.get(name)

    def growing(self, name: str) -> int | None:
        """The axis along which a tensor grows with the frames."""
        axes = growing(*self.shapes(name))
        if len(axes) > 1:
            raise Refusal("sets every frame against every other")
        return axes[0] if axes else None

    def values(self, node: Node, probe: Probe | None = None) -> list[np.ndarray | None]:
        """The values of a node's inputs, as far as they follow from constants and shapes."""
        values = (probe or self.probes[0]).values
        return [values.get(name) if name else None for name in node.inputs]

    def _touched(self, names) -> bool:
        kinds = (self.tracks, self.counts, self.latest, self.places)
        return any(name in kind for name in names for kind in kinds)

    def _known(self, name: str) -> bool:
        """Whether constants and shapes alone decide a tensor."""
        return not name or name in self.counts or name in self.graph.constants

    def _pass(self, node: Node) -> None:
        around = {name for _, inner in node.graphs() for name in captured(inner)}
        if not self._touched(around.union(filter(None, node.inputs))):
            return
        if node.graphs() and (node.op != "Scan" or self._touched(around)):
            raise Refusal("runs graphs on frames or their number, turn by turn or by what frames decide")
        node = self._original(node)
        if node.row.sizes_only:
            self._count(node)
        elif all(map(self._decided, node.inputs)):
            self._decide(node)
        elif any(name in self.tracks for name in node.inputs):
            self._check_ports(node)
            self._advance(node)
        elif any(name in self.latest for name in node.inputs):
            self._check_ports(node)
            self.latest.update(filter(None, node.outputs))
        else:
            self._check_ports(node)
            running.grown(self, node)

    def _original(self, node: Node) -> Node:
        """The node as it was before its state was led out."""
        return next((self._originals[name] for name in node.outputs if name in self._originals), node)

    def _count(self, node: Node) -> None:
        track = self.tracks.get(node.inputs[0])
        if node.inputs[0] in self.places:
            raise self.places[node.inputs[0]]
        if track is not None:
            self.counts[node.outputs[0]] = track

    def _decided(self, name: str) -> bool:
        """Whether no element of an input decides a tensor: shapes and constants do."""
        return not name or (
            name not in self.tracks
            and name not in self.latest
            and (name in self.counts or name in self.probes[0].values)
        )

    def _decide(self, node: Node) -> None:
        """A node that numbers of frames decide: another such number, or frames all alike."""
        track = self.clock_of(node)
        for name in filter(None, node.outputs):
            one, other = (probe.values.get(name) for probe in self.probes)
            if self.growing(name) is not None:
                running.grown(self, node)
            elif one is None or other is None or not np.array_equal(one, other):
                self.counts[name] = track
            else:
                self.settled[name] = one

    def clock_of(self, node: Node) -> Track:
        """The track whose number of frames a node takes."""
        tracks = [self.counts[name] for name in node.inputs if name in self.counts]
        if any(not track.same_clock(tracks[0]) for track in tracks):
            raise Refusal("puts together the numbers of frames of tensors that come at different times")
        return tracks[0] if tracks else Track.source(0, self.unit)

    def _check_ports(self, node: Node) -> None:
        for index, name in enumerate(node.inputs):
            if name in self.counts and not node.row.port(index).known:
                raise Refusal(f"takes {name!r}, which depends on how many frames there are in all")
            if name in self.counts and any(other in self.tracks for other in node.inputs):
                clocks = [self.tracks[other] for other in node.inputs if other in self.tracks]
                if not all(self.counts[name].same_clock(track) for track in clocks):
                    raise Refusal(
                        f"takes {name!r}, the number of frames of a tensor that comes earlier or later"
                    )

    @property
    def frames(self) -> list[int]:
        """The frames of the stream that the probes have."""
        name, axis = next(iter(self.inputs.items()))
        return [probe.shapes[name][axis] for probe in self.probes]

    def end(self, track: Track, *names: str) -> None:
        """Tensors that hold something of all frames so far of a track."""
        self.latest.update(filter(None, names))
        self.owing = self.owing or track.late

    def lengths(self, track: Track) -> list[int]:
        """How many frames of a track the probes have."""
        return [track.length(frames // self.unit, self.rings.period) for frames in self.frames]

    def _advance(self, node: Node) -> None:
        """A node that takes frames."""
        for index, name in enumerate(node.inputs):
            if name in self.places and not (node.op == "Gather" and index):
                raise self.places[name]
        carries = node.row.state or node.op == "Scan"
        if any(name in self.latest for name in node.inputs) and not carries:
            name = next(name for name in node.inputs if name in self.latest)
            raise Refusal(f"needs {name!r}, which is known after the last frame, for every frame")
        shapes = [self.shapes(name)[0] if name else None for name in node.inputs]
        try:
            looks = node.row.looks(node.attributes, shapes, self.values(node))
        except NO_RULE:
            raise Refusal("meets frames in a way that shapes do not tell") from None
        for index, name in enumerate(node.inputs):
            track = self.tracks.get(name)
            if track is not None and track.axis in looks.get(index, ()):
                if track.rows != 1:
                    raise Refusal("looks along an axis in which rows and frames are joined")
                if node.op != "DynamicQuantizeLinear":
                    self.looking.append(node)
                along.handle(self, node, index, track)
                return
        self._each(node)

    def _each(self, node: Node) -> None:
        """A node that takes each frame by itself."""
        tracks = [self.tracks[name] for name in node.inputs if name in self.tracks]
        if any(not tracks[0].same_clock(track) for track in tracks):
            node = windows.aligned(self, node)
            self.rings.nodes.append(node)
            tracks = [self.tracks[name] for name in node.inputs if name in self.tracks]
        first = tracks[0]
        padding = first.padding if len(tracks) == 1 and node.row.rearranges else None
        if padding is None and any(track.padding is not None for track in tracks):
            raise Refusal("takes frames that are padded in time")
        name = next(name for name in node.inputs if name in self.tracks and name not in self.aligned)
        if node.op == "Squeeze" and len(node.inputs) < 2:
            raise Refusal("drops all axes of one element, that of the frames too where a chunk has one")
        wanted = reshapes.sizes_wanted(self, node) if node.op == "Reshape" else None
        if wanted is not None:
            self.rings.nodes.append(node._replace(inputs=(node.inputs[0], self.rings.integers(*wanted))))
        for output in filter(None, node.outputs):
            axis = self.growing(output)
            if axis is None:
                raise Refusal("makes of all frames what does not grow with them")
            if node.op == "Reshape" and (count := reshapes.stacked(self, name, output, axis)) > 1:
                if wanted is None:
                    raise Refusal(f"puts {count} frames together, and rows with them")
                self.looking.append(node)
                windows.stacked(self, self.rings.nodes.pop(), self.tracks[name], count)
                continue
            if node.op in ("Reshape", "Flatten"):
                track = reshapes.reshaped(self, name, output, axis)
            else:
                track = self._kept(name, output, axis, tracks)
            alike = all(track.alike for track in tracks) and all(
                other in self.tracks or self._known(other) for other in node.inputs
            )
            self.tracks[output] = track._replace(alike=alike, padding=padding)

    def _kept(self, name: str, output: str, axis: int, tracks: list[Track]) -> Track:
        before, after = self.shapes(name), self.shapes(output)
        own = self.tracks[name].axis
        if any(one[own] != other[axis] for one, other in zip(before, after)):
            raise Refusal("changes the number of frames in a way that is not known")
        if len({track.rows for track in tracks}) > 1:
            raise Refusal("takes frames that are joined with rows, and others")
        return self.tracks[name]._replace(axis=axis)
