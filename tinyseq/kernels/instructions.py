"""The instruction set: the one table that the planner writes, the machine reads and CUDA will walk.

A program is an int64 array of rows ``[opcode, length, operand, ...]``. Each operand is one word:

* an **address** (``&name`` below): ``segment << SEGMENT_SHIFT | byte offset`` into that segment;
* an **integer** (plain name): a size, an element stride or a variant;
* a **tail** (``*name``, last): any number of integers, reached by the kernel through a pointer;
* the **segments** (``@segments``): nothing, the kernel is told where the table of segments lies.

Nothing in a program is a process address, so it can be saved, embedded or sent to another machine.
"""

from __future__ import annotations

SEGMENT_SHIFT = 48

CONTEXT = 4
"""Words of a context before the addresses of its segments, see ``machine.py``."""

TEAM = 2
"""The first of those of them that stand for the team, see ``compute/sharing.py``."""

PANEL = 16
"""Columns of a packed weight panel; 64 bytes of float32."""

GROUP = 4
"""Panels that lie interleaved in memory, so that one row of k is one contiguous run."""

ALIGNMENT = 64
"""Bytes to which every segment and every buffer in it is aligned."""

BYTES = 4
"""Bytes of a float32, and of an int32."""

MAX_RANK = 8
"""Longest list of dimensions that the elementwise kernel walks."""


MOST_ABREAST = 6
"""Recurrent layers that run frame by frame together at the most."""


class Instruction:
    """One row of the table: the kernel's name and its operands in order.

    ``failure`` says what went wrong where the kernel may fail. A jump has its ``distance`` last. A kernel
    that ``shares`` its work has a parameter more, the team; see ``compute/sharing.py``. ``advice`` may be
    passed by: what follows it gives the same without it. ``reads`` names addresses that it only
    reads, of numbers that somebody else may write meanwhile without harm to anything but its results.
    """

    __slots__ = ("advice", "failure", "name", "operands", "reads", "shares")

    def __init__(
        self,
        name: str,
        operands: tuple[str, ...],
        failure: str = "",
        shares: bool = False,
        advice: bool = False,
        reads: str = "",
    ) -> None:
        self.name = name
        self.operands = operands
        self.failure = failure
        self.shares = shares
        self.advice = advice
        self.reads = tuple(reads.split())

    @property
    def changes(self) -> list[int]:
        """The places of the addresses that are not among those that it ``reads``."""
        places = [place for place, operand in enumerate(self.operands) if operand[0] == "&"]
        return [place for place in places if self.operands[place][1:] not in self.reads]

    @property
    def returns(self) -> bool:
        """Whether the kernel decides what comes next."""
        return bool(self.failure) or "distance" in self.operands


MOST_TURNS = 2**20
"""How many turns all nodes of the op Loop together may make in one run."""

_OUTSIDE = "met an index or a length outside its tensor; check the values of the integer inputs"
REMEMBERED = (
    "would be NaN or infinite after this step; give finite numbers, or let streams remember all numbers with "
    "load(..., finite=False)"
)
TOO_MANY_TURNS = (
    "brought the turns of the loops in one run above {:,}; check its trip count and the condition that ends "
    "it, or feed less at a time"
)

_SEARCH = ("count", "slots", "*options")
_STEPPED = ("&tokens", "&sources", "&targets", "&owners")
_NO_ROOM = "ran out of room"
_SCORERS = ("&model", "&labels", "&words", "&hotwords", "&spelling")
_EMITTED = ("&tokens", "&frames", "&logps")

