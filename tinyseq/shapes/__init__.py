"""The shape rules: from the inputs' shapes and known values to the outputs' shapes.

Every rule is ``rule(attributes, shapes, values) -> tuple of shapes`` over concrete shapes, as the
ONNX specification of its op says. An absent input has shape None. A rule that finds its inputs at
odds raises ``Mismatch``, to which the caller adds the node.
"""

from tinyseq.shapes.common import (
    MOST_DIMENSIONS,
    Attributes,
    Mismatch,
    Shape,
    axes_of,
    axis_of,
    broadcast_shapes,
    checked_rank,
    whole_numbers,
)
from tinyseq.shapes.control import by_graph
from tinyseq.shapes.einsum import check_einsum, einsum
from tinyseq.shapes.elementwise import broadcast, clip, dropout, onto_first, same
from tinyseq.shapes.indexing import (
    compress,
    depth_to_space,
    eye_like,
    gather,
    gather_elements,
    gather_nd,
    non_zero,
    one_hot,
    range_,
    reverse_sequence,
    scatter_elements,
    scatter_nd,
    space_to_depth,
    tile,
    trilu,
)
from tinyseq.shapes.linear import (
    fused_matmul,
    gemm,
    group_normalization,
    layer_normalization,
    matmul,
    over_axes,
    per_channel,
    rms_normalization,
)
from tinyseq.shapes.movement import (
    concat,
    constant_of_shape,
    expand,
    flatten,
    pad,
    pad_widths,
    reshape,
    shape_of,
    size_of,
    slice_,
    slice_bounds,
    split,
    split_sizes,
    squeeze,
    transpose,
    unsqueeze,
)
from tinyseq.shapes.quantized import (
    conv_integer,
    dynamic_quantize,
    dynamic_quantize_lstm,
    matmul_integer,
    quantize,
)
from tinyseq.shapes.recurrent import check_recurrent, gru, lstm, one_row_for_all, rnn
from tinyseq.shapes.reduction import arg_reduce, cumulate, reduce, reduce_axes, softmax, top_k
from tinyseq.shapes.signal import dft, resize, stft
from tinyseq.shapes.windows import (
    Geometry,
    check_degree,
    conv,
    conv_geometry,
    conv_transpose,
    conv_transpose_geometry,
    global_pool,
    pool,
    pool_geometry,
)
