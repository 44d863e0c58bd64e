"""Compiles functions of vectors into one kernel, runs it on arrays, and counts units in the last place."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from emulation import compiled
from targets import EMULATED_SINGLE, SINGLE
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.codegen.functions import apply_function
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder
from tensorwright.codegen.values import Pointer, Register
from tensorwright.tensor.dtype import INT64, DType, dtype_of
from tensorwright.tune.cpu.loaded import LoadedFunction

Array = npt.NDArray[np.generic]
Body = Callable[[FunctionBuilder, Sequence[Register]], Register]

WIDTHS = [(name, lanes) for name in (*SINGLE, *EMULATED_SINGLE) for lanes in (TARGETS[name].float_lanes, 1)]


def applied(function: str, dtype: DType) -> Body:
    return lambda builder, operands: apply_function(builder, function, operands, dtype)


def kernel_text(
    bodies: Sequence[tuple[Body, DType]], operands: Sequence[DType], target_name: str, lanes: int, name: str = "kernel"
) -> str:
    """A kernel over `%n` elements, a multiple of the lanes: operands first, then one result for every body."""
    builder = FunctionBuilder(target=TARGETS[target_name])
    with builder.loop(0, Register("%n", INT64), lanes) as loop:
        values = [
            builder.load(builder.offset(Pointer(f"%a{i}"), loop.index, dtype), dtype, lanes)
            for i, dtype in enumerate(operands)
        ]
        for i, (body, dtype) in enumerate(bodies):
            builder.store(body(builder, values), builder.offset(Pointer(f"%o{i}"), loop.index, dtype), dtype)
    parameters = [f"ptr noalias %a{i}" for i in range(len(operands))] + [
        f"ptr noalias %o{i}" for i in range(len(bodies))
    ]
    return builder.module(f"void @{name}({', '.join([*parameters, 'i64 %n'])})", FUNCTION_ATTRIBUTES)


def run(bodies: Sequence[tuple[Body, DType]], arrays: Sequence[Array], target_name: str, lanes: int) -> list[Array]:
    """What the bodies give for the arrays, whose common length is a multiple of the lanes."""
    arrays = [np.ascontiguousarray(array) for array in arrays]
    length = arrays[0].size
    assert length % lanes == 0
    text = kernel_text(bodies, [dtype_of(array.dtype) for array in arrays], target_name, lanes)
    code, own = compiled(text, TARGETS[target_name])
    pointers = [ctypes.c_void_p] * (len(arrays) + len(bodies))
    kernel = LoadedFunction("kernel", code, own, [*pointers, ctypes.c_int64])
    outputs = [np.frombuffer(b"\xa5" * (length * dtype.size), dtype.numpy).copy() for _, dtype in bodies]
    kernel.call(*[array.ctypes.data for array in [*arrays, *outputs]], length)
    return outputs


def units_in_the_last_place(actual: Array, exact: Array) -> npt.NDArray[np.float64]:
    """The distance of results from more precise ones, in units of the results' last digit.

    0 for equal infinities and for NaN where NaN is due; infinite where just one of both is such, or where the results
    overflowed and the exact ones, rounded, do not.
    """
    limits = np.finfo(actual.dtype)
    with np.errstate(all="ignore"):
        expected, wide = exact.astype(actual.dtype), exact.astype(np.longdouble)
        exponent = np.floor(np.log2(np.maximum(np.abs(wide), np.longdouble(limits.tiny))))
        unit = np.ldexp(np.longdouble(1), exponent.astype(np.int32) - limits.nmant)
        distance = np.abs(actual.astype(np.longdouble) - wide) / unit
        special = ~(np.isfinite(actual) & np.isfinite(expected))
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    return np.where(special, np.where(same, 0.0, np.inf), distance).astype(np.float64)
