"""Clusters: blocks that run at once and can read each other's shared memory; since when, and intrinsics."""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from tinyseq.kernels.cuda.intrinsics import VOID, _assembly
from tinyseq.kernels.llvm.values import INT32, INT64

CLUSTERS_SINCE = (9, 0)
"""The compute capability from which on there are clusters."""


@intrinsic
def cluster_rank(typingctx):
    """This block's number in its cluster."""

    def codegen(context, builder, signature, args):
        value = _assembly(builder, "mov.u32 $0, %cluster_ctarank;", "=r", INT32, [])
        return builder.zext(value, INT64)

    return types.int64(), codegen


def _arrive(name: str, order: str, doc: str):
    def typing(typingctx):
        def codegen(context, builder, signature, args):
            _assembly(builder, f"barrier.cluster.arrive.{order}.aligned;", "~{memory}", VOID, [])
            return context.get_dummy_value()

        return types.void(), codegen

    typing.__name__, typing.__doc__ = name, doc
    return intrinsic(typing)


cluster_arrive = _arrive(
    "cluster_arrive", "release", "Says that this thread has written what the blocks of its cluster wait for."
)
cluster_begun = _arrive(
    "cluster_begun", "relaxed", "``cluster_arrive`` of a thread that has not written anything for others yet."
)


@intrinsic
def cluster_wait(typingctx):
    """Waits until all threads of the cluster have arrived; what they wrote before, all see after it."""

    def codegen(context, builder, signature, args):
        _assembly(builder, "barrier.cluster.wait.acquire.aligned;", "~{memory}", VOID, [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def neighbour(typingctx, pointer, rank):
    """The same place in the shared memory of another block of the cluster."""
    signature = pointer(pointer, types.int64)

    def codegen(context, builder, signature, args):
        address = builder.ptrtoint(args[0], INT64)
        rank = builder.trunc(args[1], INT32)
        mapped = _assembly(builder, "mapa.u64 $0, $1, $2;", "=l,l,r", INT64, [address, rank])
        return builder.inttoptr(mapped, args[0].type)

    return signature, codegen
