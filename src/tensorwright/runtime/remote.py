"""Devices of other processes: an engine here, its device there, and memory that both share.

What takes a device from a process takes it from that one alone, and its interpreter has a lock of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, MutableSequence, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from tensorwright.base.errors import DeviceError, ExecutionError, PlanError
from tensorwright.devices.find import split_name
from tensorwright.devices.host_memory import HostMemory
from tensorwright.plan.file import serialize_plan
from tensorwright.plan.seal import sealed
from tensorwright.runtime.copying import Copier
from tensorwright.runtime.exchange import Message, Messages, SharedMemory, layout
from tensorwright.runtime.reach import Token

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator, Event, Module, Stream
    from tensorwright.plan.plan import MachineStamp, Plan

START = "import sys; sys.path += sys.argv[6:]; from tensorwright.runtime.worker import main; main()"
"""What the process runs; its arguments are descriptors of a socket and of the plan, device, threads, the text of a
token of this process, and where to find this package and those that it needs.
"""
ISOLATED = ("-P", "-S", "-s", "-c")
ALIGNMENT = 64
SECONDS_TO_END = 10
COUNTS = struct.Struct("<HH")
"""How contexts are asked for: how many there are, and how many threads begin and end inferences."""
READY = b"ready"
REACHES = b"ready, and reads and writes your memory"
IN_A_PROCESS = " in a process"
"""What the label of such a device ends in."""


class Reply(NamedTuple):
    """The answer to what was asked with a number: the ticks of the steps that were timed, or what failed."""

    number: int
    ticks: Sequence[int]
    failure: Exception | None


def ask(messages: Messages, number: int, symbols: Sequence[int], bindings: Sequence[int], steps: int = 0) -> None:
    """Ask for an inference: values of the plan's symbols, addresses of its bindings here, the steps to be timed."""
    messages.send((number, steps, *symbols, *bindings))


def reply_of(message: Message) -> Reply:
    """What a message says that answers one of `ask`."""
    number, is_device, is_lost, *ticks = message.numbers
    failure = None
    if message.text:
        failure = DeviceError(message.text, lost=bool(is_lost)) if is_device else ExecutionError(message.text)
    return Reply(number, ticks, failure)


class RemoteExecutor:
    """Inferences in another process; its bindings are addresses of this one.

    The other process fetches inputs and brings outputs by itself, so that nothing large is copied here; where the
    system does not let it, both go through memory that is shared.
    """

    def __init__(self, module: RemoteModule) -> None:
        self.bindings: MutableSequence[int] = [0] * len(module.plan.bindings)
        self.symbols: MutableSequence[int] = [0] * len(module.plan.symbols)
        self._module = module
        self._process = os.getpid()
        self._memory = None if module.is_reached else SharedMemory(os.memfd_create("tensorwright"))
        self._messages = module.connect(self._memory)
        self._copier = Copier()
        self._is_closed = False

    @property
    def runner(self) -> Callable[[], None]:
        return self.run

    def run(self) -> None:
        self._exchange(0)

    def run_profiled(self, steps: int) -> list[int]:
        return [*self._exchange(steps)]

    def set_memory(self, address: int) -> None:
        """Nothing: the other process has memory of its own."""

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._messages.end()
            if self._memory is not None:
                self._memory.close()
            self._copier.close()

    def _exchange(self, steps: int) -> Sequence[int]:
        if os.getpid() != self._process:
            raise ExecutionError(
                f"{self._module.label} belongs to the process that loaded the plan, not to a forked one; load it there"
            )
        return self._ask(steps) if self._memory is None else self._share(self._memory, steps)

    def _share(self, memory: SharedMemory, steps: int) -> Sequence[int]:
        found = layout(self._module.plan, self.symbols)
        memory.reserve(found.size)
        for number, offset, size in found.inputs:
            self._copier.copy_whole(memory.address + offset, self.bindings[number], size)
        ticks = self._ask(steps)
        for number, offset, size in found.outputs:
            self._copier.copy_whole(self.bindings[number], memory.address + offset, size)
        return ticks

    def _ask(self, steps: int) -> Sequence[int]:
        try:
            ask(self._messages, 0, self.symbols, self.bindings, steps)
            reply = reply_of(self._messages.receive())
        except (EOFError, OSError) as error:
            raise self._module.lost() from error
        if reply.failure is not None:
            raise reply.failure
        return reply.ticks


class RemoteModule:
    """A process that has loaded a plan. is_reached: whether it may read and write this process's memory."""

    checks_indices = True

    def __init__(self, plan: Plan, label: str, threads: int) -> None:
        self.plan = plan
        self.label = label
        self.memory_bytes = ALIGNMENT
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        token = Token()
        with theirs:
            self._worker = _started(plan, label, threads, theirs.fileno(), token)
        self._finalizer = weakref.finalize(self, _end, self._worker, self._control)
        answer = _received(self._control)
        self.is_reached = answer == REACHES
        if answer not in (READY, REACHES):
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

    def lost(self) -> DeviceError:
        """What to say when the process does not answer any more."""
        return DeviceError(f"{self.label}: its process has ended ({self.reason}); load the plan again", lost=True)

    def connect(self, memory: SharedMemory | None, contexts: int = 1, threads: int = 1) -> Messages:
        """Have the process make so many contexts; the way to them and back.

        memory: what inputs and outputs are exchanged by. threads: how many inferences may be at work.
        """
        ours, theirs = socket.socketpair()
        given = [theirs.fileno(), *([] if memory is None else [memory.descriptor])]
        try:
            with theirs, self._lock:
                socket.send_fds(self._control, [COUNTS.pack(contexts, threads)], given)
        except OSError as error:
            ours.close()
            raise self.lost() from error
        return Messages(ours)

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

    def load(self, plan: Plan, allocator: Allocator, threads: int, shared: Module | None = None) -> RemoteModule:
        del shared  # Every process has weights of its own.
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


def _started(plan: Plan, label: str, threads: int, control: int, token: Token) -> subprocess.Popen[bytes]:
    """A process with a plan and one end of a socket."""
    descriptor = os.memfd_create("tensorwright-plan")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(serialize_plan(plan if plan.seal else sealed(plan)))  # Profiles have none of their own.
        given = [str(control), str(descriptor), label, str(threads), token.text]
        command = [sys.executable, *ISOLATED, START, *given, *sys.path]
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
