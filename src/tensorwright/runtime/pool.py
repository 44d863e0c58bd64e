"""One plan on several devices: requests go to whoever is free."""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self, TypeAlias

from tensorwright.base.errors import DeviceError, ExecutionError, PlanError
from tensorwright.base.fork import forkable, importing
from tensorwright.base.unique import Unique
from tensorwright.devices.find import device_for, devices_of, split_name
from tensorwright.plan.bundle import require_alike
from tensorwright.plan.plan import Plan
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.requests import Request, RequestQueue

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator, Device
    from tensorwright.plan.plan import Binding
    from tensorwright.runtime.arrays import Array
    from tensorwright.runtime.context import ExecutionContext
    from tensorwright.runtime.relay import Relay

Inputs: TypeAlias = "Array | Mapping[str, Array]"
Outputs: TypeAlias = "dict[str, Array]"
_Relay: TypeAlias = "Relay[Request[Inputs, Outputs]]"
Devices: TypeAlias = "str | Sequence[str | Device]"

CONTEXTS = 3
"""Contexts of a device with memory of its own: one computes while others copy. Measured on two H200 (`benchmarks`)."""
WAITING = 2
"""Requests that may wait, for each that may be at work."""
MOST_LOSSES = 3
"""A request that so many devices were lost with is not given to another one: it may be what they were lost by."""


@dataclass(frozen=True)
class DeviceState:
    """How a device of a pool is. completed: inferences; lost: the error that it was lost by."""

    name: str
    contexts: int
    completed: int
    lost: DeviceError | None


