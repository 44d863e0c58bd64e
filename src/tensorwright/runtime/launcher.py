"""The native side of an execution context: one inference at a time, on addresses."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tensorwright.base.errors import ExecutionError
from tensorwright.base.fork import forkable, importing

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Lock

    from tensorwright.devices.device import Device, Executor
    from tensorwright.runtime.bindings import BindingTable, Sizes
    from tensorwright.runtime.indices import IndexWatch


class Launcher:
    """An executor, who may use it, and for which sizes it is set up.

    execute: one inference, after which indices that were out of range are refused; runner: the same for plans whose
    sizes are fixed, for who calls it often. Called with the lock held, after `prepare`.
    watched: the device, if an inference has ended when the executor returns; None where it may only have begun.
    lock: held by whoever prepares and runs; launchers whose executors share memory share it. obstacle: why nothing can
    run at present, None if it can.
    """

    def __init__(
        self, table: BindingTable, executor: Executor, watched: Device | None, obstacle: str, lock: Lock | None = None
    ) -> None:
        self.executor = executor
        self.bindings = executor.bindings
        self.lock = forkable(threading.Lock()) if lock is None else lock
        self.obstacle: str | None = obstacle
        self._where = table.where
        self._current: Sizes | None = None
        self._memory = 0
        self._closed = False
        self._watch = None if watched is None else _watch(table, watched)
        self.runner: Callable[[], None] = executor.runner if self._watch is None else self._run_and_check

    def require_ready(self) -> None:
        """Raises ExecutionError when nothing can run."""
        if self.obstacle is not None:
            raise ExecutionError(f"a context of {self._where} cannot run: {self.obstacle}")

    def prepare(self, sizes: Sizes) -> None:
        """Have the executor know all sizes; called with the lock held.

        Raises:
            ExecutionError: nothing can run.
        """
        self.require_ready()
        if sizes is not self._current:
            self._current = None  # Whoever finds some symbols set and others not, after a fork, sets all.
            for number, value in enumerate(sizes.symbols):
                self.executor.symbols[number] = value
            self._current = sizes

    def run(self, sizes: Sizes, addresses: Sequence[int]) -> None:
        """One inference on one address per binding, in the order of the plan."""
        with self.lock:
            self.prepare(sizes)
            self.bindings[:] = addresses
            self.execute()

    def execute(self) -> None:
        self._place_empty()
        if self._watch is None:
            self.executor.run()
        else:
            self._run_and_check()

    def execute_profiled(self, steps: int) -> list[int]:
        """One inference, and the ticks of its steps."""
        self._place_empty()
        return self.executor.run_profiled(steps)

    def _place_empty(self) -> None:
        """Have bindings without elements lie in the memory of the context: kernels may load from where an operand
        starts, although they do not use what lies there, and others' arrays without elements may lie nowhere.
        """
        assert self._current is not None
        for number in self._current.empty:
            self.bindings[number] = self._memory

    def _run_and_check(self) -> None:
        self.executor.run()
        assert self._watch is not None
        assert self._current is not None
        self._watch.check(self._current)

    def use_memory(self, address: int) -> None:
        """Use this memory for activations and scratch from now on; called with the lock held.

        Raises:
            ExecutionError: it is closed.
        """
        if self._closed:
            self.require_ready()
        self.executor.set_memory(address)
        self._memory = address
        if self._watch is not None:
            self._watch.use_memory(address)
        self.obstacle = None

    def close(self) -> None:
        """Stop for good; called with the lock held. Twice is once."""
        self._closed = True
        self.obstacle = "it is closed; create another one"
        self.executor.close()


def _watch(table: BindingTable, device: Device) -> IndexWatch | None:
    if not table.plan.indices:
        return None
    with importing:
        from tensorwright.runtime.indices import IndexWatch

    return IndexWatch(table.plan, device, table.where)
