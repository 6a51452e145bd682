"""What CUDA's threads can do and Python cannot say: who they are, what they share, how they wait.

Together with ``arithmetic.py``, ``clusters.py`` and ``tinyseq.kernels.llvm.intrinsics`` this is all that a
kernel calls and that is no Python. A test's emulator gives each of these names a meaning in Python.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyseq.kernels.llvm.values import FLOAT, INT32, INT64

VOID = ir.VoidType()
SHARED_SPACE = 3
WARP = 32
"""Threads that run in step and can shuffle."""


def _function(builder, name: str, result, arguments: list):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _assembly(builder, text: str, constraints: str, result, arguments: list):
    """Inline PTX that the compiler may neither move nor drop."""
    function_type = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.asm(function_type, text, constraints, arguments, side_effect=True)


def _special_register(name: str, register: str, doc: str):
    def typing(typingctx):
        def codegen(context, builder, signature, args):
            value = builder.call(_function(builder, f"llvm.nvvm.read.ptx.sreg.{register}", INT32, []), [])
            return builder.zext(value, INT64)

        return types.int64(), codegen

    typing.__name__, typing.__doc__ = name, doc
    return intrinsic(typing)


thread = _special_register("thread", "tid.x", "This thread's number in its block.")
threads = _special_register("threads", "ntid.x", "Threads in a block.")
block = _special_register("block", "ctaid.x", "This block's number in the grid.")
blocks = _special_register("blocks", "nctaid.x", "Blocks in the grid.")


@intrinsic
def barrier(typingctx):
    """Waits for all threads of the block; what they wrote before it, all of them see after it."""

    def codegen(context, builder, signature, args):
        builder.call(_function(builder, "llvm.nvvm.barrier0", VOID, []), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def barrier_of(typingctx, count):
    """``barrier`` among the ``count`` threads of the block that call it, whole warps; one group at a time."""

    def codegen(context, builder, signature, args):
        count = builder.trunc(args[0], INT32)
        _assembly(builder, "bar.sync 1, $0;", "r,~{memory}", VOID, [count])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


class Array(NamedTuple):
    """Memory of a fixed size that a kernel asks for: ``space`` is shared or registers."""

    space: str
    element: types.Type
    count: int


def shared(element: types.Type, count: int):
    """An intrinsic that gives a pointer to ``count`` elements which the threads of a block share.

    A count of 0 is all that the launch asked for on top.
    """

    @intrinsic
    def reserve(typingctx):
        def codegen(context, builder, signature, args):
            item = context.get_value_type(element)
            name = builder.module.get_unique_name("shared")
            variable = cgutils.add_global_variable(
                builder.module, ir.ArrayType(item, count), name, addrspace=SHARED_SPACE
            )
            variable.align = 16
            if count:
                variable.linkage = "internal"
                variable.initializer = ir.Constant(variable.type.pointee, ir.Undefined)
            else:
                variable.linkage = "external"
            return builder.addrspacecast(
                builder.bitcast(variable, item.as_pointer(SHARED_SPACE)), item.as_pointer()
            )

        return types.CPointer(element)(), codegen

    reserve.array = Array("shared", element, count)
    return reserve


def registers(element: types.Type, count: int):
    """An intrinsic that gives a pointer to ``count`` elements of a thread's own.

    They are registers only if every index is a constant once loops are unrolled.
    """

    @intrinsic
    def reserve(typingctx):
        def codegen(context, builder, signature, args):
            with builder.goto_entry_block():
                slot = builder.alloca(context.get_value_type(element), count)
            slot.align = 16
            return slot

        return types.CPointer(element)(), codegen

    reserve.array = Array("registers", element, count)
    return reserve


def _load4(name: str, element, kind, suffix: str, register: str):
    def typing(typingctx, address):
        def codegen(context, builder, signature, args):
            text = f"ld.global.nc.v4.{suffix} {{$0, $1, $2, $3}}, [$4];"
            function_type = ir.FunctionType(ir.LiteralStructType([kind] * 4), [INT64])
            constraints = f"={register},={register},={register},={register},l"
            loaded = builder.asm(function_type, text, constraints, args, side_effect=False)
            values = [builder.extract_value(loaded, place) for place in range(4)]
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(element, 4)(types.int64), codegen

    typing.__name__ = name
    typing.__doc__ = f"""The four {element} at an address that is a multiple of 16, by one load; while the
    kernel runs they are not written."""
    return intrinsic(typing)


load4 = _load4("load4", types.float32, FLOAT, "f32", "f")
load4_integers32 = _load4("load4_integers32", types.int32, INT32, "b32", "r")


GLOBAL_SPACE = 1


def _floats_at(builder, address, count: int):
    """A pointer to so many float32 of the device's memory."""
    return builder.inttoptr(address, ir.VectorType(FLOAT, count).as_pointer(GLOBAL_SPACE))


