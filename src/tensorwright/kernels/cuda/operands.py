"""How the operands of products and convolutions lie, and whether their columns come in whole vectors."""

from __future__ import annotations

import numpy as np

from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.graph.expression import Load, depends, walk
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.tactic import AnyConfig, Array, Packing, pack_channels
from tensorwright.tensor.dim import Dim, IntegerExpression
from tensorwright.tensor.layout import PLAIN, Layout

_DROPPED = 13
"""Bits of a float32 that TF32 does not have."""


def layouts(region: Region, problem: Problem) -> tuple[Layout, ...]:
    """What the epilogue reads lies like the output where it can."""
    shape, found = region.output.type.shape, []
    for number, type in enumerate(region.input_types):
        alike = type.rank == len(shape) and type.rank > 2 and type.shape[1] == shape[1] != 1
        is_operand = number in (problem.right, problem.bias)
        found.append(problem.layout if number == problem.left or (alike and not is_operand) else PLAIN)
    return tuple(found)


def packings(region: Region, problem: Problem, config: AnyConfig, weights: Packing) -> tuple[Packing | None, ...]:
    """How constant operands are packed. weights: how the right one is."""
    found: list[Packing | None] = [
        None if layout.is_plain or not is_constant(value) else pack_channels(layout.block, 1)
        for value, layout in zip(region.inputs, config.inputs, strict=True)
    ]
    if problem.moving is None:
        found[problem.right] = weights
    if problem.bias is not None:
        found[problem.bias] = pack_bias(problem)
    return tuple(found)


def pack_bias(problem: Problem) -> Packing:
    """``[O]`` padded with zeros to whole groups of columns."""
    return Packing("bias of fragments", lambda array: np.pad(array, (0, problem.groups * GROUP - len(array))))


def nearest_tf32(array: Array) -> Array:
    """float32 rounded to the nearest numbers that TF32 has, ties away from zero."""
    bits = np.ascontiguousarray(array).view(np.uint32).astype(np.uint64)
    nearest = (bits + (1 << _DROPPED - 1)) >> _DROPPED << _DROPPED
    return np.where(np.isfinite(array), nearest.astype(np.uint32).view(np.float32), array)


def is_aligned(region: Region, inputs: tuple[Layout, ...], output: Layout, lanes: int) -> bool:
    """Whether so many neighbouring columns are whole vectors in everything that the epilogue reads and writes."""
    epilogue = epilogue_of(region, inputs, output)
    lane = epilogue.variables[-1]
    loads = [n for n in walk(epilogue.flat.body) if isinstance(n, Load) and n.operand < len(region.inputs)]
    addresses: list[Dim] = [epilogue.flat.address, *(index for load in loads for index in load.index)]
    return all(
        coefficient % lanes == 0 or monomial == (lane,)
        for address in addresses
        if isinstance(address, IntegerExpression) and depends(address, lane)
        for monomial, coefficient in address.terms
    )
