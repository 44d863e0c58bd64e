"""Calls on arrays that lie in the memory of the device: nothing is copied, nothing is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tensorwright.base.errors import ExecutionError
from tensorwright.runtime.bindings import wrong_names

if TYPE_CHECKING:
    from tensorwright.devices.device import DeviceArrays, DeviceView, Stream
    from tensorwright.runtime.bindings import BindingTable, Slot
    from tensorwright.runtime.launcher import Launcher


class DeviceCalls:
    """Runs an executor on device arrays of any sizes that fit the plan. launcher: of addresses of the device."""

    def __init__(self, table: BindingTable, launcher: Launcher, arrays: DeviceArrays) -> None:
        self._table = table
        self._launcher = launcher
        self._arrays = arrays

    def run(self, inputs: object, stream: Stream) -> dict[str, object] | None:
        """Put an inference into a stream; None if not all inputs are arrays on a device.

        Returns arrays on the device by name of output, which the work of the stream fills.

        Raises:
            ExecutionError: something about the inputs is wrong; nothing has run.
        """
        given = self._by_name(inputs)
        with self._launcher.lock:
            self._launcher.require_ready()
            views = {slot: self._view(slot, given[slot.name], stream) for slot in self._table.inputs}
            found = {slot: view for slot, view in views.items() if view is not None}
            if not found:
                return None
            self._require_all(found)
            return self._run(found, stream)

    def _run(self, views: Mapping[Slot, DeviceView], stream: Stream) -> dict[str, object]:
        launcher, table = self._launcher, self._table
        sizes = table.sizes({slot.number: view.shape for slot, view in views.items()}, {})
        launcher.prepare(sizes)
        results: dict[str, object] = {}
        for slot, view in views.items():
            launcher.bindings[slot.number] = view.address
        for slot in table.outputs:
            shape, what = sizes.shapes[slot.number], f"the output '{slot.name}'"
            results[slot.name], launcher.bindings[slot.number] = self._arrays.make(shape, slot.dtype, stream, what)
        stream.enqueue(launcher.execute)
        self._arrays.keep([view.owner for view in views.values()], stream)
        return results

    def _view(self, slot: Slot, value: object, stream: Stream) -> DeviceView | None:
        where = self._table.describe(slot.number)
        try:
            view = self._arrays.view(value, stream)
        except ExecutionError as error:
            raise ExecutionError(f"{where}: {error}") from None
        if view is None:
            return None
        if view.dtype != slot.dtype.name:
            raise ExecutionError(f"{where}: expected dtype {slot.dtype}, found {view.dtype}; convert the array")
        if not view.is_contiguous:
            raise ExecutionError(f"{where}: expected an array in row-major order; pass a contiguous copy")
        return view

    def _by_name(self, inputs: object) -> Mapping[str, object]:
        names = self._table.input_names
        if isinstance(inputs, Mapping):
            if set(inputs) != set(names):
                raise wrong_names(self._table, inputs, "arrays")
            return inputs
        if len(names) != 1:
            raise wrong_names(self._table, inputs, "arrays")
        return {names[0]: inputs}

    def _require_all(self, found: Mapping[Slot, DeviceView]) -> None:
        if len(found) < len(self._table.inputs):
            here = ", ".join(repr(slot.name) for slot in found)
            others = ", ".join(repr(slot.name) for slot in self._table.inputs if slot not in found)
            raise ExecutionError(
                f"{self._table.where}: {here} lies on the device, {others} does not; pass all of them there, or all as "
                "NumPy arrays"
            )
