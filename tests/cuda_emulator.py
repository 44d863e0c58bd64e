"""The stand-in for the driver's library with a GPU behind it: kernels are executed by the machine for PTX, one after
another, so that programs give right results where there is no GPU.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuda_fake import INVALID_VALUE, OUT_OF_MEMORY, FakeLibrary
from ptx.machine import Grid, Machine
from ptx.memory import NOBODY, GlobalMemory
from ptx.parse import parse
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.library import Driver

_CLUSTER = 4


def without_assembler(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have builds leave kernels as PTX, here and in the processes that they start."""
    broken = folder / "ptxas"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("tensorwright.codegen.cuda.compile.find_assembler", lambda: str(broken))


def emulated(monkeypatch: pytest.MonkeyPatch, folder: Path, **options: int) -> EmulatedLibrary:
    """An emulated GPU that this process finds."""
    without_assembler(monkeypatch, folder)
    library = EmulatedLibrary(**options)
    monkeypatch.setattr("tensorwright.devices.cuda.library._DRIVERS", [Driver(library)])
    monkeypatch.setattr("tensorwright.backends.cuda._open", lambda number: Context(Driver(library), number))
    return library


class EmulatedLibrary(FakeLibrary):
    """Work of all streams is done when it is put there. size: bytes of device memory, all GPUs together."""

    def __init__(self, size: int = 4 << 20, gpus: int = 1) -> None:
        super().__init__(size, gpus)
        self._lock = threading.RLock()
        self._global = GlobalMemory(2 * size)
        self._modules: dict[int, Any] = {}
        self._functions: dict[int, Any] = {}
        self._captures: dict[int, list[Callable[[], None]]] = {}
        self._graphs: dict[int, list[Callable[[], None]]] = {}

    def __getattr__(self, name: str) -> Any:
        call = super().__getattr__(name)

        def one_at_a_time(*arguments: Any) -> int:
            with self._lock:
                return call(*arguments)

        return one_at_a_time

    def on_cuMemAlloc_v2(self, address: Any, size: int) -> int:  # noqa: N802
        if sum(map(len, self.memory.values())) + size > self.size:
            return OUT_OF_MEMORY
        start = self._global.place(np.full(size, 0xA5, np.uint8))
        address._obj.value = start
        self.memory[start] = self._global.bytes[start : start + size]
        return 0

    def on_cuMemFree_v2(self, address: int) -> int:  # noqa: N802
        block = self.memory.pop(address, None)
        if block is None:
            return INVALID_VALUE
        self._global._allocated[address : address + len(block)] = False
        return 0

    def on_cuModuleLoadDataEx(self, handle: Any, image: bytes, *rest: Any) -> None:  # noqa: N802
        handle._obj.value = self.handle()
        self._modules[handle._obj.value] = parse(image.rstrip(b"\0").decode())

    def on_cuModuleGetFunction(self, handle: Any, module: Any, name: bytes) -> None:  # noqa: N802
        handle._obj.value = self.handle()
        self._functions[handle._obj.value] = self._modules[_number(module)]

    def on_cuLaunchKernelEx(self, config: Any, function: Any, places: Any, extra: Any) -> None:  # noqa: N802
        super().on_cuLaunchKernelEx(config, function, places, extra)
        self.put(config._obj.stream, partial(self._run, self._functions[_number(function)], self.launches[-1]))

    def on_cuMemsetD8Async(self, target: int, byte: int, size: int, stream: int) -> int:  # noqa: N802
        self.put(stream, partial(super().on_cuMemsetD8Async, target, byte, size, stream))
        return 0

    def put(self, stream: int | None, work: Callable[[], None]) -> None:
        """Do work of a stream, or keep it for the graph that is being recorded."""
        capture = self._captures.get(_number(stream))
        if capture is None:
            work()
        else:
            capture.append(work)

    def on_cuStreamBeginCapture_v2(self, stream: int, mode: int) -> None:  # noqa: N802
        self._captures[_number(stream)] = []

    def on_cuStreamEndCapture(self, stream: int, graph: Any) -> None:  # noqa: N802
        graph._obj.value = self.handle()
        self._graphs[graph._obj.value] = self._captures.pop(_number(stream))

    def on_cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: int) -> None:  # noqa: N802
        executable._obj.value = self.handle()
        self._graphs[executable._obj.value] = self._graphs[_number(graph)]

    def on_cuGraphExecUpdate_v2(self, executable: Any, graph: Any, result: Any) -> None:  # noqa: N802
        self._graphs[_number(executable)] = self._graphs[_number(graph)]

    def on_cuGraphLaunch(self, executable: Any, stream: int) -> None:  # noqa: N802
        for work in self._graphs[_number(executable)]:
            work()

    def _run(self, kernel: Any, launch: dict[str, Any]) -> None:
        cluster = int.from_bytes(launch["attributes"].get(_CLUSTER, b"")[8:12], "little") or 1
        grid = Grid(launch["grid"], launch["block"][0], cluster, launch["shared"])
        end = self._global._end
        arguments = [argument for argument in launch["arguments"] if argument not in self.maps]
        maps = [self.maps[argument] for argument in launch["arguments"] if argument in self.maps]
        Machine(kernel, grid, self._global, arguments, maps).run()
        self._global._writers[:] = NOBODY
        self._global._end = end  # The constants of the kernel go.


def _number(handle: Any) -> int:
    value = handle.value if isinstance(handle, ctypes.c_void_p) else handle
    return value or 0
