"""What this machine can do at best, measured."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import numpy as np

from tensorwright.base.errors import BuildError
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.tensor.dtype import FLOAT32, INT64
from tensorwright.tune.cpu.loaded import LoadedFunction
from tensorwright.tune.cpu.peak import measured_peak
from tensorwright.tune.machine import Capacities, Machine, MemoryLevel

_ROUND_BYTES = 16 << 20
"""Bytes that a thread reads in one round, in as many passes as its data need."""
REPEATS, LONG_REPEATS, LONG_ROUND = 5, 2, 128 << 20
"""So many rounds are measured, or so many of those in which a thread reads so many bytes or more."""
_BEYOND_CACHES = 96 << 20
_USUAL_L3 = 16 << 20
LEVELS = ("L1", "L2", "L3", "memory")


def measured_machine(target: Target, threads: int) -> Machine:
    """Takes about half a second."""
    levels = capacities(target, threads)
    l1, l2, l3, _ = (held for _, held in levels)
    sizes = [l1 // 2 // threads, l2 // 2 // threads, l3 // 3 // threads, _beyond_caches() // threads]
    read = _reader(target)
    speeds = [_gigabytes_per_second(read, size, threads) for size in sizes]
    measured = tuple(MemoryLevel(n, b, s) for (n, b), s in zip(levels, speeds, strict=True))
    return Machine(measured_peak(target) * threads, measured)


def measured_speed(target: Target, size: int, threads: int) -> float | None:
    """GB/s at which all threads together read so many bytes, in parts of their own, over and over.

    None if they are so few or so many that this is the speed of a level.
    """
    if not _l3_bytes() // 3 < size < _beyond_caches():
        return None
    return _gigabytes_per_second(_reader(target), size // threads, threads)


def _beyond_caches() -> int:
    return max(_BEYOND_CACHES, 3 * _l3_bytes() // 2)


def capacities(target: Target, threads: int) -> Capacities:
    """What the levels of memory hold for so many threads."""
    sizes = target.l1_bytes * threads, target.l2_bytes * threads, _l3_bytes(), 0
    return list(zip(LEVELS, sizes, strict=True))


def _l3_bytes() -> int:
    """Of the first processor, as Linux writes it: ``32768K``."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index3/size").read_text().strip()
        return int(text.removesuffix("K")) << 10
    except (ValueError, OSError):
        return _USUAL_L3


Reader = Callable[[int, int, int], None]
"""Reads (address, vectors of all chains, passes)."""


def _reader(target: Target) -> Reader:
    arguments = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
    function = LoadedFunction("read", compile_object(_reading(target), target), target, arguments)
    stride = _chains(target) * target.vector_bytes
    return lambda address, size, passes: function.call(address, size // stride, passes)


def _chains(target: Target) -> int:
    """Sums that do not wait for each other, enough to hide how long an addition takes."""
    return 3 * target.registers // 8


def _reading(target: Target) -> str:
    """A function that adds up all vectors of some memory, several times."""
    builder, lanes, chains = FunctionBuilder(target=target), target.float_lanes, _chains(target)
    zero = literal(0.0, FLOAT32, lanes)
    with builder.loop(0, Register("%passes", INT64), carried=[zero] * chains, at_least_once=True) as outer:
        with builder.loop(0, Register("%count", INT64), carried=outer.carried, at_least_once=True) as inner:
            base = builder.offset(Pointer("%data"), builder.scaled(inner.index, chains * lanes), FLOAT32)
            inner.following = [
                builder.add(chain, builder.load(builder.offset(base, number * lanes, FLOAT32), FLOAT32, lanes))
                for number, chain in enumerate(inner.carried)
            ]
        outer.following = inner.final
    totals = outer.final
    for number, total in enumerate(totals):
        builder.store(total, builder.offset(Pointer("%data"), number * lanes, FLOAT32), FLOAT32)
    return builder.module("void @read(ptr %data, i64 %count, i64 %passes)", FUNCTION_ATTRIBUTES)


def _gigabytes_per_second(read: Reader, size: int, threads: int) -> float:
    """The best of several rounds of all threads, each with `size` bytes of its own; long rounds differ little."""
    repeats = LONG_REPEATS if size >= LONG_ROUND else REPEATS
    arrays = [np.ones(size, np.uint8) for _ in range(threads)]
    passes = max(1, _ROUND_BYTES // size)
    best = min(_round(read, arrays, size, passes) for _ in range(repeats))
    return threads * size * passes / best / 1e9


def _round(read: Reader, arrays: list[np.ndarray[tuple[int], np.dtype[np.uint8]]], size: int, passes: int) -> float:
    gate = threading.Barrier(len(arrays))

    def work(address: int) -> None:
        with suppress(threading.BrokenBarrierError):
            gate.wait()
            read(address, size, passes)

    others = [threading.Thread(target=work, args=(array.ctypes.data,)) for array in arrays[1:]]
    try:
        for thread in others:
            thread.start()
    except RuntimeError as error:
        gate.abort()
        raise BuildError(
            f"the system refused to start {len(others)} more threads: {error}; build with fewer threads, or at level 0"
        ) from error
    read(arrays[0].ctypes.data, size, 1)
    gate.wait()
    start = perf_counter()
    read(arrays[0].ctypes.data, size, passes)
    for thread in others:
        thread.join()
    return perf_counter() - start
