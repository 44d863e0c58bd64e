"""Requests on their way to the process of a device and back, many at a time, by one thread here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, MutableSequence
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, NoReturn, TypeAlias, TypeVar

import numpy as np

from tensorwright.base.fork import forkable
from tensorwright.runtime.bindings import BindingTable
from tensorwright.runtime.calls import ArrayCalls
from tensorwright.runtime.launcher import Launcher
from tensorwright.runtime.remote import RemoteModule, ask, reply_of

if TYPE_CHECKING:
    from tensorwright.runtime.arrays import Array
    from tensorwright.runtime.engine import Engine
    from tensorwright.runtime.fixed_calls import FixedCall

Inputs: TypeAlias = "Array | Mapping[str, Array]"
Outputs: TypeAlias = "dict[str, Array]"
Request = TypeVar("Request")

AHEAD = 9
"""Requests under way beyond one for each context: their arrays are exchanged, the device has them before it, …"""
UNREAD = 3
"""… and so many of them wait to be read, so that whoever has ended one finds the next without having slept."""


class Relay(Generic[Request]):
    """The way of requests to the process of a device and back.

    Whoever brings a request prepares it and sends it; one thread receives what was done. So a process always has
    something to do next, and answers that come together cost this one's interpreter one turn.

    contexts: how many compute at a time over there.
    """

    def __init__(self, module: RemoteModule, contexts: int) -> None:
        self._module = module
        count = contexts + AHEAD
        self._messages = module.connect(None, contexts, count - UNREAD)
        table = BindingTable(module.plan)
        self._slots = [_Slot(table) for _ in range(count)]
        self._free = list(range(count))
        self._under_way: dict[int, tuple[Request, Inputs, Outputs]] = {}
        self._lock = forkable(threading.Lock())
        self._has_ended = False

    @property
    def capacity(self) -> int:
        """The most requests under way."""
        return len(self._slots)

    @property
    def room(self) -> int:
        """How many slots are free."""
        return len(self._free)

    def reserve(self) -> int | None:
        """A slot for a request; None if there are enough under way."""
        with self._lock:
            return self._free.pop() if self._free else None

    def release(self, slot: int) -> None:
        """Give a slot back that was not used."""
        with self._lock:
            self._free.append(slot)

    def begin(self, slot: int, request: Request, inputs: Inputs) -> None:
        """Send a request on its way; the slot is taken until it is answered, or an error is raised.

        Raises:
            ExecutionError: something about the inputs is wrong.
            DeviceError: the process has ended, before this request was under way.
        """
        kept = _kept(inputs)
        try:
            outputs = self._slots[slot].prepare(kept)
        except BaseException:
            self.release(slot)
            raise
        self._under_way[slot] = request, kept, outputs
        try:
            ask(self._messages, slot, self._slots[slot].symbols, self._slots[slot].bindings)
        except OSError as error:
            if self._under_way.pop(slot, None) is not None:  # Who waits for answers may have noticed first.
                self._fail(error)

    def answers(self) -> list[tuple[Request, Outputs, Exception | None]]:
        """What was done, at least one request, unless the relay was ended; waits for it.

        Raises:
            DeviceError: the process has ended.
        """
        try:
            replies = [reply_of(message) for message in self._messages.receive_all()]
        except (EOFError, OSError) as error:
            if self._has_ended:
                return []
            self._fail(error)
        found = []
        for reply in replies:
            request, _, outputs = self._under_way.pop(reply.number)
            self.release(reply.number)
            found.append((request, outputs, reply.failure))
        return found

    def abandon(self) -> list[Request]:
        """The requests that are under way, which nobody will answer any more."""
        found = []
        with suppress(KeyError):  # There are no more.
            while True:
                request, _, _ = self._under_way.popitem()[1]
                found.append(request)
        return found

    def end(self) -> None:
        """Have `answers` return nothing, now and from now on."""
        self._has_ended = True
        self._messages.end()

    def _fail(self, error: Exception) -> NoReturn:
        raise self._module.lost() from error


class _Slot:
    """Room for one request: it knows sizes that it has seen, and memory of outputs that nobody refers to any more.

    It is what a call prepares in place of an executor.
    """

    def __init__(self, table: BindingTable) -> None:
        self.bindings: MutableSequence[int] = [0] * len(table.plan.bindings)
        self.symbols: MutableSequence[int] = [0] * len(table.plan.symbols)
        launcher = Launcher(table, self, None, "")
        launcher.use_memory(0)
        self._calls = ArrayCalls(table, launcher)
        self._fixed: FixedCall | None = None

    def prepare(self, inputs: Inputs) -> Outputs:
        """Set addresses and sizes of a call; the arrays that its results will be in."""
        found = None if self._fixed is None else self._fixed(inputs)
        if found is None:
            found = self._calls.run(inputs, self.run)
            self._fixed = self._calls.fixed()
        return found

    @property
    def runner(self) -> Callable[[], None]:
        return self.run

    def run(self) -> None:
        """Nothing: what is prepared is sent when it is known where the outputs are."""

    def run_profiled(self, steps: int) -> list[int]:
        return [0] * (steps + 1)

    def set_memory(self, address: int) -> None:
        """Nothing: the other process has memory of its own."""

    def close(self) -> None: ...


def relay_of(engine: Engine, contexts: int) -> Relay[Request] | None:
    """A relay to the process of an engine's device; None if there is none, or several, or it cannot reach this one's
    memory.
    """
    module, *others = engine.modules
    return Relay(module, contexts) if isinstance(module, RemoteModule) and module.is_reached and not others else None


def _kept(inputs: Inputs) -> Inputs:
    """Inputs whose arrays live as long as they do, whatever becomes of what they were given in."""
    return {name: _array(value) for name, value in inputs.items()} if isinstance(inputs, Mapping) else _array(inputs)


def _array(value: Array | np.generic) -> Array:
    return np.asarray(value) if isinstance(value, np.generic) else value
