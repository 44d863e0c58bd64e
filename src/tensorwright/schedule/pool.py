"""Several programs over one block of packed constants."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import xxhash

from tensorwright.base.pages import map_pages
from tensorwright.plan.plan import Address
from tensorwright.schedule.lower import rounded
from tensorwright.schedule.program import PackedConstant, Program, Step

_Key = tuple[int, bytes]


def pooled(programs: Sequence[Program]) -> tuple[Program, ...]:
    """The programs with weights that hold the constants of all of them, equal bytes once.

    Constants of the first stay where they are; if the others bring none of their own, nothing is copied.
    """
    first, *others = programs
    offsets: dict[_Key, int] = {}
    for constant in first.constants:
        offsets.setdefault(_key(constant), constant.offset)
    added: list[PackedConstant] = []
    end = first.weights_bytes
    for constant in (constant for program in others for constant in program.constants):
        key = _key(constant)
        if key not in offsets:
            offsets[key] = end
            added.append(replace(constant, offset=end))
            end += rounded(constant.size)
    weights = _block(first.weights, added, end) if added else first.weights
    return (_moved(first, weights, {}), *(_moved(program, weights, offsets) for program in others))


def _key(constant: PackedConstant) -> _Key:
    return constant.size, xxhash.xxh3_128(_bytes(constant.packed).data).digest()


def _bytes(packed: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    return packed.reshape(-1).view(np.uint8)


def _block(first: memoryview, added: Sequence[PackedConstant], size: int) -> memoryview:
    memory = np.frombuffer(map_pages(max(size, mmap.PAGESIZE)), np.uint8, size)
    memory[: first.nbytes] = np.frombuffer(first, np.uint8)
    for constant in added:
        memory[constant.offset : constant.offset + constant.size] = _bytes(constant.packed)
    return memory.data


def _moved(program: Program, weights: memoryview, offsets: Mapping[_Key, int]) -> Program:
    """A program over other weights. offsets: where its constants are there; none for those that stay."""
    memory = np.frombuffer(weights, np.uint8)
    moved: dict[int, int] = {}
    constants = []
    for constant in program.constants:
        offset = offsets[_key(constant)] if offsets else constant.offset
        moved[constant.offset] = offset
        array = memory[offset : offset + constant.size].view(constant.packed.dtype).reshape(constant.packed.shape)
        constants.append(replace(constant, packed=array, offset=offset))
    steps = tuple(_step(step, moved) for step in program.steps)
    return replace(program, steps=steps, constants=tuple(constants), weights=weights)


def _step(step: Step, moved: Mapping[int, int]) -> Step:
    operands = [replace(at, offset=moved[at.offset]) if at.base == "weights" else at for at in step.operands]
    return replace(step, operands=tuple[Address, ...](operands))
