"""The device that scripts run on: what `pycuda` and `tensorrt` ask of it.

Scripts know one device, and names of modules are a matter of the process; so is this.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.find import split_name

if TYPE_CHECKING:
    from tensorwright.devices.device import Event, Stream

Bytes = npt.NDArray[np.uint8]


class Facts(Protocol):
    """What scripts may ask of a device. Bytes, compute capability, versions as `pycuda` gives them."""

    name: str
    capability: tuple[int, int]
    bus: str
    version: tuple[int, int, int]
    driver_version: int


class Machine(Protocol):
    """Memory, copies and streams of the device.

    device: its name for builds. Without a stream, copies wait for all streams before and are done when they return;
    with one they come after the work that it holds now. Copies to the host are done when they return in either case,
    and sources of copies to the device may change then unless they are page-locked.
    """

    device: str

    @property
    def facts(self) -> Facts: ...

    def allocate(self, size: int) -> int:
        """Memory. Raises ExecutionError, OSError, OverflowError or ValueError: there is not so much."""
        ...

    def free(self, address: int) -> None:
        """Take memory back, after all work."""
        ...

    def lock_pages(self, address: int, size: int) -> None:
        """Have memory of the host stay where it is, so that the device reaches it."""
        ...

    def unlock_pages(self, address: int) -> None: ...

    def to_device(self, target: int, source: Bytes, stream: Stream | None) -> None: ...

    def to_host(self, target: Bytes, source: int, stream: Stream | None) -> None: ...

    def on_device(self, target: int, source: int, size: int, stream: Stream | None) -> None: ...

    def fill(self, target: int, value: np.unsignedinteger, count: int, stream: Stream | None) -> None:
        """Write a value so many times."""
        ...

    def free_memory(self) -> tuple[int, int]:
        """Bytes that are free, and all."""
        ...

    def create_stream(self) -> Stream: ...

    def create_event(self) -> Event: ...

    def find_stream(self, handle: int) -> Stream:
        """The stream of a handle; 0 for the default stream."""
        ...

    def is_finishing(self, stream: Stream) -> None:
        """Called when a script forgets a stream, which may still have work."""
        ...

    def synchronize(self) -> None:
        """Wait for the work of all streams, and raise the first error of it."""
        ...

    def join(self) -> None:
        """As `synchronize`, without raising errors."""
        ...


def choose(name: str) -> None:
    """Have scripts run on a device: "cpu", "cuda" or "cuda:1".

    Raises:
        ExecutionError: there is no such device, or it is none that scripts may run on.
    """
    kind, number = split_name(name)
    if kind not in _MODULES:
        raise ExecutionError(f"scripts run on {' or '.join(_MODULES)}, not on '{name}'")
    _CHOSEN[:] = [importlib.import_module(_MODULES[kind]).create(number)]


def machine() -> Machine:
    """The device that was chosen; the CPU if nobody chose."""
    if not _CHOSEN:
        choose("cpu")
    return _CHOSEN[0]


def fetch(address: int, size: int) -> Bytes:
    """A copy of device memory, when all work is done."""
    found = np.empty(size, np.uint8)
    machine().to_host(found, address, None)
    return found


_MODULES = {"cpu": "tensorwright.compat.cpu_machine", "cuda": "tensorwright.compat.cuda_machine"}
_CHOSEN: list[Machine] = []
