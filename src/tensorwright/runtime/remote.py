"""Devices of other processes: an engine here, its device there, and memory that both share.

What takes a device from a process takes it from that one alone, and its interpreter has a lock of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, MutableSequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NoReturn, cast

from tensorwright.base.errors import DeviceError, ExecutionError, PlanError
from tensorwright.devices.find import split_name
from tensorwright.devices.host_memory import HostMemory
from tensorwright.plan.file import serialize_plan
from tensorwright.runtime.copying import Copier
from tensorwright.runtime.exchange import SharedMemory, layout

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator, Event, Stream
    from tensorwright.plan.plan import MachineStamp, Plan

START = "import sys; sys.path += sys.argv[5:]; from tensorwright.runtime.worker import main; main()"
"""What the process runs; its arguments are descriptors of a socket and of the plan, device, threads, and where to find
this package and those that it needs.
"""
ISOLATED = ("-P", "-S", "-s", "-c")
ALIGNMENT = 64
SECONDS_TO_END = 10
READY = b"ready"
IN_A_PROCESS = " in a process"
"""What the label of such a device ends in."""


class RemoteExecutor:
    """Inferences in another process; its bindings are addresses of this one."""

    def __init__(self, module: RemoteModule) -> None:
        self.bindings: MutableSequence[int] = [0] * len(module.plan.bindings)
        self.symbols: MutableSequence[int] = [0] * len(module.plan.symbols)
        self._module = module
        self._process = os.getpid()
        self._memory = SharedMemory(os.memfd_create("tensorwright"))
        self._connection = module.connect(self._memory.descriptor)
        self._copier = Copier()
        self._is_closed = False

    @property
    def runner(self) -> Callable[[], None]:
        return self.run

    def run(self) -> None:
        self._exchange(0)

    def run_profiled(self, steps: int) -> list[int]:
        return self._exchange(steps)

    def set_memory(self, address: int) -> None:
        """Nothing: the other process has memory of its own."""

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._connection.close()
            self._memory.close()
            self._copier.close()

    def _exchange(self, steps: int) -> list[int]:
        if os.getpid() != self._process:
            raise ExecutionError(
                f"{self._module.label} belongs to the process that loaded the plan, not to a forked one; load it there"
            )
        found = layout(self._module.plan, self.symbols)
        self._memory.reserve(found.size)
        lanes = list(zip(self._module.plan.bindings, self.bindings, found.places, strict=True))
        for binding, address, (offset, size) in lanes:
            if binding.mode == "input":
                self._copy(self._memory.address + offset, address, size)
        ticks = self._ask(steps)
        for binding, address, (offset, size) in lanes:
            if binding.mode == "output":
                self._copy(address, self._memory.address + offset, size)
        return ticks

    def _copy(self, target: int, source: int, size: int) -> None:
        for _ in self._copier.copy(target, source, size):
            pass

    def _ask(self, steps: int) -> list[int]:
        try:
            self._connection.send((tuple(self.symbols), steps))
            found, message, is_device, is_lost = self._connection.recv()
        except (EOFError, OSError) as error:
            raise DeviceError(
                f"{self._module.label}: its process has ended ({self._module.reason}); load the plan again", lost=True
            ) from error
        if not message:
            return cast("list[int]", found)
        raise DeviceError(message, lost=is_lost) if is_device else ExecutionError(message)


class RemoteModule:
    """A process that has loaded a plan."""

    checks_indices = True

    def __init__(self, plan: Plan, label: str, threads: int) -> None:
        self.plan = plan
        self.label = label
        self.memory_bytes = ALIGNMENT
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._worker = _started(plan, label, threads, theirs.fileno())
        self._finalizer = weakref.finalize(self, _end, self._worker, self._control)
        answer = _received(self._control)
        if answer != READY:
            self.close()
            if not answer:
                raise ExecutionError(f"{label}: its process ended while it loaded the plan ({self.reason})")
            raise PlanError(f"{label}: {answer.decode(errors='replace')}")

    @property
    def reason(self) -> str:
        """How the process ended, as far as that is known."""
        with suppress(subprocess.TimeoutExpired):
            code = self._worker.wait(1)
            return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return "it is still there, but does not answer"

    def connect(self, descriptor: int) -> Connection:
        """Have the process make a context that works in shared memory; the connection to it."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            try:
                socket.send_fds(self._control, [b"+"], [theirs.fileno(), descriptor])
            except OSError as error:
                ours.close()
                raise DeviceError(f"{self.label}: its process has ended ({self.reason})", lost=True) from error
        return Connection(ours.detach())

    def create_executor(self) -> RemoteExecutor:
        return RemoteExecutor(self)

    def close(self) -> None:
        self._finalizer()


class RemoteDevice:
    """A device in a process of its own for each plan that it loads; `name` is its, such as ``cuda:1``."""

    memory_alignment = ALIGNMENT
    has_host_memory = True

    def __init__(self, name: str) -> None:
        kind, number = split_name(name)
        self.name = kind
        self.label = f"{kind}:{number}{IN_A_PROCESS}"
        self._wanted = f"{kind}:{number}"
        self._memory = HostMemory()

    @property
    def allocator(self) -> Allocator:
        return self._memory

    @property
    def staging(self) -> Allocator:
        return self._memory

    def check(self, stamp: MachineStamp) -> None:
        if stamp.device != self.name:
            raise PlanError(f"the plan was built for the device '{stamp.device}', it cannot run on '{self._wanted}'")

    def load(self, plan: Plan, allocator: Allocator, threads: int) -> RemoteModule:
        if allocator is not self._memory:
            raise ExecutionError(f"{self.label}: an allocator gives memory of this process; leave it out")
        return RemoteModule(plan, self._wanted, threads)

    def upload(self, address: int, source: int, size: int, stream: Stream | None = None) -> NoReturn:
        self._refuse()

    def download(self, target: int, address: int, size: int, stream: Stream | None = None) -> NoReturn:
        self._refuse()

    def is_staging(self, address: int) -> bool:
        return True

    def arrays(self, allocator: Allocator) -> None:
        """None: arrays on the device belong to another process."""

    def create_stream(self) -> Stream:
        self._refuse()

    def create_event(self) -> Event:
        self._refuse()

    def find_stream(self, handle: int) -> Stream:
        self._refuse()

    def find_event(self, handle: int) -> Event:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ExecutionError(f"{self.label} has no streams and no memory here; load the plan without processes")


def _started(plan: Plan, label: str, threads: int, control: int) -> subprocess.Popen[bytes]:
    """A process with a plan and one end of a socket."""
    descriptor = os.memfd_create("tensorwright-plan")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(serialize_plan(plan))
        command = [sys.executable, *ISOLATED, START, str(control), str(descriptor), label, str(threads), *sys.path]
        # This process has found out whether the plan is to be trusted, and what it hands on bears no signature.
        environment = {name: value for name, value in os.environ.items() if name != "TENSORWRIGHT_TRUSTED"}
        return subprocess.Popen(command, pass_fds=(control, descriptor), stdin=subprocess.DEVNULL, env=environment)
    except OSError as error:
        raise ExecutionError(f"{label}: no process could be started: {error}") from error
    finally:
        os.close(descriptor)


def _received(control: socket.socket) -> bytes:
    """What the process says of itself, to a zero byte or its end."""
    found = b""
    while not found.endswith(b"\0"):
        part = control.recv(4096)
        if not part:
            return found
        found += part
    return found[:-1]


def _end(worker: subprocess.Popen[bytes], control: socket.socket) -> None:
    """End a process: it goes when nobody is at the other end any more."""
    control.close()
    try:
        worker.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
