"""Copies between the memory of two processes, done by one of them (process_vm_readv(2), process_vm_writev(2))."""

from __future__ import annotations

import ctypes
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from ctypes import c_size_t, c_ssize_t, c_ulong, c_void_p

from tensorwright.base.fork import cached_property


class _Part(ctypes.Structure):
    """`iovec` of the C library."""

    _fields_ = (("address", c_void_p), ("size", c_size_t))


class OtherMemory:
    """The memory of a process that this one may reach into: a child's, a parent's, one's own.

    Its two copies let the interpreter go on while they work. They raise OSError when the process has ended, the system
    does not allow them, or there is no memory at an address of the other process.
    """

    def __init__(self, process: int) -> None:
        self._process = process

    def read(self, target: int, source: int, size: int) -> None:
        """Copy bytes of the other process (at `source`) to this one (at `target`)."""
        self._all(self._calls[0], target, source, size)

    def write(self, target: int, source: int, size: int) -> None:
        """Copy bytes of this process (at `source`) to the other one (at `target`)."""
        self._all(self._calls[1], source, target, size)

    def holds(self, address: int, expected: bytes) -> bool:
        """Whether these bytes are there and can be read."""
        found = ctypes.create_string_buffer(len(expected))
        with suppress(OSError, AttributeError):  # An old C library lacks the calls.
            self.read(ctypes.addressof(found), address, len(expected))
            return found.raw == expected
        return False

    @cached_property
    def _calls(self) -> tuple[Callable[..., int], Callable[..., int]]:
        library = ctypes.CDLL(None, use_errno=True)
        calls = library.process_vm_readv, library.process_vm_writev
        for call in calls:
            call.argtypes = (ctypes.c_int, c_void_p, c_ulong, c_void_p, c_ulong, c_ulong)
            call.restype = c_ssize_t
        return calls

    def _all(self, call: Callable[..., int], here: int, there: int, size: int) -> None:
        done = 0
        while done < size:
            ours, theirs = _Part(here + done, size - done), _Part(there + done, size - done)
            count = call(self._process, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
            if count <= 0:
                number = ctypes.get_errno()
                raise OSError(number, f"memory of process {self._process} at {there + done:#x}: {os.strerror(number)}")
            done += count


class Token:
    """Bytes nobody guesses, at an address of this process: who reads them has reached it."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(secrets.token_bytes(16), 16)

    @property
    def text(self) -> str:
        """Where and what they are, for `is_reached`."""
        return f"{os.getpid()}:{ctypes.addressof(self._buffer)}:{self._buffer.raw.hex()}"


def reached(text: str) -> OtherMemory | None:
    """The memory of the process that a token's text is of; None where the system does not let this one reach it."""
    process, address, token = text.split(":")
    memory = OtherMemory(int(process))
    return memory if memory.holds(int(address), bytes.fromhex(token)) else None
