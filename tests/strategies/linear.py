"""Cases of products and windows."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.models import one_node
from tests.strategies.drawing import FED, axis_in, broadcastable, case_of, numbers, shapes


@case_of("MatMul")
def matmul(draw, op):
    *rows, inner = draw(shapes(1, 4, most=6))
    b = numbers(draw, (inner, *draw(shapes(0, 1, most=40))))
    return one_node(op, [numbers(draw, (*rows, inner)), b], fed=(0,))


@case_of("Gemm")
def gemm(draw, op):
    rows, inner, columns = (draw(st.integers(least, 20)) for least in (0, 1, 1))
    flip_a, flip_b = draw(st.booleans()), draw(st.booleans())
    a = numbers(draw, (inner, rows) if flip_a else (rows, inner))
    b = numbers(draw, (columns, inner) if flip_b else (inner, columns))
    bias = draw(st.sampled_from([None, (), (1,), (columns,), (1, columns), (1, 1), (rows, columns)]))
    scale = st.sampled_from([None, 0.5, 2.0])
    return one_node(
        op, [a, b, *([] if bias is None else [numbers(draw, bias)])], fed=(0,),
        alpha=draw(scale), beta=draw(scale), transA=int(flip_a), transB=int(flip_b),
    )  # fmt: skip


@case_of("MatMul: computed")
def matmul_of_two(draw, op):
    batch = draw(shapes(0, 2, most=3))
    rows, inner, columns = (draw(st.integers(1, most)) for most in (12, 12, 40))
    a = (*broadcastable(draw, batch), rows, inner)
    b = (*broadcastable(draw, batch), inner, columns)
    a, b = draw(st.sampled_from([(a, b), ((inner,), b), (a, (inner,)), ((inner,), (inner,))]))
    return one_node(op, [numbers(draw, a), numbers(draw, b)], fed=draw(FED))


@case_of("Gemm: computed")
def gemm_of_three(draw, op):
    rows, inner, columns = (draw(st.integers(1, 8)) for _ in range(3))
    flip_a, flip_b = draw(st.booleans()), draw(st.booleans())
    a = numbers(draw, (inner, rows) if flip_a else (rows, inner))
    b = numbers(draw, (columns, inner) if flip_b else (inner, columns))
    bias = draw(st.sampled_from([None, (), (columns,), (rows, 1), (rows, columns)]))
    more = [] if bias is None else [numbers(draw, bias)]
    return one_node(op, [a, b, *more], transA=int(flip_a), transB=int(flip_b), alpha=0.5, beta=2.0)


@case_of("BatchNormalization", "InstanceNormalization")
def per_channel(draw, op):
    x = numbers(draw, draw(shapes(2 if op.startswith("B") else 3, 4, least=1)))
    vectors = [numbers(draw, (x.shape[1],)) for _ in range(4 if op.startswith("B") else 2)]
    if op.startswith("B"):
        vectors[3] = np.abs(vectors[3]) + np.float32(0.1)
    opset = draw(st.sampled_from([7, 9, 14, 15])) if op.startswith("B") else 7
    fed = draw(st.sampled_from([(0,), (0, 1, 2), None]))
    return one_node(op, [x, *vectors], fed=fed, opset=opset, epsilon=draw(st.sampled_from([None, 0.01])))


@case_of("LayerNormalization")
def layer_normalization(draw, op):
    x = numbers(draw, draw(shapes(1, 4, least=1)))
    axis = axis_in(draw, x.ndim)
    own = x.shape[axis % x.ndim :]
    kinds = [own, (1,) * (own != x.shape) + own, x.shape, (1,), x.shape[:1] + (1,) * (x.ndim - 1)]
    vectors = [numbers(draw, draw(st.sampled_from(kinds))) for _ in range(draw(st.integers(1, 2)))]
    outputs = ["y", "mean", "inverse"][: draw(st.sampled_from([1, 3]))]
    return one_node(
        op, [x, *vectors], fed=draw(FED), opset=17, outputs=outputs, axis=axis,
        epsilon=draw(st.sampled_from([None, 0.01])),
    )  # fmt: skip


EQUATIONS = [
    "bth,bsh->bts", "i,j->ij", "i, j -> i j", "bij,jk->bik", "ij,jk", "ii->i", "ii", "ij->", "bij->bji",
    "...ij,...jk->...ik", "...i,i->...", "bhtd,hdk->btk", "i,i->i", "ab,bc,cd->ad", "abc,cd,b->da",
    "i...->...", "aij,ak->aijk", "ij,kj->ik", "tbh,hgk->tbgk", "ijk,jkl->il", "...->...", "ab...,b...->a...",
    "Ba,aB->B",
]  # fmt: skip


@case_of("Einsum")
def einsum(draw, op):
    text = draw(st.sampled_from(EQUATIONS))
    sizes = {letter: draw(st.integers(1, 4)) for letter in sorted(set(filter(str.isalpha, text)))}
    free = draw(shapes(0, 2, least=1, most=3))
    inputs = []
    for term in text.replace(" ", "").partition("->")[0].split(","):
        before, dots, after = term.partition("...")
        rest = free if dots else ()
        inputs.append(numbers(draw, (*(sizes[c] for c in before), *rest, *(sizes[c] for c in after))))
    return one_node(op, inputs, fed=draw(st.sampled_from([None, (0,)])), opset=12, equation=text)


@case_of("FusedMatMul")
def fused_matmul(draw, op):
    batch, (m, k, n) = draw(shapes(0, 2, least=1, most=3)), draw(st.tuples(*[st.integers(1, 20)] * 3))
    flip_a, flip_b = draw(st.booleans()), draw(st.booleans())
    a = numbers(draw, (*batch, k, m) if flip_a else (*batch, m, k))
    b = numbers(draw, (*batch[draw(st.integers(0, len(batch))) :], *((n, k) if flip_b else (k, n))))
    fed, alpha = draw(st.sampled_from([None, (0,)])), draw(st.sampled_from([None, 0.5]))
    return one_node(op, [a, b], fed=fed, alpha=alpha, transA=int(flip_a), transB=int(flip_b))


@case_of("RMSNormalization")
def rms_normalization(draw, op):
    x = numbers(draw, draw(shapes(1, 4, least=1)))
    axis = axis_in(draw, x.ndim)
    scale = numbers(draw, x.shape[axis % x.ndim :])
    epsilon = draw(st.sampled_from([None, 0.01]))
    return one_node(op, [x, scale], fed=draw(FED), opset=23, axis=axis, epsilon=epsilon)


@case_of("GroupNormalization", "InstanceNormalization: of groups")
def group_normalization(draw, op):
    """Before opset 21 scale and bias are of groups. An epsilon this large keeps groups of one element apart
    from rounding."""
    groups = draw(st.integers(1, 3))
    x = numbers(draw, (draw(st.integers(1, 3)), groups * draw(st.integers(1, 2)), *draw(shapes(1, 2, 1))))
    settings = {"name": "GroupNormalization", "num_groups": groups, "epsilon": 0.01}
    if op == "GroupNormalization":
        vectors = [numbers(draw, x.shape[1:2]) for _ in range(2)]
        return one_node(op, [x, *vectors], fed=draw(FED), opset=21, **settings)
    vectors = [numbers(draw, (groups,)) for _ in range(2)]
    return one_node(op, [x, *vectors], fed=(0,), opset=18, **settings)


@case_of("MeanVarianceNormalization")
def mean_variance_normalization(draw, op):
    x = numbers(
        draw, (draw(st.integers(2, 4)), draw(st.integers(1, 3)), *draw(st.sampled_from([(2, 3), (4, 1)])))
    )
    axes = draw(st.sampled_from([None, [0, 2, 3], [0], [-4, 1], [0, 1, 2, 3]]))
    return one_node(op, [x], opset=13, axes=axes)


@case_of("LpNormalization")
def lp_normalization(draw, op):
    x = numbers(draw, draw(shapes(1, 4, least=1)))
    return one_node(op, [x], axis=axis_in(draw, x.ndim), p=draw(st.sampled_from([None, 1, 2])))


@case_of("LpNormalization: zeros")
def lp_normalization_of_zeros(draw, op):
    x = numbers(draw, draw(shapes(1, 4, least=1)), bool).astype(np.float32)
    return one_node(op, [x], axis=axis_in(draw, x.ndim), p=draw(st.sampled_from([None, 1, 2])))
