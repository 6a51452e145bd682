"""The machine: walks a program and calls each row's kernel.

Its dispatch is made from the instruction table, so that table, kernels and machine cannot disagree:
a kernel's parameters are its instruction's operands, in the same order and by the same names.
"""

from __future__ import annotations

import inspect

from tinyseq.kernels.compute.blocks import blocks, resolve
from tinyseq.kernels.compute.elementwise import elementwise, fill, shift
from tinyseq.kernels.compute.indexing import (
    extreme,
    extreme_integer,
    finite,
    gather,
    gather_elements,
    top_k,
    top_k_integer,
    within,
)
from tinyseq.kernels.compute.jumps import jump, jump_unless, run, spend, turn
from tinyseq.kernels.compute.normalise import normalise
from tinyseq.kernels.compute.product import pack, products
from tinyseq.kernels.compute.quantized import linear_bytes, quantize_dynamic
from tinyseq.kernels.compute.recurrent import abreast, recurrent
from tinyseq.kernels.compute.sharing import let_go
from tinyseq.kernels.compute.softmax import softmax
from tinyseq.kernels.compute.weighted import linear
from tinyseq.kernels.compute.windows import windows
from tinyseq.kernels.depthwise import depthwise
from tinyseq.kernels.instructions import CONTEXT, FAILED, INSTRUCTIONS, OPERANDS, TEAM, Instruction
from tinyseq.kernels.llvm.intrinsics import (
    address_of,
    compiled,
    denormals_off,
    denormals_restore,
    integers,
)
from tinyseq.kernels.llvm.switch import switch
from tinyseq.kernels.search.beam import beam, feed, unroll
from tinyseq.kernels.search.ctc_beam import ctc_beam
from tinyseq.kernels.search.ctc_path import ctc_best_path
from tinyseq.kernels.search.hypotheses import hypotheses, settle
from tinyseq.kernels.search.ranking import usable_rows
from tinyseq.kernels.search.sampling import pick, warp
from tinyseq.kernels.search.scores import (
    apply_temperature,
    ban_ngrams,
    ban_tokens,
    force_token,
    log_softmax,
    penalize_repetition,
)
from tinyseq.kernels.search.transducer import transducer_beam, transducer_path

KERNELS = {
    kernel.__name__: kernel
    for kernel in (
        *(fill, shift, elementwise, pack, linear, products, depthwise, softmax, normalise),
        *(gather, gather_elements, within, finite, extreme, extreme_integer, top_k, top_k_integer),
        *(jump, jump_unless, turn, spend, run, blocks, windows),
        *(quantize_dynamic, linear_bytes, recurrent, abreast),
        *(
            log_softmax,
            apply_temperature,
            ban_tokens,
            force_token,
            penalize_repetition,
            ban_ngrams,
            feed,
            unroll,
            warp,
            pick,
            beam,
        ),
        *(usable_rows, ctc_best_path, ctc_beam, transducer_path, transducer_beam, settle, hypotheses),
    )
}


def _decoder(instruction: Instruction):
    """A function that reads a row's operands and calls its kernel."""
    parameters = OPERANDS[instruction.name]
    kernel = KERNELS[instruction.name]
    if tuple(inspect.signature(kernel.py_func).parameters) != parameters + ("team",) * instruction.shares:
        raise TypeError(f"kernel {instruction.name} does not take the operands {parameters}")
    values = {
        "&": "resolve(words[{}], segments)",
        "*": "row + {} * 8",
        "@": "segments",
    }
    arguments = ", ".join(
        values.get(operand[0], "words[{}]").format(position)
        for position, operand in enumerate(instruction.operands, start=2)
    ) + (", team" if instruction.shares else "")
    returned = "return kernel" if instruction.returns else "kernel"
    source = f"""def decode(row, segments, team):
    words = integers(row)
    {returned}({arguments})
    return 0"""
    namespace = {"kernel": kernel, "resolve": resolve, "integers": integers}
    exec(source, namespace)
    return compiled()(namespace["decode"])


_execute = switch("execute", [_decoder(row) for row in INSTRUCTIONS], ("row", "segments", "team"))


def machine(context):
    """Runs a program; gives -1, or the place in words of the instruction that failed and ended it.

    ``context`` points to int64 words: the address of the program, its length in words, two that stand for
    the team, see ``compute/sharing.py``, then the address of each segment. Denormal numbers count as zero
    while it runs. Another thread may set the length to 0: then it ends before the next instruction.
    """
    former = denormals_off()
    row = context[0]
    team, segments = address_of(context) + TEAM * 8, address_of(context) + CONTEXT * 8
    context[TEAM + 1] = 0
    failed = -1
    while row < context[0] + context[1] * 8:
        further = _execute(integers(row)[0], row, segments, team)
        if further == FAILED:
            failed = (row - context[0]) // 8
            break
        else:
            row += (integers(row)[1] + further) * 8
    let_go(team)
    denormals_restore(former)
    return failed
