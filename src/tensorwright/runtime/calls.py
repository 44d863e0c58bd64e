"""Calls on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tensorwright.base.errors import ExecutionError
from tensorwright.runtime.arrays import Array, OutputMemory, array_address, is_acceptable, output_maker, refusal
from tensorwright.runtime.bindings import wrong_names
from tensorwright.runtime.fixed_calls import FixedCall, fixed_call

if TYPE_CHECKING:
    from tensorwright.runtime.bindings import BindingTable, Sizes
    from tensorwright.runtime.launcher import Launcher

_REMEMBERED_SIZES = 64

_Makers = tuple[tuple[int, str, Callable[[], tuple[Array, int]]], ...]


class ArrayCalls:
    """Runs an executor on NumPy arrays of any sizes that fit the plan.

    fixed: does the same for plans whose sizes are fixed, only faster; None for other plans.
    """

    def __init__(self, table: BindingTable, launcher: Launcher) -> None:
        self._table = table
        self._launcher = launcher
        self._inputs = table.inputs
        self._dtypes = [slot.dtype.numpy for slot in table.inputs]
        self._takes_bare_array = len(table.inputs) == 1
        self._memories = [OutputMemory() for _ in table.outputs]
        self._known: dict[object, tuple[Sizes, _Makers]] = {}

    def run(
        self,
        inputs: Array | Mapping[str, Array],
        execute: Callable[[], None],
        outputs: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Have `execute` run on arrays, and return new ones or those given; see `ExecutionContext.__call__`."""
        arrays = self._by_place(inputs)
        addresses = []
        for slot, dtype in zip(self._inputs, self._dtypes, strict=True):
            array = arrays[slot.place]
            if not is_acceptable(dtype, array):
                raise refusal(self._table, slot, array)
            addresses.append(array_address(array))
        key = arrays[0].shape if self._takes_bare_array else tuple([array.shape for array in arrays])
        results = {}
        with self._launcher.lock:
            self._launcher.require_ready()
            sizes, makers = self._known.get(key) or self._learn(key, arrays)
            taken = {} if outputs is None else self._taken(outputs, sizes)
            self._launcher.prepare(sizes)
            bindings = self._launcher.bindings
            for slot in self._inputs:
                bindings[slot.number] = addresses[slot.place]
            for number, name, make in makers:
                results[name], bindings[number] = taken[name] if name in taken else make()
            execute()
        return results

    def _taken(self, outputs: Mapping[str, Array], sizes: Sizes) -> dict[str, tuple[Array, int]]:
        """The arrays that the caller gives for outputs, and their addresses."""
        slots = {slot.name: slot for slot in self._table.outputs}
        unknown = [name for name in outputs if name not in slots]
        if unknown:
            raise ExecutionError(
                f"{self._table.where} has no output {', '.join(map(repr, unknown))}; expected some of "
                f"{', '.join(map(repr, slots))}"
            )
        for name, array in outputs.items():
            slot = slots[name]
            if not is_acceptable(slot.dtype.numpy, array):
                raise refusal(self._table, slot, array)
            shape = sizes.shapes[slot.number]
            if array.shape != shape or not array.flags.writeable:
                raise ExecutionError(
                    f"{self._table.describe(slot.number)}: expected an array of shape {shape} that may be written, "
                    f"found shape {array.shape}{'' if array.flags.writeable else ', read-only'}"
                )
        return {name: (array, array_address(array)) for name, array in outputs.items()}

    def fixed(self) -> FixedCall | None:
        """The short way for plans whose sizes are fixed; None for others. For after the first run."""
        order = [slot.number for slot in (*self._inputs, *self._table.outputs)]
        is_fixed = all(symbol.min == symbol.max for symbol in self._table.plan.symbols)
        if not is_fixed or order != sorted(order):
            return None
        return fixed_call(self._table, self._table.sizes({}, {}), self._launcher, self._memories)

    def _by_place(self, inputs: Array | Mapping[str, Array]) -> list[Array]:
        """The inputs in order; numbers of NumPy are arrays of rank 0."""
        if self._takes_bare_array and isinstance(inputs, np.ndarray | np.generic):
            return [np.asarray(inputs)]
        given: list[Array | np.generic] = [*self._by_name(inputs)]
        return [np.asarray(value) if isinstance(value, np.generic) else value for value in given]

    def _by_name(self, inputs: object) -> list[Array]:
        names = self._table.input_names
        if isinstance(inputs, (dict, Mapping)) and len(inputs) == len(names):
            try:
                return [inputs[name] for name in names]
            except KeyError:
                pass
        raise wrong_names(self._table, inputs, "arrays")

    def _learn(self, key: object, arrays: Sequence[Array]) -> tuple[Sizes, _Makers]:
        sizes = self._table.sizes({slot.number: arrays[slot.place].shape for slot in self._inputs}, {})
        if len(self._known) >= _REMEMBERED_SIZES:
            self._known.clear()
        makers = tuple(
            (slot.number, slot.name, output_maker(sizes.shapes[slot.number], slot.dtype.numpy, memory))
            for slot, memory in zip(self._table.outputs, self._memories, strict=True)
        )
        self._known[key] = sizes, makers
        return sizes, makers
