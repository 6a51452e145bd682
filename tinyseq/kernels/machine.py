"""The machine: walks a program and calls each row's kernel.

Its dispatch is made from the instruction table, so that table, kernels and machine cannot disagree:
a kernel's parameters are its instruction's operands, in the same order and by the same names.
"""

from __future__ import annotations

import inspect

from tinyseq.kernels.elementwise import elementwise, fill
from tinyseq.kernels.instructions import INSTRUCTIONS, SEGMENT_SHIFT, Instruction
from tinyseq.kernels.intrinsics import address_of, compiled, denormals_off, denormals_restore, integers
from tinyseq.kernels.product import linear
from tinyseq.kernels.recurrent import gru_reset_after, gru_reset_before, lstm, rnn
from tinyseq.kernels.switch import switch

KERNELS = {
    kernel.__name__: kernel
    for kernel in (fill, elementwise, linear, rnn, lstm, gru_reset_after, gru_reset_before)
}

OFFSET_MASK = (1 << SEGMENT_SHIFT) - 1


@compiled()
def _resolve(word, segments):
    """The process address of an address operand."""
    return integers(segments)[word >> SEGMENT_SHIFT] + (word & OFFSET_MASK)


def _decoder(instruction: Instruction):
    """A function that reads a row's operands and calls its kernel."""
    parameters = tuple(operand.lstrip("&*") for operand in instruction.operands)
    kernel = KERNELS[instruction.name]
    if tuple(inspect.signature(kernel.py_func).parameters) != parameters:
        raise TypeError(f"kernel {instruction.name} does not take the operands {parameters}")
    values = {
        "&": "resolve(words[{}], segments)",
        "*": "row + {} * 8",
    }
    arguments = ", ".join(
        values.get(operand[0], "words[{}]").format(position)
        for position, operand in enumerate(instruction.operands, start=2)
    )
    source = f"def decode(row, segments):\n    words = integers(row)\n    kernel({arguments})"
    namespace = {"kernel": kernel, "resolve": _resolve, "integers": integers}
    exec(source, namespace)
    return compiled()(namespace["decode"])


_execute = switch("execute", [_decoder(row) for row in INSTRUCTIONS], ("row", "segments"))


def machine(context):
    """Runs a program.

    ``context`` points to int64 words: the address of the program, its length in words, then the
    address of each segment. Denormal numbers count as zero while it runs.
    """
    former = denormals_off()
    row = context[0]
    end = row + context[1] * 8
    segments = address_of(context) + 16
    while row < end:
        _execute(integers(row)[0], row, segments)
        row += integers(row)[1] * 8
    denormals_restore(former)