class EnginePool(Unique):
    """A plan that is loaded on several devices. Each has the weights once, and contexts with a thread of their own.

    Requests wait in one queue, so that fast devices do more of them. What a lost device had is done by another one. Use
    it in a `with` block or `close` it. It may be called from any number of threads, but not in a forked process.

    plan: several, of one network for several targets, for devices that differ: each takes the first that it can run.
    devices: names or devices; one that is named twice has twice as many contexts. "all" for all that this machine has
    of the kind that the plan was made for.
    allocator: gives all device memory; None for each device's own.
    threads: of an inference on a CPU; None for the plan's number divided by the contexts.
    contexts: of each device; None for 3 where copies have to overlap with kernels, or with processes, and 1 elsewhere.
    queue: how many requests may wait before who adds one waits, too; None for 2 for each that may be at
    work.
    patience: seconds after which a request that a device has not answered is given to another one as well; None for
    never.
    processes: whether every device is in a process of its own: what takes a device from its process then leaves the
    others alone, and many small requests do not wait for one interpreter. They read and write arrays of this one.
    report: called with a message when a device is lost or late; None for Python's logging, as "tensorwright".

    Raises:
        PlanError: a device cannot run the plan; the message names it.
        ExecutionError: a device is not there or has not enough memory, or a number is wrong.
    """

    def __init__(
        self,
        plan: Plan | Sequence[Plan],
        devices: Devices = "all",
        *,
        allocator: Allocator | None = None,
        threads: int | None = None,
        contexts: int | None = None,
        queue: int | None = None,
        patience: float | None = None,
        processes: bool = False,
        report: Callable[[str], object] | None = None,
    ) -> None:
        plans = require_alike([plan] if isinstance(plan, Plan) else plan)
        self._plan = plans[0]
        self._process = os.getpid()
        contexts, queue, patience = _checked("contexts", contexts), _checked("queue", queue), _patient(patience)
        counts = _contexts(
            _listed(plans, devices, _remote if processes else device_for), contexts or (CONTEXTS if processes else None)
        )
        self._engines = _loaded(plans, counts, allocator, threads)
        places = [_Place(engine, count, patience) for engine, count in zip(self._engines, counts.values(), strict=True)]
        total = sum(place.capacity for place in places)
        capacity = queue or WAITING * total
        self._ahead = capacity + total
        self._crew = _Crew(self.name, places, RequestQueue(capacity, patience), report or _log)
        self._threads = self._started()
        weakref.finalize(self, self._crew.close, cancel=True).atexit = False

    def __call__(self, inputs: Inputs) -> Outputs:
        """Run on NumPy arrays, on the first device that is free; see `ExecutionContext.__call__`."""
        return self.submit(inputs).result()

    def submit(self, inputs: Inputs) -> Future[Outputs]:
        """Have it run, and return at once if there is room in the queue, else when there is.

        The inputs must not change before the future has its result.

        Raises:
            ExecutionError: the pool is closed, or all its devices are lost. What is wrong with inputs, the future says.
        """
        if os.getpid() != self._process:
            raise ExecutionError(f"{self._crew.where} does not live on in a forked process; load its plan there")
        request: Request[Inputs, Outputs] = Request(inputs)
        self._crew.put(request)
        return request.future

    def map(self, batches: Iterable[Inputs]) -> Iterator[Outputs]:
        """The outputs of many inputs, in their order. Inputs are taken as they are needed, a queue's length ahead."""
        ahead: deque[Future[Outputs]] = deque()
        try:
            for inputs in batches:
                ahead.append(self.submit(inputs))
                if len(ahead) >= self._ahead:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    @property
    def name(self) -> str:
        return self._plan.name

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """Inputs and outputs in order, with their types; dimensions may be symbolic."""
        return self._plan.bindings

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The engines of the devices, in order."""
        return self._engines

    @property
    def devices(self) -> tuple[DeviceState, ...]:
        """How each device is at present."""
        return tuple(place.state for place in self._crew.places)

    def close(self, *, cancel: bool = False) -> None:
        """Take no more requests, wait for those there are, and give everything back. Twice is once.

        cancel: have the requests that no device has begun answered with an error.
        """
        if os.getpid() != self._process:
            return
        self._crew.close(cancel=cancel)
        for thread in self._threads:
            thread.join(self._crew.queue.patience)
        for place, engine in zip(self._crew.places, self._engines, strict=True):
            place.close(engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(cancel=kind is not None)

    def __repr__(self) -> str:
        return f"EnginePool('{self.name}', {', '.join(place.name for place in self._crew.places)})"

    def _started(self) -> list[threading.Thread]:
        threads = []
        try:
            for place, engine in zip(self._crew.places, self._engines, strict=True):
                for number, work in enumerate(self._crew.work_of(place, engine)):
                    name = f"tensorwright-{place.name}-{number}"
                    # A pool that nobody closed must not keep the process from ending.
                    threads.append(threading.Thread(target=work, name=name, daemon=True))
        except BaseException:
            for engine in self._engines:
                engine.close()
            raise
        for thread in threads:
            thread.start()
        return threads


class _Place:
    """A device of a pool: what was done there, and whether it is lost.

    relay: what one thread serves all its contexts by, in another process, as long as it does; None where each has a
    thread here. Those look after requests that are late, as well.
    """

    def __init__(self, engine: Engine, contexts: int, patience: float | None) -> None:
        self.name = engine.device.label
        self.contexts = contexts
        self.lost: DeviceError | None = None
        self.completed = 0
        self.relay = _relay(engine, contexts) if patience is None else None
        self.capacity = contexts if self.relay is None else self.relay.capacity
        self.working = contexts if self.relay is None else 1

    def __str__(self) -> str:
        return self.name

    @property
    def is_open(self) -> bool:
        return self.lost is None

    @property
    def room(self) -> int:
        """How many requests its process could begin with."""
        relay = self.relay
        return 0 if relay is None else relay.room

    @property
    def state(self) -> DeviceState:
        return DeviceState(self.name, self.contexts, self.completed, self.lost)

    def close(self, engine: Engine) -> None:
        """Give everything back, unless a thread is still at work there."""
        if self.working:
            return
        try:
            engine.close()
        except DeviceError:
            if self.is_open:
                raise


class _Crew:
    """What the threads of a pool share. They do not know the pool, so that it may be forgotten."""

    def __init__(
        self,
        name: str,
        places: Sequence[_Place],
        queue: RequestQueue[Inputs, Outputs],
        report: Callable[[str], object],
    ) -> None:
        self.where = f"the pool of '{name}'"
        self.places = places
        self.queue = queue
        self._report = report
        self._lock = forkable(threading.Lock())

    def work_of(self, place: _Place, engine: Engine) -> list[Callable[[], None]]:
        """What the threads of a place do, a function for each."""
        if place.relay is not None:
            return [partial(self._collect, place, place.relay)]
        return [partial(self._work, place, engine.create_execution_context()) for _ in range(place.contexts)]

    def put(self, request: Request[Inputs, Outputs]) -> None:
        """Add a request when there is room; the process that has most to spare begins with it at once."""
        self.queue.put(request)
        self._feed_all()

    def close(self, *, cancel: bool) -> None:
        self.queue.close(lambda: ExecutionError(f"{self.where} is closed; load its plan again"), cancel=cancel)
        self._end()

    def _work(self, place: _Place, context: ExecutionContext) -> None:
        """Serve requests until the pool is closed or the device lost."""
        while (request := self.queue.take(place, lambda: place.is_open)) is not None:
            if request.late:
                self._tell(f"{self.where}: {request.late.pop()} is late with a request; {place} does it as well")
            if request.begin():
                self._serve(request, place, context)
            self._done(request, place)
            del request  # The next one may be long in coming.
        with self._lock:
            place.working -= 1

    def _collect(self, place: _Place, relay: _Relay) -> None:
        """Answer what a process has done until the pool is closed or the process lost."""
        try:
            while found := relay.answers():
                self._feed(place)
                while found:
                    self._settle(place, *found.pop(0))
        except DeviceError as error:
            self._lose(place, error)
            for request in relay.abandon():
                self._settle(place, request, {}, error)
        with self._lock:
            place.working -= 1
            place.relay = None  # It keeps the process.

    def _feed_all(self) -> None:
        """Hand on what waits to processes that have room, to those with most room first."""
        for place in sorted([place for place in self.places if place.room], key=lambda place: -place.room):
            self._feed(place)

    def _feed(self, place: _Place) -> None:
        """Hand on what waits to the process of a place, as long as it has room."""
        relay = place.relay
        while relay is not None and place.is_open and (slot := relay.reserve()) is not None:
            request = self.queue.take_now(place)
            if request is not None and request.begin():
                self._begin(request, place, relay, slot)
                continue
            relay.release(slot)
            if request is not None:
                self._done(request, place)
            elif not self.queue.has_for(place):  # It may have come while the slot was nobody else's.
                return

    def _begin(self, request: Request[Inputs, Outputs], place: _Place, relay: _Relay, slot: int) -> None:
        try:
            relay.begin(slot, request, request.inputs)
        except BaseException as error:
            self._settle(place, request, {}, error)
            if not isinstance(error, Exception):  # Whoever brings a request may be interrupted.
                raise

    def _serve(self, request: Request[Inputs, Outputs], place: _Place, context: ExecutionContext) -> None:
        try:
            outputs = context(request.inputs)
        except BaseException as error:  # noqa: BLE001 - raised by who asked
            self._fail(request, place, error)
        else:
            self._answer(request, place, outputs)

    def _settle(
        self, place: _Place, request: Request[Inputs, Outputs], outputs: Outputs, error: BaseException | None
    ) -> None:
        if error is None:
            self._answer(request, place, outputs)
        else:
            self._fail(request, place, error)
        self._done(request, place)

    def _answer(self, request: Request[Inputs, Outputs], place: _Place, outputs: Outputs) -> None:
        with self._lock:
            place.completed += 1
        request.answer(outputs)

    def _fail(self, request: Request[Inputs, Outputs], place: _Place, error: BaseException) -> None:
        """Answer with an error, or have another device try if it is the fault of this one."""
        if not isinstance(error, DeviceError):
            request.fail(error)
            return
        request.failures[place] = error
        if error.lost:
            self._lose(place, error)
        self._hand_on(request)

    def _done(self, request: Request[Inputs, Outputs], place: _Place) -> None:
        self.queue.done(request, place)
        self._end()

    def _end(self) -> None:
        """Have those that collect answers end, when there is nothing to come."""
        if self.queue.is_over:
            for relay in [place.relay for place in self.places]:
                if relay is not None:
                    relay.end()

    def _tell(self, message: str) -> None:
        with suppress(Exception):  # What a program does with a message must not cost it a device.
            self._report(message)

    def _hand_on(self, request: Request[Inputs, Outputs]) -> None:
        """Give a request to another device, if there is one that may do it."""
        losses = [error for error in request.failures.values() if isinstance(error, DeviceError) and error.lost]
        left = [place for place in self.places if place.is_open and place not in request.failures]
        if left and len(losses) < MOST_LOSSES:
            self.queue.put_back(request)
            self._feed_all()
        else:
            request.fail(self._failure(request))

    def _lose(self, place: _Place, error: DeviceError) -> None:
        with self._lock:
            if not place.is_open:
                return
            place.lost = DeviceError(str(error), lost=True)  # Tracebacks would keep the pool for who looks at it.
        left = [other for other in self.places if other.is_open]
        names = ", ".join(other.name for other in left)
        self._tell(f"{self.where}: {place.name} is lost, {names or 'none'} left: {error}")
        for request in self.queue.leave(left):
            if request.begin():
                request.fail(self._failure(request))
        if not left:
            self.queue.close(self._all_lost, cancel=True)

    def _failure(self, request: Request[Inputs, Outputs]) -> Exception:
        if not request.failures:
            return self._all_lost()
        reasons = "; ".join(f"{place}: {error}" for place, error in request.failures.items())
        return DeviceError(f"{self.where}: no device could do this request ({reasons})")

    def _all_lost(self) -> Exception:
        reasons = "; ".join(f"{place.name}: {place.lost}" for place in self.places)
        return DeviceError(f"{self.where} has no devices left ({reasons}); load its plan again", lost=True)


def _listed(plans: Sequence[Plan], devices: Devices, make: Callable[[str, str], Device]) -> list[Device]:
    """The devices that are meant, one as often as it is named."""
    kinds = list(dict.fromkeys(plan.stamp.device for plan in plans))
    names = _all_of(kinds) if devices == "all" else devices
    if isinstance(names, str) or not names:
        raise ExecutionError(f"devices: expected 'all' or a list such as ['cuda:0', 'cuda:1'], found {devices!r}")
    known: dict[tuple[str, int], Device] = {}
    found = []
    for one in names:
        if isinstance(one, str):
            key = split_name(one)
            known[key] = known.get(key) or make(key[0] if key[0] in kinds else kinds[0], one)
            found.append(known[key])
        else:
            found.append(one)
    return found


def _relay(engine: Engine, contexts: int) -> _Relay | None:
    with importing:
        from tensorwright.runtime.relay import relay_of

    return relay_of(engine, contexts)


def _remote(_kind: str, name: str) -> Device:
    with importing:
        from tensorwright.runtime.remote import RemoteDevice

    return RemoteDevice(name)


def _all_of(kinds: Sequence[str]) -> list[str]:
    """The devices of all kinds, of which this machine may lack some, if it has others."""
    found: list[str] = []
    for kind in kinds:
        try:
            found += devices_of(kind)
        except ExecutionError as error:
            if len(kinds) == 1:
                raise PlanError(
                    f"the plan was built for the device '{kind}', which this machine lacks: {error}"
                ) from error
    return found


def _contexts(devices: Sequence[Device], contexts: int | None) -> dict[Device, int]:
    """How many contexts each device has."""
    usual = {device: 1 if device.has_host_memory else CONTEXTS for device in devices}
    return {device: times * (contexts or usual[device]) for device, times in Counter(devices).items()}


def _loaded(
    plans: Sequence[Plan], contexts: Mapping[Device, int], allocator: Allocator | None, threads: int | None
) -> tuple[Engine, ...]:
    engines: list[Engine] = []
    try:
        for device, count in contexts.items():
            engines.append(_engine(plans, allocator, threads, device, count))
    except BaseException:
        for engine in engines:
            engine.close()
        raise
    return tuple(engines)


def _engine(
    plans: Sequence[Plan], allocator: Allocator | None, threads: int | None, device: Device, contexts: int
) -> Engine:
    """The engine of the first plan that the device can run."""
    reasons = []
    for plan in plans:
        try:
            each = max(1, plan.threads // contexts) if threads is None else threads
            return Engine(plan, allocator, each, device)
        except PlanError as error:
            reasons.append(str(error))
    raise PlanError(f"{device.label} cannot be in the pool of '{plans[0].name}': {'; '.join(reasons)}")


def _checked(what: str, number: object) -> int | None:
    if number is None or (isinstance(number, int) and number >= 1):
        return number
    raise ExecutionError(f"{what}: expected a positive integer or None, found {number!r}")


def _patient(seconds: object) -> float | None:
    if seconds is None or (isinstance(seconds, int | float) and seconds > 0):
        return seconds
    raise ExecutionError(f"patience: expected seconds or None, found {seconds!r}")


def _log(message: str) -> None:
    import logging

    logging.getLogger("tensorwright").warning(message)