INSTRUCTIONS = (
    Instruction("fill", ("&y", "count", "bits")),
    Instruction("shift", ("&y", "rows", "stride", "count", "by")),
    Instruction("elementwise", ("function", "&a", "&b", "&c", "&y", "rank", "*dims"), reads="a b c"),
    Instruction("pack", ("&x", "&w", "k", "n", "k_stride", "n_stride"), reads="x"),
    Instruction(
        "linear",
        (
            *("&x", "outer", "outer_stride", "inner", "inner_stride", "k", "&w", "n", "&bias", "&y"),
            *("y_stride", "&rounded", "&lengths", "flags", "format"),
        ),
        shares=True,
        reads="x bias",
    ),
    Instruction(
        "products",
        (
            *("&x", "&w", "&y", "&packed", "&zeros", "m", "k", "n"),
            *("m_stride", "k_stride", "n_stride", "rank", "*dims"),
        ),
        reads="x w",
    ),
    Instruction(
        "depthwise", ("&x", "&w", "&bias", "&y", "channels", "taps", "rank", "*dims"), reads="x w bias"
    ),
    Instruction("softmax", ("&x", "rows", "stride", "count", "&y"), reads="x"),
    Instruction(
        "normalise",
        (
            *("&x", "rows", "stride", "count", "&epsilon", "&scale", "&bias", "&y", "&statistics"),
            "centred",
        ),
        reads="x epsilon scale bias",
    ),
    Instruction("quantize_dynamic", ("&x", "count", "&y", "&scale", "&zero_point"), reads="x"),
    Instruction(
        "linear_bytes",
        ("&x", "outer", "outer_stride", "inner", "inner_stride", "k", "&w", "n", "&zero_point", "&y"),
        shares=True,
    ),
    Instruction(
        "recurrent",
        (
            *("cell", "&xw", "&r", "&second", "&bias", "&constants", "&options", "&h", "&c", "&y"),
            *("&scratch", "&rounded", "&lengths"),
            *("frames", "rows", "hidden", "units", "reverse", "y_frame", "y_row", "flags", "format"),
        ),
        shares=True,
        reads="constants",
    ),
    Instruction(
        "gather",
        ("&x", "&indices", "&y", "outer", "x_outer", "count", "depth", "inner", "store", "*dims"),
        _OUTSIDE,
    ),
    Instruction(
        "gather_elements",
        ("&x", "&indices", "&y", "outer", "x_count", "count", "inner", "bytes", "store"),
        _OUTSIDE,
    ),
    Instruction("within", ("&x", "count", "low", "high"), _OUTSIDE),
    Instruction("finite", ("&x", "count"), REMEMBERED),
    Instruction("extreme", ("&x", "&y", "outer", "count", "inner", "sign", "last"), reads="x"),
    Instruction("extreme_integer", ("&x", "&y", "outer", "count", "inner", "sign", "last")),
    Instruction("top_k", ("&x", "&values", "&places", "outer", "count", "inner", "k", "sign"), reads="x"),
    Instruction("top_k_integer", ("&x", "&values", "&places", "outer", "count", "inner", "k", "sign")),
    Instruction("jump", ("distance",)),
    Instruction("jump_unless", ("&condition", "distance")),
    Instruction("turn", ("&counter", "trips", "distance")),
    Instruction("spend", ("&left",), TOO_MANY_TURNS.format(MOST_TURNS)),
    Instruction("run", ("&context", "&place"), "failed"),
    Instruction(
        "blocks",
        ("@segments", "&scratch", "units", "size", "rows", "distance", "*slots"),
        advice=True,
    ),
    Instruction(
        "windows", ("@segments", "&scratch", "together", "distance", "*rows"), shares=True, advice=True
    ),
    Instruction("abreast", ("@segments", "distance", "*rows"), shares=True, advice=True),
    Instruction("feed", ("&feeds", "slots", "&rows", *_STEPPED, "size", "spare")),
    Instruction("log_softmax", ("&y", "&scratch", "&rows", "count", "kind")),
    Instruction("apply_temperature", ("&y", "&rows", "count", "blank", "*options")),
    Instruction("ban_tokens", ("&y", "&rows", "count", "*tokens")),
    Instruction("force_token", ("&y", "&rows", "count", "token")),
    Instruction(
        "penalize_repetition",
        ("&y", "&history", "&scratch", "&rows", "count", "&position", "record", "*penalty"),
    ),
    Instruction("ban_ngrams", ("&y", "&history", "&rows", "count", "&position", "record", "size")),
    Instruction("unroll", ("&trace", "&ends", "&lengths", "step", "&history", "&rows", "slots", "room")),
    Instruction("warp", ("&y", "&order", "&keys", "&rows", "count", "*options")),
    Instruction(
        "pick",
        ("&y", "&trace", "&heads", "&live", "&keys", "&feeds", "&status", *_SEARCH),
    ),
    Instruction(
        "beam",
        (
            *(
                "&y",
                "&running",
                "&trace",
                "&pool",
                "&heads",
                "&best",
                "&live",
                "&counts",
                "&feeds",
                "&status",
            ),
            *("&norms", "&attention", "&coverage", "width", *_SEARCH),
        ),
    ),
    Instruction("usable_rows", ("&x", "&rows", "count", "&place"), "met a row that is no distribution"),
    Instruction("ctc_best_path", ("&logp", "count", "vocabulary", "blank", "&state", *_EMITTED), _NO_ROOM),
    Instruction(
        "ctc_beam", ("&logp", "frames", "start", "&state", "&scratch", "&search", *_SCORERS), _NO_ROOM
    ),
    Instruction(
        "transducer_path",
        (
            *("&y", "vocabulary", "blank", "most", "&queue", "first", "frames", "start", "place", "&state"),
            *("&tokens", "&places", "&logps"),
        ),
    ),
    Instruction(
        "transducer_beam",
        (
            *("&y", "&queue", "first", "frames", "start", "place", "&state", "&scratch", "&search"),
            *_SCORERS,
        ),
        _NO_ROOM,
    ),
    Instruction("settle", ("&state", "width", "&count", *_EMITTED)),
    Instruction(
        "hypotheses",
        ("&state", "&scratch", "&search", "ended", "best", "room", "&count", "&scores", *_EMITTED, *_SCORERS),
        _NO_ROOM,
    ),
)

