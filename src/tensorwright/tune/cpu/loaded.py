"""Functions of machine code that are called in this process one at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

from tensorwright.codegen.cpu.link import link
from tensorwright.codegen.target import Target
from tensorwright.devices.cpu.code import ExecutableMemory
from tensorwright.devices.cpu.host import require_runnable

ArgumentType = type[ctypes.c_void_p] | type[ctypes.c_int64]


class LoadedFunction:
    """A function in memory, which `call` calls as long as this object lives; it returns nothing.

    compiled: the object that has it, made for the target.

    Raises:
        PlanError: this machine lacks the target's instruction set, so that a call would end the process.
    """

    def __init__(self, name: str, compiled: bytes, target: Target, arguments: Sequence[ArgumentType]) -> None:
        require_runnable(target.name)
        image = link([compiled])
        self._memory = ExecutableMemory(image.code)
        self.call: Callable[..., None] = ctypes.CFUNCTYPE(None, *arguments)(
            self._memory.address + image.functions[name]
        )
