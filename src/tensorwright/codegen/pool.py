"""Compiles many modules at once, in processes, since LLVM's binding holds one lock."""

from __future__ import annotations

import contextlib
import os
import queue
import struct
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Self

from tensorwright.base.errors import BuildError

IN_PROCESS = 3
"""Up to so many modules are compiled in this process: starting others would take longer."""


ISOLATED = ("-P", "-S", "-s", "-c")
"""Options of Python with which a process finds its standard library first, and nothing in the working folder."""

START = "import sys; sys.path += sys.argv[2:]; from {worker} import main; main()"
"""What such a process runs; its arguments are the target and where to find this package and those that it needs."""


class CompilerPool(ABC):
    """Turns modules into objects and remembers them. Use it as a context manager: it ends its processes.

    Modules that are submitted are compiled while the caller goes on. A process is started when all others are busy,
    until there are so many as were asked for.
    """

    worker: ClassVar[str]
    """The module whose `main` its processes run: it does what `compile_here` does."""

    def __init__(self, target: str, processes: int) -> None:
        """target: the name of what is compiled for."""
        self._target = target
        self._count = processes
        self._workers: list[subprocess.Popen[bytes]] = []
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._threads: ThreadPoolExecutor | None = None
        self._pending: dict[str, str] = {}
        self._running: dict[str, Future[bytes]] = {}
        self._objects: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for future in self._running.values():
            future.cancel()
        for worker in self._workers:
            worker.terminate()
        if self._threads is not None:
            self._threads.shutdown()
        for worker in self._workers:
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            worker.wait()
        self._workers.clear()

    def submit(self, name: str, text: str) -> None:
        """Have a module compiled, if it is not yet; `name` identifies its text."""
        if name in self._objects or name in self._running:
            return
        self._pending[name] = text
        if self._threads is None and len(self._pending) > IN_PROCESS and self._count > 1:
            self._threads = ThreadPoolExecutor(self._count)
        if self._threads is not None:
            self._hand_out(self._threads)

    def compile(self, name: str, text: str) -> bytes:
        """The object of one module; waits for it if it was submitted.

        Raises:
            BuildError: LLVM rejects the module, or a process died.
        """
        if name not in self._objects:
            running = self._running.pop(name, None)
            self._pending.pop(name, None)
            self._objects[name] = self.compile_here(text) if running is None else running.result()
        return self._objects[name]

    def compile_all(self, modules: Mapping[str, str], done: Callable[[str], None]) -> None:
        """Compile all modules; `done` hears the name of each that was not compiled before.

        Raises:
            BuildError: LLVM rejects a module, or a process died.
        """
        missing = [name for name in modules if name not in self._objects]
        for name in missing:
            self.submit(name, modules[name])
        for name in missing:
            self.compile(name, modules[name])
            done(name)

    @abstractmethod
    def compile_here(self, text: str) -> bytes:
        """The object of a module, made by this process."""

    def _hand_out(self, threads: ThreadPoolExecutor) -> None:
        """Have others compile what is pending; what the system has no thread for is compiled when it is asked for."""
        for name, module in list(self._pending.items()):
            if len(self._workers) < self._count and self._busy() >= len(self._workers):
                self._start()
            if not self._workers:
                return
            try:
                self._running[name] = threads.submit(self._ask_any, module)
            except RuntimeError:
                return
            del self._pending[name]

    def _busy(self) -> int:
        """How many modules are compiled or wait for that."""
        return sum(not future.done() for future in self._running.values())

    def _start(self) -> None:
        """Start a process; where the system allows no more, those that there are have to do."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        start = START.format(worker=self.worker)
        command = [sys.executable, *ISOLATED, start, self._target, *_import_folders()]
        try:
            worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        except OSError:
            self._count = len(self._workers)
            return
        self._workers.append(worker)
        self._idle.put(worker)

    def _ask_any(self, text: str) -> bytes:
        worker = self._idle.get()
        try:
            return _ask(worker, text)
        finally:
            self._idle.put(worker)


def _import_folders() -> list[str]:
    """Where the packages lie that a compiler needs, as this process has found them; then all that it searches."""
    packages = [sys.modules[name].__spec__ for name in ("tensorwright", "llvmlite")]
    origins = [spec.origin for spec in packages if spec is not None and spec.origin is not None]
    folders = [str(Path(origin).absolute().parent.parent) for origin in origins]
    return list(dict.fromkeys([*folders, *filter(None, sys.path)]))


def _ask(worker: subprocess.Popen[bytes], text: str) -> bytes:
    assert worker.stdin is not None
    assert worker.stdout is not None
    encoded = text.encode()
    try:
        worker.stdin.write(struct.pack("<Q", len(encoded)) + encoded)
        worker.stdin.flush()
        header = worker.stdout.read(9)
        status, size = struct.unpack("<BQ", header)
        answer = worker.stdout.read(size)
    except (BrokenPipeError, struct.error):
        raise BuildError(
            f"a compiler process ended unexpectedly (exit status {worker.poll()}); it may have run out of memory: "
            "build with less going on at the same time"
        ) from None
    if status:
        raise BuildError(answer.decode())
    return bytes(answer)