OPCODES = {instruction.name: code for code, instruction in enumerate(INSTRUCTIONS)}

OPERANDS = {row.name: tuple(operand.lstrip("&*@") for operand in row.operands) for row in INSTRUCTIONS}
"""The names of an instruction's operands."""

STORES = (
    ("none", ""),
    *((name, kind) for kind in "fi" for name in ("add", "multiply", "maximum", "minimum")),
    ("apart", ""),
)
"""What a scatter does to the elements it meets, by code: nothing, or a function of them of a kind. Its
elements go where they go in order, the last one wins; ``apart`` says that no two go to one place."""

OVERWRITE, APART = STORES.index(("none", "")), STORES.index(("apart", ""))

GATHER = -1
"""The code of no scatter: elements go the other way."""

FAILED = 1
"""What a kernel returns that cannot go on: the machine stops there. Anything else that one returns is how
many words beyond its row the next one lies; rows are longer than one word."""


class Function:
    """A scalar function of the elementwise kernel: kinds of its operands and result.

    ``f`` is float32; ``i`` is int64, in which all integers and booleans are computed; ``b`` and ``w``
    are uint8 and int32, the narrow forms that quantised ops hand to each other.
    """

    __slots__ = ("name", "operands", "result")

    def __init__(self, name: str, operands: str, result: str) -> None:
        self.name = name
        self.operands = operands
        self.result = result


ELEMENT_BYTES = {"f": 4, "i": 8, "b": 1, "w": 4}
"""Of each kind of elements."""


def _functions(operands: str, result: str, names: str) -> list[Function]:
    return [Function(name, operands, result) for name in names.split()]


FUNCTIONS = (
    *_functions("f", "f", "copy negate absolute relu sigmoid tanh exp log sqrt square reciprocal"),
    *_functions("f", "f", "floor ceil round sign erf sine cosine softplus"),
    *_functions("f", "i", "truncate nonzero is_nan"),
    *_functions("i", "f", "to_float"),
    *_functions("i", "i", "copy negate absolute square sign nonzero not"),
    *_functions("ff", "f", "add subtract multiply divide maximum minimum power modulo remainder leaky_relu"),
    *_functions("ff", "i", "equal less less_equal"),
    *_functions("ii", "i", "add subtract multiply divide maximum minimum power modulo remainder"),
    *_functions("ii", "i", "equal less less_equal and or xor wrap"),
    *_functions("fff", "f", "fma clip elu selu"),
    *_functions("i", "b", "to_byte"),
    *_functions("i", "w", "to_word"),
    *_functions("ww", "w", "add"),
    *_functions("b", "b", "copy"),
    *_functions("w", "w", "copy"),
    *_functions("b", "i", "to_integer"),
    *_functions("w", "i", "to_integer"),
    *_functions("b", "f", "to_float"),
    *_functions("w", "f", "to_float"),
    *_functions("ffb", "b", "quantize"),
    *_functions("bbf", "f", "dequantize"),
    *_functions("iff", "f", "where"),
    *_functions("iii", "i", "where"),
)

FUNCTION_CODES = {(row.name, row.operands): code for code, row in enumerate(FUNCTIONS)}
"""By name and kinds of operands."""

HAS_Y = 1
HAS_LENGTHS = 2
PROJECTED = 4
"""Bits of ``flags``: which optional buffers of a layer or of a product are there, and whether a layer's state
is projected."""

LOGITS, LOG_PROBABILITIES, PROBABILITIES = range(3)
"""What the scores that a model gives are."""

SCRATCH = 4096
"""Floats that log softmax wants for its rows; a longer row wants as many as it has."""

NODE = HEAD = 4
"""Words that a token takes in the trace of a search, and words of a finished hypothesis' head; see
``kernels/search/beam.py``."""

UNITS, ROWS, POSITION, GOES_ON, MIN_ROWS, MAX_ROWS, UNTIL = range(7)
"""Words of a search's status: the beams or hypotheses that are going on, the rows of the next step, the
position of its tokens, whether it is like the one before, and what that takes: rows from ``MIN_ROWS`` to
``MAX_ROWS``, a position below ``UNTIL``."""

STATUS = 7
"""Words of a search's status."""

EMPTY, ENDED, CUT = 0.0, 1.0, 2.0
"""How a hypothesis ended: there is none, by an end token, by its length."""

KEEP_OPEN, FIRST_FULL, MOST_HOPEFUL = range(3)
"""When beam search stops: early_stopping False, True, "never"."""
