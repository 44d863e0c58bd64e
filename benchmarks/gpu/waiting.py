"""A peer's side of a comparison, the other end of `benchmarks.gpu.beside.Side`: what all peers have in common.

Each network is prepared in a process of its own, some at a time, and they are measured one after another when all are
prepared and, if it is given, the file that --after names is there: so that nothing else uses the GPU then. Those that
are not prepared after --patience seconds, or when the file that --until names is there, are left out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.gpu.beside import READY

MOST_SECONDS, END_SECONDS = 180, 10
"""What measuring one network may take, and its process to end then."""
Measure = Callable[[], Mapping[str, Any]]
Prepare = Callable[[str], Measure]
"""From a network "NAME:BATCH:TYPE" to what measures it; both run in a process of their own."""


def parser() -> argparse.ArgumentParser:
    """The options of all peers."""
    made = argparse.ArgumentParser()
    made.add_argument("networks", nargs="+", help="NAME:BATCH:TYPE")
    made.add_argument("--json", type=Path)
    made.add_argument("--after", type=Path, help="a file whose coming the measurements wait for")
    made.add_argument("--until", type=Path, help="a file at whose coming those are ended that still prepare")
    made.add_argument("--at-once", type=int, default=16, help="how many prepare at a time")
    made.add_argument("--patience", type=float, default=600, help="seconds for preparing")
    return made


@dataclass(frozen=True)
class Prepared:
    """A process that is ready to measure its network."""

    process: BaseProcess
    pipe: Connection
    seconds: float

    def measured(self) -> Mapping[str, Any]:
        """Its row; the process has ended then.

        Raises:
            OSError, EOFError: it failed, or took too long.
        """
        try:
            self.pipe.send("now")
            if not self.pipe.poll(MOST_SECONDS):
                raise TimeoutError(f"no answer in {MOST_SECONDS} s")
            row = self.pipe.recv()
            self.process.join(END_SECONDS)
            return {**row, "prepare_seconds": self.seconds}
        finally:
            self.process.kill()


def take_part(options: argparse.Namespace, prepare: Prepare) -> None:
    """Prepare the networks, say so, wait, and have them measured; every row is printed and written."""
    found = Preparing(options.networks, options.at_once, prepare).until(options.until, time.time() + options.patience)
    print(f"prepared: { {item: round(one.seconds, 1) for item, one in found.items()} }", flush=True)
    print(READY, flush=True)
    while options.after is not None and not options.after.exists():
        time.sleep(0.1)
    rows = []
    for item, one in found.items():
        try:
            rows.append({"network": item, **one.measured()})
            print(json.dumps(rows[-1]), flush=True)
        except (OSError, EOFError) as error:
            print(f"{item}: {error!r}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))


class Preparing:
    """Processes that prepare a network each, some at a time."""

    def __init__(self, items: Sequence[str], at_once: int, prepare: Prepare) -> None:
        self._waiting, self._at_once, self._prepare = deque(items), at_once, prepare
        self._at_work: dict[Connection, tuple[str, BaseProcess]] = {}

    def until(self, file: Path | None, end: float) -> dict[str, Prepared]:
        """Wait for all, until a file comes or a time; those that are prepared, by network."""
        done = {}
        while (self._waiting or self._at_work) and time.time() < end and not (file is not None and file.exists()):
            while self._waiting and len(self._at_work) < self._at_once:
                self._start(self._waiting.popleft())
            for pipe in wait(list(self._at_work), 0.2):
                item, process = self._at_work.pop(pipe)
                try:
                    done[item] = Prepared(process, pipe, pipe.recv())
                    print(f"{item}: prepared", flush=True)
                except EOFError:
                    print(f"{item}: failed", flush=True)
        for item, process in self._at_work.values():
            print(f"{item}: not done", flush=True)
            process.kill()
        return done

    def _start(self, item: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(item, self._prepare, theirs), daemon=True)
        process.start()
        theirs.close()
        self._at_work[ours] = item, process


def _serve(item: str, prepare: Prepare, pipe: Connection) -> None:
    """Prepare a network, say how long it took, and measure it when asked to."""
    began = time.time()
    measure = prepare(item)
    pipe.send(time.time() - began)
    pipe.recv()
    pipe.send(measure())