def _read(count: int):
    def typing(typingctx, address):
        def codegen(context, builder, signature, args):
            loaded = builder.load(_floats_at(builder, args[0], count), align=4 * count)
            values = [builder.extract_element(loaded, INT32(place)) for place in range(count)]
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(types.float32, count)(types.int64), codegen

    typing.__name__ = f"read{count}"
    typing.__doc__ = f"""The {count} float32 at an address that is a multiple of {4 * count}, by one load;
    they may be written to."""
    return intrinsic(typing)


read4 = _read(4)


def _stored(builder, address, values):
    stored = ir.Constant(ir.VectorType(FLOAT, len(values)), ir.Undefined)
    for place, value in enumerate(values):
        stored = builder.insert_element(stored, value, INT32(place))
    builder.store(stored, _floats_at(builder, address, len(values)), align=4 * len(values))


@intrinsic
def write4(typingctx, address, a, b, c, d):
    """Stores four float32 at an address that is a multiple of 16."""

    def codegen(context, builder, signature, args):
        _stored(builder, args[0], args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, *[types.float32] * 4), codegen


@intrinsic
def again(typingctx, value):
    """The int64 itself; what is made of it is worked out anew, so that nothing has to be kept for it."""

    def codegen(context, builder, signature, args):
        return _assembly(builder, "mov.b64 $0, $1;", "=l,l", INT64, args)

    return types.int64(types.int64), codegen


@intrinsic
def settled(typingctx, value):
    """The int32 itself, by a shuffle that changes nothing, so that it is worked out here: else the linker may
    keep what it is made of instead, in more registers. All threads of a warp take part."""

    def codegen(context, builder, signature, args):
        text = "shfl.sync.bfly.b32 $0, $1, 0, 31, 0xffffffff;"
        return _assembly(builder, text, "=r,r", INT32, args)

    return types.int32(types.int32), codegen


def _copy(name: str, size: int, policy: str):
    def typing(typingctx, target, place, source):
        def codegen(context, builder, signature, args):
            here = builder.addrspacecast(args[0], args[0].type.pointee.as_pointer(SHARED_SPACE))
            here = builder.ptrtoint(builder.gep(here, [args[1]]), INT32)
            text = f"cp.async.{policy}.shared.global [$0], [$1], {size};"
            _assembly(builder, text, "r,l,~{memory}", VOID, [here, args[2]])
            return context.get_dummy_value()

        return types.void(target, types.int64, types.int64), codegen

    typing.__name__ = name
    typing.__doc__ = f"""Has {size} bytes at an address copied to a place of shared memory, both of them
    multiples of {size}; see ``copies``."""
    return intrinsic(typing)


copy4 = _copy("copy4", 4, "ca")
copy16 = _copy("copy16", 16, "cg")


@intrinsic
def copies(typingctx):
    """Makes a group of what this thread has had copied since the last group."""

    def codegen(context, builder, signature, args):
        _assembly(builder, "cp.async.commit_group;", "~{memory}", VOID, [])
        return context.get_dummy_value()

    return types.void(), codegen


def copied(pending: int):
    """An intrinsic that waits until this thread's groups are copied, all but the last ``pending``."""

    @intrinsic
    def wait(typingctx):
        def codegen(context, builder, signature, args):
            _assembly(builder, f"cp.async.wait_group {pending};", "~{memory}", VOID, [])
            return context.get_dummy_value()

        return types.void(), codegen

    wait.pending = pending
    return wait


