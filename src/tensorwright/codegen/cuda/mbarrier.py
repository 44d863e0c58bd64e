"""Barriers in shared memory that count arrivals and bytes, and copies whose bytes they count: `mbarrier` and the copy
engine of sm_90 ("mbarrier" and "cp.async.bulk" in the PTX manual).

A barrier goes through phases. One is complete when as many threads have arrived as it was made for, and as many bytes
have come as were announced. Who waits names the parity of a phase; before the first one the parity 1 is complete.
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Pointer, Register
from tensorwright.tensor.dtype import BOOL, INT64

BARRIER_BYTES = 8


def make_barrier(builder: FunctionBuilder, barrier: Register, arrivals: int) -> None:
    """Make a barrier, by one thread. barrier: its address in shared memory, i32, a multiple of 8."""
    _assembly(builder, "mbarrier.init.shared::cta.b64 [$0], $1;", "r,n", barrier.typed, f"i32 {arrivals}")


def publish_barriers(builder: FunctionBuilder) -> None:
    """Barriers that this thread made may be used by the copy engine, and by threads once they have met it."""
    _assembly(builder, "fence.mbarrier_init.release.cluster;", "")
    _assembly(builder, "fence.proxy.async.shared::cta;", "")


def arrive(builder: FunctionBuilder, barrier: Register, condition: Register) -> None:
    """Say that this thread has done what those that wait for the barrier wait for, where a condition holds.

    Threads of a warp do not part for that.
    """
    _assembly(builder, "@$1 mbarrier.arrive.shared::cta.b64 _, [$0];", "r,b", barrier.typed, condition.typed)


def announce(builder: FunctionBuilder, barrier: Register, size: int) -> None:
    """Arrive, and announce bytes of copies that the barrier's phase waits for, too."""
    text = "mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;"
    _assembly(builder, text, "r,n", barrier.typed, f"i32 {size}")


def wait_for_phase(builder: FunctionBuilder, barrier: Register, parity: Register) -> None:
    """Wait until the phase of a parity (i32, 0 or 1) is complete; what was done before it is seen then."""
    waiting, complete = builder.new_label("waiting"), builder.new_label("complete")
    builder.emit(f"br label %{waiting}")
    builder.start_block(waiting)
    text = "mbarrier.try_wait.parity.shared::cta.b64 $0, [$1], $2;"
    call = f'call i1 asm sideeffect "{text}", "=b,r,r,~{{memory}}"({barrier.typed}, {parity.typed})'
    done = builder.value(f"{call} nounwind", BOOL)
    builder.emit(f"br {done.typed}, label %{complete}, label %{waiting}")
    builder.start_block(complete)


def copy_run(builder: FunctionBuilder, to: Register, source: Pointer, size: int, barrier: Register) -> None:
    """Begin to copy neighbouring bytes to shared memory, a multiple of 16 from and to one; the barrier counts them."""
    text = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [$0], [$1], $2, [$3];"
    address = builder.value(f"ptrtoint ptr {source.text} to i64", INT64)
    _assembly(builder, text, "r,l,n,r", to.typed, address.typed, f"i32 {size}", barrier.typed)


def copy_box(
    builder: FunctionBuilder, to: Register, tensor_map: Pointer, first: Sequence[Register], barrier: Register
) -> None:
    """Begin to copy a box of a tensor to shared memory, swizzled; the barrier counts all of its bytes.

    first: the index (i32) of its first element along each axis, innermost first. to: a multiple of 1024.
    """
    rank = len(first)
    places = ", ".join(f"${3 + axis}" for axis in range(rank))
    text = (
        f"cp.async.bulk.tensor.{rank}d.shared::cluster.global.mbarrier::complete_tx::bytes "
        f"[$0], [$1, {{{places}}}], [$2];"
    )
    address = builder.value(f"ptrtoint ptr {tensor_map.text} to i64", INT64)
    operands = [to.typed, address.typed, barrier.typed, *(index.typed for index in first)]
    _assembly(builder, text, ",".join(["r", "l", "r", *["r"] * rank]), *operands)


def _assembly(builder: FunctionBuilder, text: str, constraints: str, *operands: str) -> None:
    known = ",".join([*([constraints] if constraints else []), "~{memory}"])
    builder.emit(f'call void asm sideeffect "{text}", "{known}"({", ".join(operands)}) nounwind')
