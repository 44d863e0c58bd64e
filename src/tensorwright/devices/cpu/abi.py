"""The contract between generated code and the runtime on a CPU.

A plan's image has three entries, all with the C calling convention:

``run(ptr context)``
    one inference; the calling thread does the part of thread 0, after waking the others.
``worker(ptr context, i64 thread)``
    the life of thread 1 … threads-1: waits (spins for a bounded time, then sleeps) for the wake counter to change,
    takes part in one inference, waits again; returns once the stop flag is set.
``stop(ptr context)``
    sets the stop flag and wakes all workers, so that they return.

The wake counter is read when a worker starts, so `run` may be called only after every worker has counted itself in:
each worker adds one to READY before it waits, and the runtime waits for READY to reach threads-1.

`context` points to CONTEXT_FIELDS, each 8 bytes. `team` points to `team_bytes` of zeroed memory aligned to 128 bytes,
with one 32-bit counter at each of the TEAM_* offsets and, from TEAM_CLAIMS on, one per thread every CLAIM_BYTES: far
enough apart to share no cache line, but for FIRST, which is written and read together with WAKE.
"""

from __future__ import annotations

CONTEXT_FIELDS = (
    "bindings",  # ptr to one ptr per binding, in the order of the plan
    "arena",  # ptr to arena_bytes, aligned to 64 bytes
    "workspace",  # ptr to threads × workspace_bytes, aligned to 64 bytes
    "weights",  # ptr to the packed constants
    "symbols",  # ptr to one i64 per symbol, in the order of the plan
    "team",  # ptr to the counters of the threads
    "threads",  # i64, number of threads that take part
    "profile",  # null, or ptr to (steps + 1) zeros, u64, which become the cycle counter before, between and after steps
    "syscall",  # null, or the address of the C library's `long syscall(long, ...)`, for futex wait and wake on Linux
)
CONTEXT_BYTES = 8 * len(CONTEXT_FIELDS)

TEAM_ARRIVED = 0
TEAM_GENERATION = 128
TEAM_WAKE = 256
TEAM_FIRST = 260
TEAM_STOP = 384
TEAM_READY = 512
TEAM_SLEEPERS = 640
TEAM_CLAIMS = 768
CLAIM_BYTES = 128

ALIGNMENT = 64


def team_bytes(threads: int) -> int:
    """Bytes of the counters of a team."""
    return TEAM_CLAIMS + CLAIM_BYTES * threads


def field_offset(name: str) -> int:
    """Byte offset of a context field."""
    return 8 * CONTEXT_FIELDS.index(name)
