"""Compiles many modules at once, in processes, since LLVM's binding holds one lock."""

from __future__ import annotations

import os
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Self

from tensorwright.base.errors import BuildError
from tensorwright.codegen.compile import compile_object
from tensorwright.codegen.target import Target

IN_PROCESS = 3
"""Up to so many modules are compiled in this process: starting others would take longer."""


class CompilerPool:
    """Turns modules into objects and remembers them. Use it as a context manager: it ends its processes."""

    def __init__(self, target: Target, processes: int) -> None:
        self._target = target
        self._count = processes
        self._workers: list[subprocess.Popen[bytes]] = []
        self._objects: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    pipe.close()
            worker.terminate()
            worker.wait()
        self._workers.clear()

    def compile(self, name: str, text: str) -> bytes:
        """The object of one module; `name` identifies its text."""
        if name not in self._objects:
            self._objects[name] = compile_object(text, self._target)
        return self._objects[name]

    def compile_all(self, modules: Mapping[str, str], done: Callable[[str], None]) -> None:
        """Compile all modules that are not compiled yet; `done` hears each name, on any thread.

        Raises:
            BuildError: LLVM rejects a module, or a process died.
        """
        missing = [name for name in modules if name not in self._objects]
        if len(missing) <= IN_PROCESS or self._count < 2:
            for name in missing:
                self.compile(name, modules[name])
                done(name)
            return
        self._start()
        todo: queue.SimpleQueue[str] = queue.SimpleQueue()
        for name in missing:
            todo.put(name)
        errors: list[BuildError] = []
        threads = [
            threading.Thread(target=self._serve, args=(worker, todo, modules, done, errors)) for worker in self._workers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", "tensorwright.codegen.worker", self._target.name]
        while len(self._workers) < self._count:
            self._workers.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            )

    def _serve(
        self,
        worker: subprocess.Popen[bytes],
        todo: queue.SimpleQueue[str],
        modules: Mapping[str, str],
        done: Callable[[str], None],
        errors: list[BuildError],
    ) -> None:
        while not errors:
            try:
                name = todo.get_nowait()
            except queue.Empty:
                return
            try:
                self._objects[name] = _ask(worker, modules[name])
            except BuildError as error:
                errors.append(error)
                return
            done(name)


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