@intrinsic
def four(typingctx, pointer, place):
    """The four float32 behind a pointer from ``place`` on, by one load; they begin at a multiple of four."""
    signature = types.UniTuple(types.float32, 4)(pointer, types.int64)

    def codegen(context, builder, signature, args):
        start = builder.gep(args[0], [args[1]])
        loaded = builder.load(builder.bitcast(start, ir.VectorType(FLOAT, 4).as_pointer()), align=16)
        values = [builder.extract_element(loaded, INT32(number)) for number in range(4)]
        return context.make_tuple(builder, signature.return_type, values)

    return signature, codegen


@intrinsic
def shuffle_xor(typingctx, value, mask):
    """The float32 that the thread whose number in the warp differs by ``mask`` gives; all 32 take part."""

    def codegen(context, builder, signature, args):
        function = _function(builder, "llvm.nvvm.shfl.sync.bfly.f32", FLOAT, [INT32, FLOAT, INT32, INT32])
        all_threads, clamp = INT32(0xFFFFFFFF), INT32(WARP - 1)
        return builder.call(function, [all_threads, args[0], builder.trunc(args[1], INT32), clamp])

    return types.float32(types.float32, types.int64), codegen


@intrinsic
def shuffle(typingctx, value, source):
    """The float32 that the thread of number ``source`` in the warp gives; all 32 take part."""

    def codegen(context, builder, signature, args):
        function = _function(builder, "llvm.nvvm.shfl.sync.idx.f32", FLOAT, [INT32, FLOAT, INT32, INT32])
        all_threads, clamp = INT32(0xFFFFFFFF), INT32(WARP - 1)
        return builder.call(function, [all_threads, args[0], builder.trunc(args[1], INT32), clamp])

    return types.float32(types.float32, types.int64), codegen


@intrinsic
def acquire(typingctx, address):
    """The int32 at an address as all of the device sees it, and with it all that was written before
    it was released."""

    def codegen(context, builder, signature, args):
        return _assembly(builder, "ld.acquire.gpu.global.s32 $0, [$1];", "=r,l,~{memory}", INT32, args)

    return types.int32(types.int64), codegen


@intrinsic
def release_add(typingctx, address, value):
    """Adds to the int32 at an address; who acquires the sum sees all that this thread wrote before."""

    def codegen(context, builder, signature, args):
        _assembly(builder, "red.release.gpu.global.add.s32 [$0], $1;", "l,r,~{memory}", VOID, args)
        return context.get_dummy_value()

    return types.void(types.int64, types.int32), codegen


@intrinsic
def arrive_in_turn(typingctx, address, last):
    """Counts the int32 at an address up to ``last``, and then to zero; gives what it was. Who is given
    ``last`` sees all that the others wrote before they counted."""

    def codegen(context, builder, signature, args):
        text = "atom.acq_rel.gpu.global.inc.u32 $0, [$1], $2;"
        return _assembly(builder, text, "=r,l,r,~{memory}", INT32, args)

    return types.int32(types.int64, types.int32), codegen


@intrinsic
def load_fresh(typingctx, address):
    """The float32 at an address, not from a cache that other blocks' writes may have passed by."""

    def codegen(context, builder, signature, args):
        return _assembly(builder, "ld.relaxed.gpu.global.f32 $0, [$1];", "=f,l,~{memory}", FLOAT, args)

    return types.float32(types.int64), codegen


def _load_fresh4(name: str, element, kind, suffix: str, register: str):
    def typing(typingctx, address):
        def codegen(context, builder, signature, args):
            four = ir.LiteralStructType([kind] * 4)
            text = f"ld.relaxed.gpu.global.v4.{suffix} {{$0, $1, $2, $3}}, [$4];"
            constraints = f"={register},={register},={register},={register},l,~{{memory}}"
            loaded = _assembly(builder, text, constraints, four, args)
            values = [builder.extract_value(loaded, place) for place in range(4)]
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(element, 4)(types.int64), codegen

    typing.__name__ = name
    typing.__doc__ = f"""``load_fresh`` of the four {element} at an address that is a multiple of 16."""
    return intrinsic(typing)


load_fresh4 = _load_fresh4("load_fresh4", types.float32, FLOAT, "f32", "f")
load_fresh4_integers32 = _load_fresh4("load_fresh4_integers32", types.int32, INT32, "b32", "r")
