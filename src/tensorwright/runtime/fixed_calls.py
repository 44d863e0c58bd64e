"""Calls on NumPy arrays for plans whose sizes are fixed: as few steps of the interpreter as possible.

After an inference the caches of the processor hold weights, not the interpreter, so that every step costs several times
what it costs in a loop of its own. Whatever is unusual about the inputs is left to `ArrayCalls.run`, which copes with
it or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tensorwright.runtime.arrays import Array, OutputMemory, address_of, output_maker, view_of

if TYPE_CHECKING:
    from tensorwright.runtime.bindings import BindingTable, Sizes
    from tensorwright.runtime.launcher import Launcher

FixedCall = Callable[[Array | Mapping[str, Array]], dict[str, Array] | None]

_UNUSUAL = (KeyError, AttributeError, TypeError, ValueError, BufferError)


def fixed_call(table: BindingTable, sizes: Sizes, launcher: Launcher, memories: Sequence[OutputMemory]) -> FixedCall:
    """A function that runs on arrays of exactly these sizes, and returns None without running for all else.

    table: its inputs come before its outputs. launcher: set up for these sizes. memories: of the outputs.
    """
    if len(table.inputs) == len(table.outputs) == 1:
        return _one_to_one(table, sizes, launcher, memories[0])
    return _many_to_many(table, sizes, launcher, memories)


def _one_to_one(table: BindingTable, sizes: Sizes, launcher: Launcher, memory: OutputMemory) -> FixedCall:
    (source,), (target,) = table.inputs, table.outputs
    name, dtype, shape, result_name = source.name, source.dtype.numpy, sizes.shapes[source.number], target.name
    make = output_maker(sizes.shapes[target.number], target.dtype.numpy, memory)
    exact, view, address = np.ndarray, view_of, address_of
    lock, bindings, run = launcher.lock, launcher.bindings, launcher.runner

    def call(inputs: Array | Mapping[str, Array]) -> dict[str, Array] | None:
        if type(inputs) is exact:
            array = inputs
        elif type(inputs) is dict and len(inputs) == 1 and name in inputs:
            array = inputs[name]
        else:
            return None
        try:
            if array.dtype is not dtype or array.shape != shape or type(array) is not exact:
                return None
            place = view(array)  # Keeps the array alive; raises if it is not contiguous or may not be written.
        except _UNUSUAL:
            return None
        with lock:
            if launcher.obstacle is not None:
                return None
            result, start = make()
            bindings[:] = (address(place), start)
            run()
        return {result_name: result}

    return call


def _many_to_many(table: BindingTable, sizes: Sizes, launcher: Launcher, memories: Sequence[OutputMemory]) -> FixedCall:
    expected = [(slot.name, slot.dtype.numpy, sizes.shapes[slot.number]) for slot in table.inputs]
    makers = [
        (slot.name, output_maker(sizes.shapes[slot.number], slot.dtype.numpy, memory))
        for slot, memory in zip(table.outputs, memories, strict=True)
    ]
    count, only = len(expected), expected[0][0] if len(expected) == 1 else None
    exact, view, address = np.ndarray, view_of, address_of
    lock, bindings, run = launcher.lock, launcher.bindings, launcher.runner

    def call(inputs: Array | Mapping[str, Array]) -> dict[str, Array] | None:
        if only is not None and type(inputs) is exact:
            found: Mapping[str, Array] = {only: inputs}
        elif type(inputs) is dict and len(inputs) == count:
            found = inputs
        else:
            return None
        views, addresses = [], []
        try:
            for name, dtype, shape in expected:
                array = found[name]
                if array.dtype is not dtype or array.shape != shape or type(array) is not exact:
                    return None
                place = view(array)
                views.append(place)
                addresses.append(address(place))
        except _UNUSUAL:
            return None
        results = {}
        with lock:
            if launcher.obstacle is not None:
                return None
            for name, make in makers:
                results[name], start = make()
                addresses.append(start)
            bindings[:] = addresses
            run()
        return results

    return call
