"""Inference on memory of this process, by devices that have memory of their own."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from math import prod
from typing import TYPE_CHECKING

from tensorwright.devices.buffer import Buffer
from tensorwright.tensor.dim import evaluate

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator, Device, Executor
    from tensorwright.plan.plan import Plan


class StagedExecutor:
    """An executor whose bindings are addresses of this process: it copies inputs to the device, outputs back.

    executor: what it copies for; only this object uses it. Memory on the device grows with the sizes that occur.
    """

    def __init__(self, executor: Executor, device: Device, allocator: Allocator, plan: Plan) -> None:
        self.bindings: MutableSequence[int] = [0] * len(plan.bindings)
        self.symbols: MutableSequence[int] = [0] * len(plan.symbols)
        self._executor = executor
        self._device = device
        self._allocator = allocator
        self._plan = plan
        self._buffers: list[Buffer | None] = [None] * len(plan.bindings)

    @property
    def runner(self) -> Callable[[], None]:
        return self.run

    def run(self) -> None:
        self._staged(self._executor.run)

    def run_profiled(self, steps: int) -> list[int]:
        ticks: list[int] = []
        self._staged(lambda: ticks.extend(self._executor.run_profiled(steps)))
        return ticks

    def set_memory(self, address: int) -> None:
        self._executor.set_memory(address)

    def close(self) -> None:
        self._executor.close()
        for buffer in self._buffers:
            if buffer is not None:
                buffer.close()

    def _staged(self, run: Callable[[], None]) -> None:
        sizes = self._sizes()
        addresses = [self._place(number, size) for number, size in enumerate(sizes)]
        copies = list(zip(self._plan.bindings, self.bindings, addresses, sizes, strict=True))
        for binding, here, there, size in copies:
            if binding.mode == "input" and size:
                self._device.upload(there, here, size)
        self._executor.symbols[:] = self.symbols
        self._executor.bindings[:] = addresses
        run()
        for binding, here, there, size in copies:
            if binding.mode == "output" and size:
                self._device.download(here, there, size)

    def _sizes(self) -> list[int]:
        values = {symbol.name: value for symbol, value in zip(self._plan.symbols, self.symbols, strict=True)}
        types = [binding.type for binding in self._plan.bindings]
        return [prod(evaluate(dim, values) for dim in type.shape) * type.dtype.size for type in types]

    def _place(self, number: int, size: int) -> int:
        buffer = self._buffers[number]
        if buffer is None or buffer.size < size:
            if buffer is not None:
                buffer.close()
            name = self._plan.bindings[number].name
            buffer = Buffer(self._allocator, max(size, 1), self._device.memory_alignment, f"a copy of '{name}'")
            self._buffers[number] = buffer
        return buffer.address
