"""The profiles of a plan: which of them runs an inference, and what a context has for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log2
from typing import TYPE_CHECKING, cast

from tensorwright.base.errors import ExecutionError
from tensorwright.base.fork import importing
from tensorwright.base.unique import Unique
from tensorwright.runtime.bindings import BindingTable
from tensorwright.runtime.launcher import Launcher

if TYPE_CHECKING:
    from threading import Lock

    from tensorwright.devices.device import Allocator, Device, Module, Stream
    from tensorwright.plan.plan import Plan
    from tensorwright.runtime.arrays import Array
    from tensorwright.runtime.bindings import Evidence, Extents, Sizes
    from tensorwright.runtime.calls import ArrayCalls
    from tensorwright.runtime.device_calls import DeviceCalls
    from tensorwright.runtime.fixed_calls import FixedCall
    from tensorwright.runtime.staging import StagedExecutor
    from tensorwright.tensor.dim import Symbol

_REMEMBERED = 64


class ProfileTable:
    """The bindings of a plan, and those of each of its profiles: one, the plan itself, if it has none."""

    def __init__(self, plan: Plan, profiles: Sequence[Plan]) -> None:
        self.whole = BindingTable(plan)
        self.tables = tuple(map(BindingTable, profiles)) if plan.profiles else (self.whole,)
        self._known: dict[object, int] = {}

    def __len__(self) -> int:
        return len(self.tables)

    def number(self, profile: object) -> int:
        """The number of a profile. Raises ExecutionError if there is no such profile."""
        if not isinstance(profile, int) or isinstance(profile, bool) or not 0 <= profile < len(self):
            raise ExecutionError(
                f"{self.whole.where} has no profile {profile!r}; expected a number from 0 to {len(self) - 1}"
            )
        return profile

    def nearest(self, shapes: Mapping[int, Extents], known: Mapping[str, Evidence]) -> tuple[int, Sizes]:
        """The profile that fits and is tuned for the nearest sizes, the first of several; and all sizes.

        Raises:
            ExecutionError: none fits; the message says why each does not.
        """
        if len(self) == 1:
            return 0, self.tables[0].sizes(shapes, known)
        found: list[tuple[float, int, Sizes]] = []
        reasons = []
        for number, table in enumerate(self.tables):
            try:
                sizes = table.sizes(shapes, known)
            except ExecutionError as error:
                reasons.append(f"profile {number}: {error}")
            else:
                found.append((_distance(table.plan.symbols, sizes.symbols), number, sizes))
        if not found:
            raise ExecutionError(
                f"{self.whole.where}: expected shapes that fit one of its {len(self)} profiles, they fit none. "
                + ". ".join(reasons)
            )
        _, number, sizes = min(found, key=lambda one: one[:2])
        return number, sizes

    def of_arrays(self, inputs: object) -> int:
        """The profile for inputs by name, or one bare input; 0 where they are no arrays for all inputs.

        Raises:
            ExecutionError: none fits their shapes.
        """
        slots = self.whole.inputs
        given = [inputs.get(slot.name) for slot in slots] if isinstance(inputs, Mapping) else [inputs]
        shapes = [getattr(value, "shape", None) for value in given]
        if len(shapes) != len(slots) or not all(isinstance(shape, tuple) for shape in shapes):
            return 0
        key = tuple(shapes)
        number = self._known.get(key)
        if number is None:
            said = {slot.number: cast("Extents", shape) for slot, shape in zip(slots, shapes, strict=True)}
            number, _ = self.nearest(said, {})
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = number
        return number


def _distance(symbols: Sequence[Symbol], values: Sequence[int]) -> float:
    """How far sizes are from those that a profile is tuned for: the powers of two between them."""
    return sum(abs(log2((value + 1) / (symbol.opt + 1))) for symbol, value in zip(symbols, values, strict=True))


def _nothing() -> None:
    """What waits for the end of what has ended."""


class ProfileCalls(Unique):
    """What a context has for one profile: an executor, and the ways to call it.

    fixed_call: after the first call on arrays, what shortens the next ones if the sizes are fixed; else None.
    lock: shared by the profiles of a context, which share its memory. obstacle: why nothing can run at present.
    """

    def __init__(
        self, device: Device, module: Module, table: BindingTable, allocator: Allocator, obstacle: str, lock: Lock
    ) -> None:
        self.table = table
        self.fixed_call: FixedCall | None = None
        self._device = device
        self._allocator = allocator
        watched = device if device.has_host_memory and not module.checks_indices else None
        self.launcher = Launcher(table, module.create_executor(), watched, obstacle, lock)
        self._staged: StagedExecutor | None = None
        self.here = self.launcher if device.has_host_memory else self._staging(module, obstacle)
        self._calls: ArrayCalls | None = None
        self._device_calls: DeviceCalls | None = None

    @property
    def launchers(self) -> tuple[Launcher, ...]:
        """The one for addresses on the device, and the one for those of this process if that is another one."""
        return (self.launcher,) if self.here is self.launcher else (self.launcher, self.here)

    def run(
        self,
        inputs: Array | Mapping[str, Array],
        execute: Callable[[], None] | None = None,
        outputs: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Run on NumPy arrays. execute: what does so in place of the launcher. outputs: where results go, by name."""
        calls = self._calls
        if calls is not None:
            return calls.run(inputs, execute or self.here.execute, outputs)
        with importing:
            from tensorwright.runtime.calls import ArrayCalls

        calls = ArrayCalls(self.table, self.here)
        results = calls.run(inputs, execute or self.here.execute, outputs)
        self._calls, self.fixed_call = calls, calls.fixed()
        return results

    def begin(self, sizes: Sizes, addresses: Sequence[int]) -> Callable[[], None]:
        """Begin on staging memory of the device; what waits for the end. Indices are looked at before the next one."""
        here = self.here
        if self._staged is None or self.table.plan.indices:
            here.run(sizes, addresses)
            return _nothing
        with here.lock:
            here.prepare(sizes)
            here.bindings[:] = addresses
            return self._staged.begin()

    def run_on_device(self, inputs: object, stream: Stream | int | None) -> dict[str, Array] | None:
        """Outputs on the device for inputs there; None for others."""
        given = inputs.values() if isinstance(inputs, Mapping) else (inputs,)
        if stream is None and all(hasattr(value, "__array_struct__") for value in given):
            return None  # Arrays of NumPy, which this module does not import.
        if self._device_calls is None:
            self._device_calls = self._made_device_calls()
        target = self._device.find_stream(stream or 0) if isinstance(stream, int | None) else stream
        found = None if self._device_calls is None else self._device_calls.run(inputs, target)
        return cast("dict[str, Array] | None", found)

    def _staging(self, module: Module, obstacle: str) -> Launcher:
        """A launcher whose bindings are addresses of this process."""
        with importing:
            from tensorwright.runtime.staging import StagedExecutor

        self._staged = StagedExecutor(module.create_executor(), self._device, self._allocator, module.plan)
        return Launcher(self.table, self._staged, self._device, obstacle, self.launcher.lock)

    def _made_device_calls(self) -> DeviceCalls | None:
        with importing:
            from tensorwright.runtime.device_calls import DeviceCalls

        arrays = self._device.arrays(self._allocator)
        return None if arrays is None else DeviceCalls(self.table, self.launcher, arrays)
