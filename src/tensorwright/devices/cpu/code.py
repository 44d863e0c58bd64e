"""Generated code in executable memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from tensorwright.base.addresses import mapping_address
from tensorwright.base.errors import ExecutionError, PlanError
from tensorwright.base.pages import map_pages

if TYPE_CHECKING:
    from tensorwright.plan.plan import Executable

_PROT_READ_EXECUTE = 0x1 | 0x4

EntryPoint = Callable[..., None]
ENTRIES = ("run", "worker", "stop")
_ADVICE = "build it again"


class ExecutableMemory:
    """Code in memory that is executable and no longer writable, from `address` on, as long as this object lives.

    Raises:
        PlanError: the system does not allow it.
        ExecutionError: there is not enough memory.
    """

    def __init__(self, code: bytes) -> None:
        if sys.platform != "linux":
            raise PlanError(
                f"running plans needs Linux, found {sys.platform}: executable memory is not implemented there; "
                "run this plan on Linux"
            )
        try:
            self._mapping = map_pages(len(code))
        except OSError as error:
            raise ExecutionError(f"there is no memory for {len(code)} bytes of code: {error}; free some") from error
        self._mapping[:] = code
        self.address = mapping_address(self._mapping)
        _flush_instruction_cache(self.address, len(code))
        _make_executable(self.address, len(code))


class CodeImage:
    """The code of a plan in executable memory.

    run, stop: take the address of a context; worker: takes the address of a context and the number of the thread.
    The interpreter lock is released while they run.
    """

    def __init__(self, executable: Executable) -> None:
        entries = executable.entries
        if set(entries) != set(ENTRIES):
            raise PlanError(f"the plan's code has the entries {sorted(entries)}, expected {sorted(ENTRIES)}; {_ADVICE}")
        self._memory = ExecutableMemory(executable.code)
        address = self._memory.address
        context, thread = ctypes.c_void_p, ctypes.c_int64
        self.run: EntryPoint = ctypes.CFUNCTYPE(None, context)(address + entries["run"])
        self.worker: EntryPoint = ctypes.CFUNCTYPE(None, context, thread)(address + entries["worker"])
        self.stop: EntryPoint = ctypes.CFUNCTYPE(None, context)(address + entries["stop"])


def syscall_address() -> int:
    """The address of the C library's `syscall` on Linux, 0 elsewhere."""
    if sys.platform != "linux":
        return 0
    return ctypes.cast(ctypes.CDLL(None).syscall, ctypes.c_void_p).value or 0


def _make_executable(address: int, size: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(pages), _PROT_READ_EXECUTE) != 0:
        raise PlanError(
            f"the system refused to make {size} bytes of code executable (errno {ctypes.get_errno()}); "
            "expected that anonymous memory may become executable: check SELinux and systemd's MemoryDenyWriteExecute"
        )


def _flush_instruction_cache(address: int, size: int) -> None:
    if os.uname().machine == "aarch64":
        clear = ctypes.CDLL("libgcc_s.so.1").__clear_cache
        clear(ctypes.c_void_p(address), ctypes.c_void_p(address + size))
