"""The arithmetic peak of this machine, measured: the denominator of every share of the peak."""

from __future__ import annotations

import ctypes
from time import perf_counter

import numpy as np

from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.tensor.dtype import FLOAT32, INT64
from tensorwright.tune.cpu.loaded import LoadedFunction

_ROUNDS = 100_000


def measured_peak(target: Target, repeats: int = 9) -> float:
    """GFLOP/s of one core doing nothing but float32 multiply-adds that do not wait for each other.

    The best of several runs of a few milliseconds each.
    """
    chains = 3 * target.registers // 4
    arguments = ctypes.c_void_p, ctypes.c_int64
    function = LoadedFunction("peak", compile_object(_chains(chains, target), target), target, arguments)
    data = np.full(chains * target.float_lanes, 0.5, np.float32)
    function.call(data.ctypes.data, _ROUNDS // 10)
    best = min(_timed(function, data.ctypes.data) for _ in range(repeats))
    return 2 * chains * target.float_lanes * _ROUNDS / best / 1e9


def _timed(function: LoadedFunction, address: int) -> float:
    start = perf_counter()
    function.call(address, _ROUNDS)
    return perf_counter() - start


def _chains(count: int, target: Target) -> str:
    """A function that runs `count` independent chains of multiply-adds for a number of rounds."""
    builder, lanes = FunctionBuilder(target=target), target.float_lanes
    factor = builder.load(Pointer("%data"), FLOAT32, lanes)
    zero = literal(0.0, FLOAT32, lanes)
    with builder.loop(0, Register("%rounds", INT64), 1, [zero] * count, at_least_once=True) as loop:
        loop.following = [builder.fma(chain, factor, factor) for chain in loop.carried]
    sums = loop.final
    for number, value in enumerate(sums):
        builder.store(value, builder.offset(Pointer("%data"), number * lanes, FLOAT32), FLOAT32)
    return builder.module("void @peak(ptr %data, i64 %rounds)", FUNCTION_ATTRIBUTES)
