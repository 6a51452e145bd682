"""The op table: what each op takes and gives. Importer, reference, planner and docs read it.

Ops have the meaning of the newest ONNX specification (domain ``ai.onnx`` where a row names no other);
converters bring older forms to it. A new op is one row here, one function in ``reference``, one in
``plan/lower`` and one shape rule in ``shapes``. How inputs and outputs are written, and what else a row says,
stands in ``op.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from tinyseq import shapes
from tinyseq.ir.op import (
    DTYPE,
    FLOAT,
    FLOATS,
    GRAPH,
    INT,
    INTS,
    REQUIRED,
    TENSOR,
    TEXT,
    TEXTS,
    Attribute,
    Op,
    Port,
)
from tinyseq.shapes import effort, looks

_port = cache(Port)


def _ports(text: str) -> tuple[Port, ...]:
    return tuple(map(_port, text.split()))


def _op(name: str, inputs: str, outputs: str, shape: Callable, *attributes: Attribute, **more: Any) -> Op:
    return Op(name, _ports(inputs), _ports(outputs), attributes, shape, **more)


def _alike(
    names: str, inputs: str, shape: Callable, *attributes: Attribute, y: str = "", **more: Any
) -> tuple[Op, ...]:
    """Rows that differ in their names only. ``y`` is the output's type; the first input's if left out."""
    ports = _ports(inputs)
    output = _ports(f"y:{y or ports[0].type}")
    return tuple([Op(name, ports, output, attributes, shape, **more) for name in names.split()])


_each = partial(_alike, looks=looks.nothing)
"""``_alike`` of ops that are computed element by element."""


A = Attribute

_CAST = (A("saturate", INT, 1), A("round_mode", TEXT, "up"))
_REDUCE = (A("keepdims", INT, 1), A("noop_with_empty_axes", INT, 0))
_ARG = (A("axis", INT, 0), A("keepdims", INT, 1), A("select_last_index", INT, 0, (0, 1)))

_WINDOW = (
    A("auto_pad", TEXT, "NOTSET", ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")),
    A("dilations", INTS, None),
    A("pads", INTS, None),
    A("strides", INTS, None),
)
_CONV = (*_WINDOW, A("group", INT, 1), A("kernel_shape", INTS, None))
_POOL = (*_WINDOW, A("kernel_shape", INTS, REQUIRED), A("ceil_mode", INT, 0, (0, 1)))

_RECURRENT = (
    A("hidden_size", INT, REQUIRED),
    A("direction", TEXT, "forward", ("forward", "reverse", "bidirectional")),
    A("layout", INT, 0, (0, 1)),
    A("clip", FLOAT, None),
    A("activation_alpha", FLOATS, None),
    A("activation_beta", FLOATS, None),
    A("activations", TEXTS, None),
)

_FRAMES_FIRST = (*(a for a in _RECURRENT if a.name != "layout"), A("layout", INT, 0, (0,)))
_SCATTER = A("reduction", TEXT, "none", ("none", "add", "mul", "max", "min"))
_COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
                "tf_half_pixel_for_nn", "tf_crop_and_resize")  # fmt: skip
_EPSILON = A("epsilon", FLOAT, 1e-5)
_HIDDEN = (("initial_h", "y_h"),)
_HIDDEN_AND_CELL = (*_HIDDEN, ("initial_c", "y_c"))
_CELL = {"check": shapes.check_recurrent, "looks": looks.recurrent, "turns": effort.turns_of_frames}
_MOVES: dict[str, Any] = {"moves": (0,), "keeps_values": True}
_REARRANGES = _MOVES | {"rearranges": True}
_PICKS = _MOVES | {"takes_bytes": True}
_SHAPES_ANEW = _REARRANGES | {"looks": looks.nothing, "takes_bytes": True}

_NORMALISED: dict[str, Any] = {"needs": "is normalised over all frames"}
_SUMMED: dict[str, Any] = {"needs": "sums over all frames"}

FAMILIES = {
    "elementwise": (
        _op("Cast", "x:a", "y:@to", shapes.same, A("to", DTYPE, REQUIRED), *_CAST,
            looks=looks.nothing, keeps_values=True, takes_bytes=True),
        _op("CastLike", "x:a like:A", "y:A", shapes.same, *_CAST, looks=looks.nothing, keeps_values=True),
        _op("Dropout", "x:F ratio?:f training_mode?!:b", "y:F mask?:b", shapes.dropout, A("seed", INT, None),
            looks=looks.nothing, keeps_values=True),
        *_alike("Identity", "x:A", shapes.same, open_inputs=1, **_SHAPES_ANEW),
        *_each("Relu Neg Abs Sign", "x:N", shapes.same),
        *_each("Sigmoid Tanh Exp Log Sqrt Sin Cos Erf Floor Ceil Round", "x:F", shapes.same),
        *_each("Reciprocal Softplus Softsign HardSwish Mish", "x:F", shapes.same),
        *_each("Not", "x:b", shapes.same),
        *_each("IsNaN", "x:f", shapes.same, y="b"),
        *_each("Elu Celu ThresholdedRelu Swish", "x:F", shapes.same, A("alpha", FLOAT, 1.0)),
        *_each("Shrink", "x:N", shapes.same, A("bias", FLOAT, 0.0), A("lambd", FLOAT, 0.5)),
        *_each("LeakyRelu", "x:F", shapes.same, A("alpha", FLOAT, 0.01)),
        *_each("Selu", "x:F", shapes.same,
                A("alpha", FLOAT, 1.67326319217681884765625), A("gamma", FLOAT, 1.05070102214813232421875)),
        *_each("HardSigmoid", "x:F", shapes.same, A("alpha", FLOAT, 0.2), A("beta", FLOAT, 0.5)),
        *_each("Gelu", "x:F", shapes.same, A("approximate", TEXT, "none", ("none", "tanh"))),
        *_each("IsInf", "x:f", shapes.same, A("detect_negative", INT, 1), A("detect_positive", INT, 1),
                y="b"),
        *_each("Clip", "x:N min?:N max?:N", shapes.clip),
        *_each("PRelu", "x:N slope:N", shapes.onto_first),
        *_each("Add", "a:N b:N", shapes.broadcast, open_inputs=2, takes_bytes=True),
        *_each("Sub Mul", "a:N b:N", shapes.broadcast, open_inputs=2),
        *_each("Div", "a:N b:N", shapes.broadcast),
        *_each("Pow", "a:N b:n", shapes.broadcast),
        *_each("And Or Xor", "a:b b:b", shapes.broadcast),
        *_each("Equal", "a:A b:A", shapes.broadcast, y="b"),
        *_each("Greater Less GreaterOrEqual LessOrEqual", "a:N b:N", shapes.broadcast, y="b"),
        *_each("Mod", "a:N b:N", shapes.broadcast, A("fmod", INT, 0, (0, 1))),
        *_each("Where", "condition:b a:A b:A", shapes.broadcast, y="A"),
        *_each("Max Min", "x*:N", shapes.broadcast),
        *_each("Sum Mean", "x*:F", shapes.broadcast),
    ),
    "trigonometry": (
        *_each("Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh", "x:F", shapes.same),
    ),
    "reduction": (
        *_alike("ReduceSum ReduceMean ReduceProd ReduceL1 ReduceL2 ReduceSumSquare",
                "x:N axes?!:i", shapes.reduce, *_REDUCE, looks=looks.reduced),
        *_alike("ReduceMax ReduceMin", "x:A axes?!:i", shapes.reduce, *_REDUCE, looks=looks.reduced),
        *_alike("ReduceLogSum", "x:N axes?!:i", shapes.reduce, *_REDUCE, looks=looks.reduced),
        *_alike("ReduceLogSumExp", "x:N axes?!:i", shapes.reduce, *_REDUCE, looks=looks.reduced,
                needs="weighs each frame by the greatest of all frames"),
        *_alike("ArgMax ArgMin", "x:n", shapes.arg_reduce, *_ARG, y="int64", looks=looks.one_axis),
        *_alike("CumSum", "x:N axis!:i", shapes.cumulate, A("exclusive", INT, 0), A("reverse", INT, 0),
                looks=looks.cumulated),
        _op("TopK", "x:N k!:i", "values:N indices:int64", shapes.top_k,
            A("axis", INT, -1), A("largest", INT, 1), A("sorted", INT, 1),
            looks=looks.one_axis),
        *_alike("Softmax LogSoftmax Hardmax", "x:F", shapes.softmax, A("axis", INT, -1),
                looks=looks.one_axis, **_NORMALISED),
    ),
    "movement": (
        *_alike("Shape", "x:a", shapes.shape_of, A("start", INT, 0), A("end", INT, None), y="int64",
                looks=looks.nothing, open_inputs=1, sizes_only=True),
        *_alike("Size", "x:a", shapes.size_of, y="int64",
                looks=looks.nothing, open_inputs=1, sizes_only=True),
        *_alike("ConstantOfShape", "shape!:i", shapes.constant_of_shape, A("value", TENSOR, None),
                y="@value/float32", looks=looks.nothing, grows=True),
        *_alike("Concat", "x*:A", shapes.concat, A("axis", INT, REQUIRED),
                looks=looks.every_axis, moves=(0,), open_inputs=1),
        _op("Split", "x:A split?!:i", "y*:A", shapes.split, A("axis", INT, 0), A("num_outputs", INT, None),
            looks=looks.one_axis, **_PICKS),
        *_alike("Slice", "x:A starts!:i ends!:i axes?!:i steps?!:i", shapes.slice_,
                looks=looks.cut, open_inputs=1, **_PICKS),
        *_alike("Squeeze", "x:A axes?!:i", shapes.squeeze, open_inputs=1, **_SHAPES_ANEW),
        *_alike("Unsqueeze", "x:A axes!:i", shapes.unsqueeze, open_inputs=1, **_SHAPES_ANEW),
        *_alike("Reshape", "x:A shape!:i", shapes.reshape, A("allowzero", INT, 0),
                open_inputs=1, **_SHAPES_ANEW),
        *_alike("Flatten", "x:A", shapes.flatten, A("axis", INT, 1), **_SHAPES_ANEW),
        *_alike("Transpose", "x:A", shapes.transpose, A("perm", INTS, None), **_SHAPES_ANEW),
        *_alike("Expand", "x:A shape!:i", shapes.expand, looks=looks.nothing, grows=True, **_MOVES),
        *_alike("Pad", "x:A pads!:i value?:A axes?!:i", shapes.pad,
                A("mode", TEXT, "constant", ("constant", "reflect", "edge", "wrap")),
                looks=looks.widened, grows=True, moves=(0,)),
        *_alike("Tile", "x:A repeats!:i", shapes.tile, looks=looks.repeated, grows=True, **_MOVES),
        *_alike("DepthToSpace", "x:A", shapes.depth_to_space, A("blocksize", INT, REQUIRED),
                A("mode", TEXT, "DCR", ("DCR", "CRD")), looks=looks.from_second, **_REARRANGES),
        *_alike("SpaceToDepth", "x:A", shapes.space_to_depth, A("blocksize", INT, REQUIRED),
                A("mode", TEXT, "DCR", ("DCR", "CRD")), looks=looks.from_second, **_REARRANGES),
    ),
    "indexing": (
        *_alike("ReverseSequence", "x:A row_lengths:i", shapes.reverse_sequence,
                A("batch_axis", INT, 1), A("time_axis", INT, 0),
                looks=looks.reversed_, turns=effort.turns_of_indices,
                needs="turns the frames round, and the first of the result is the last given"),
        *_alike("Trilu", "x:A k?!:i", shapes.trilu, A("upper", INT, 1), looks=looks.last_two),
        *_alike("Gather", "x:A indices:i", shapes.gather, A("axis", INT, 0),
                looks=looks.one_axis, open_inputs=1, **_PICKS),
        *_alike("GatherElements", "x:A indices:i", shapes.gather_elements, A("axis", INT, 0),
                looks=looks.one_axis, **_MOVES),
        *_alike("GatherND", "x:A indices:i", shapes.gather_nd, A("batch_dims", INT, 0),
                looks=looks.gathered, turns=effort.turns_of_places, **_MOVES),
        *_alike("ScatterElements", "x:A indices:i updates:A", shapes.scatter_elements,
                A("axis", INT, 0), _SCATTER, moves=(0, 2), turns=effort.turns_of_indices),
        *_alike("ScatterND", "x:A indices:i updates:A", shapes.scatter_nd, _SCATTER,
                moves=(0, 2), turns=effort.turns_of_places),
        *_alike("OneHot", "indices:n depth!:n values:A", shapes.one_hot, A("axis", INT, -1), y="A",
                looks=looks.nothing, grows=True),
        *_alike("Range", "start!:N limit!:N delta!:N", shapes.range_, A("stash_type", INT, 1, (1,)),
                grows=True),
        *_alike("EyeLike", "x:A", shapes.eye_like, A("dtype", DTYPE, None), A("k", INT, 0), y="@dtype/A",
                grows=True),
        *_alike("Compress", "x:A condition!:b", shapes.compress, A("axis", INT, None),
                looks=looks.compressed, **_MOVES),
        *_alike("NonZero", "x!:a", shapes.non_zero, y="int64"),
    ),
    "linear": (
        *_alike("MatMul", "a:N b:N", shapes.matmul,
                looks=looks.multiplied, multiplications=effort.product, **_SUMMED),
        *_alike("Gemm", "a:N b:N c?:N", shapes.gemm, A("alpha", FLOAT, 1.0), A("beta", FLOAT, 1.0),
                A("transA", INT, 0), A("transB", INT, 0),
                looks=looks.multiplied_turned, multiplications=effort.product_turned, **_SUMMED),
        *_alike("Einsum", "x*:N", shapes.einsum, A("equation", TEXT, REQUIRED), check=shapes.check_einsum,
                looks=looks.summed, multiplications=effort.sums, **_SUMMED),
        *_alike("FusedMatMul", "a:F b:F", shapes.fused_matmul, A("alpha", FLOAT, 1.0), A("transA", INT, 0),
                A("transB", INT, 0), A("transBatchA", INT, 0, (0,)), A("transBatchB", INT, 0, (0,)),
                domain="com.microsoft", looks=looks.multiplied_fused, multiplications=effort.product_fused,
                **_SUMMED),
    ),
    "normalisation": (
        _op("BatchNormalization", "x:F scale:F bias:F mean:F variance:F",
            "y:F -running_mean:F -running_variance:F",
            shapes.per_channel, _EPSILON, A("momentum", FLOAT, 0.9), A("training_mode", INT, 0, (0,)),
            looks=looks.nothing),
        *_alike("InstanceNormalization", "x:F scale:F bias:F", shapes.per_channel, _EPSILON,
                looks=looks.from_third, **_NORMALISED),
        _op("LayerNormalization", "x:F scale:F bias?:F", "y:F mean?:F inverse?:F", shapes.layer_normalization,
            A("axis", INT, -1), _EPSILON, A("stash_type", INT, 1, (1,)), looks=looks.from_axis,
            **_NORMALISED),
        *_alike("GroupNormalization", "x:F scale:F bias:F", shapes.group_normalization,
                A("num_groups", INT, REQUIRED), _EPSILON, A("stash_type", INT, 1, (1,)),
                looks=looks.from_second, **_NORMALISED),
        *_alike("RMSNormalization", "x:F scale:F", shapes.rms_normalization,
                A("axis", INT, -1), _EPSILON, A("stash_type", INT, 1, (1,)), looks=looks.from_axis,
                **_NORMALISED),
        *_alike("MeanVarianceNormalization", "x:F", shapes.over_axes, A("axes", INTS, (0, 2, 3)),
                looks=looks.over_axes, **_NORMALISED),
        *_alike("LpNormalization", "x:F", shapes.softmax, A("axis", INT, -1), A("p", INT, 2, (1, 2)),
                looks=looks.one_axis, **_NORMALISED),
    ),
    "windows": (
        *_alike("Conv", "x:F w:F b?:F", shapes.conv, *_CONV,
                looks=looks.convolved, multiplications=effort.convolution),
        *_alike("ConvTranspose", "x:F w:F b?:F", shapes.conv_transpose, *_CONV,
                A("output_padding", INTS, None), A("output_shape", INTS, None),
                looks=looks.spread, multiplications=effort.spread),
        _op("MaxPool", "x:N", "y:N indices?:int64", shapes.pool, *_POOL, A("storage_order", INT, 0, (0, 1)),
            looks=looks.pooled),
        *_alike("AveragePool", "x:F", shapes.pool, *_POOL, A("count_include_pad", INT, 0, (0, 1)),
                looks=looks.pooled),
        *_alike("LpPool", "x:F", shapes.pool, *_POOL, A("p", INT, 2),
                check=shapes.check_degree, looks=looks.pooled),
        *_alike("GlobalAveragePool GlobalMaxPool", "x:F", shapes.global_pool, looks=looks.from_third),
    ),
    "signal": (
        *_alike("Resize", "x:A roi?!:f scales?!:f sizes?!:i", shapes.resize,
                A("antialias", INT, 0, (0, 1)), A("axes", INTS, None),
                A("coordinate_transformation_mode", TEXT, "half_pixel", _COORDINATES),
                A("cubic_coeff_a", FLOAT, -0.75), A("exclude_outside", INT, 0, (0, 1)),
                A("extrapolation_value", FLOAT, 0.0),
                A("keep_aspect_ratio_policy", TEXT, "stretch", ("stretch", "not_larger", "not_smaller")),
                A("mode", TEXT, "nearest", ("nearest", "linear", "cubic")),
                A("nearest_mode", TEXT, "round_prefer_floor",
                  ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")),
                looks=looks.resized, grows=True,
                needs="changes how many frames there are, by the number of all of them"),
        *_alike("STFT", "x:F step!:i window?:F length?!:i", shapes.stft, A("onesided", INT, 1, (0, 1)),
                looks=looks.from_second, multiplications=effort.transform,
                needs="takes frames of a length or distance that is computed; one whose frames are constants "
                "streams"),
        *_alike("DFT", "x:F dft_length?!:i axis?!:i", shapes.dft, A("inverse", INT, 0, (0, 1)),
                A("onesided", INT, 0, (0, 1)), looks=looks.transformed, grows=True,
                multiplications=effort.transform, **_SUMMED),
    ),
    "recurrent": (
        _op("RNN", "x:F w:F r:F b?:F lengths?:i initial_h?:F", "y?:F y_h?:F", shapes.rnn,
            *_RECURRENT, state=_HIDDEN, multiplications=effort.recurrent, **_CELL),
        _op("GRU", "x:F w:F r:F b?:F lengths?:i initial_h?:F", "y?:F y_h?:F", shapes.gru,
            *_RECURRENT, A("linear_before_reset", INT, 0, (0, 1)),
            state=_HIDDEN, multiplications=effort.recurrent, **_CELL),
        _op("LSTM", "x:F w:F r:F b?:F lengths?:i initial_h?:F initial_c?:F p?:F +projection?!:F",
            "y?:F y_h?:F y_c?:F", shapes.lstm, *_RECURRENT, A("input_forget", INT, 0, (0, 1)),
            state=_HIDDEN_AND_CELL, multiplications=effort.recurrent, **_CELL),
    ),
    "quantized": (
        *_alike("QuantizeLinear", "x:n scale:n zero_point?:I", shapes.quantize, A("axis", INT, 1),
                A("block_size", INT, 0), A("output_dtype", DTYPE, None), A("precision", DTYPE, None, (None,)),
                A("saturate", INT, 1), y="I/@output_dtype/uint8", looks=looks.nothing, takes_bytes=True),
        *_alike("DequantizeLinear", "x:I scale:F zero_point?:I", shapes.quantize, A("axis", INT, 1),
                A("block_size", INT, 0), A("output_dtype", DTYPE, None), y="@output_dtype/F",
                looks=looks.nothing, takes_bytes=True),
        _op("DynamicQuantizeLinear", "x:f", "y:uint8 scale:float32 zero_point:uint8",
            shapes.dynamic_quantize, rows_meet=True, takes_bytes=True),
        *_alike("MatMulInteger", "a:Q1 b:Q2 a_zero_point?:Q1 b_zero_point?:Q2", shapes.matmul_integer,
                y="int32", looks=looks.multiplied, takes_bytes=True, multiplications=effort.product,
                **_SUMMED),
        *_alike("ConvInteger", "x:Q1 w!:Q2 x_zero_point?:Q1 w_zero_point?!:Q2", shapes.conv_integer, *_CONV,
                y="int32", looks=looks.convolved, takes_bytes=True, multiplications=effort.convolution,
                needs="is a convolution of integers along the frames, which streams do not keep"),
        _op("DynamicQuantizeLSTM",
            "x:F w!:Q1 r!:Q2 b?!:F lengths?:i initial_h?:F initial_c?:F p?!:F "
            "w_scale!:F w_zero_point!:Q1 r_scale!:F r_zero_point!:Q2",
            "y?:F y_h?:F y_c?:F", shapes.dynamic_quantize_lstm, *_FRAMES_FIRST,
            A("input_forget", INT, 0, (0, 1)), state=_HIDDEN_AND_CELL, domain="com.microsoft", rows_meet=True,
            takes_bytes=True, multiplications=effort.recurrent_turned, **_CELL),
    ),
    "control": (
        _op("If", "condition~:b", "y*", shapes.by_graph,
            A("then_branch", GRAPH, REQUIRED), A("else_branch", GRAPH, REQUIRED)),
        _op("Loop", "trips?~:i condition?~:b carried*", "y*", shapes.by_graph, A("body", GRAPH, REQUIRED)),
        _op("Scan", "x*", "y*", shapes.by_graph,
            A("body", GRAPH, REQUIRED), A("num_scan_inputs", INT, REQUIRED),
            A("scan_input_axes", INTS, None), A("scan_input_directions", INTS, None),
            A("scan_output_axes", INTS, None), A("scan_output_directions", INTS, None)),
    ),
}  # fmt: skip
"""The table. What an op means and how it is lowered stand in the files of its family's name, in ``reference``
and ``plan/lower``; they are imported when the first op of the family needs them."""

OPS = {row.name: row for rows in FAMILIES.values() for row in rows}
"""The rows by name."""

FAMILY = {row.name: family for family, rows in FAMILIES.items() for row in rows}
"""The family of each op."""
