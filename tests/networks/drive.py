"""Checks networks, or what else has seeds, one after the other in a process for each core, until the time is over."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tensorwright.base.files import replacing

SHRINK_SECONDS = 60.0

SHRUNK_OF_A_KIND = 3
SHRUNK_DIFFERENCES = 24
KEPT_OF_A_KIND = 40
SAVED_EVERY = 20.0


_THREADS = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Every core has a process that needs it."""

_PATH = os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
_PLACE: Mapping[str, Any] = {
    "cwd": str(Path(__file__).parent.parent),
    "env": {**os.environ, **_THREADS, "PYTHONPATH": _PATH},
}


@dataclass(frozen=True)
class Work:
    """What is checked.

    module: answers seeds, one a line, when it is run with ``--serve``, and makes smaller what is bad about one with
    ``--only N --shrink SECONDS``. arguments: given to it besides. what: its plural. seconds: how long one may take.
    of_a_process: after so many a fresh process begins, so that memory that other packages never give back does not add
    up. remarks: what is counted of each besides its outcome.
    """

    module: str = "networks"
    arguments: tuple[str, ...] = ()
    what: str = "networks"
    seconds: float = 120.0
    of_a_process: int = 400
    remarks: str = "not judged by ONNX Runtime, which said"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", self.module, *self.arguments, *arguments]


NETWORKS = Work()


@dataclass
class Tally:
    """What was found so far; saved in a folder, from which a later run goes on."""

    next: int = 0
    seconds: float = 0.0
    networks: int = 0
    comparisons: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    runtime: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, object]]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Tally:
        if not path.exists():
            return cls()
        known = json.loads(path.read_text())
        counters = {name: Counter(known.pop(name)) for name in ("outcomes", "kinds", "runtime")}
        return cls(**known, **counters)

    def save(self, path: Path) -> None:
        with replacing(path) as file:
            file.write(json.dumps(vars(self), indent=1).encode())

    def add(self, seed: int, found: Mapping[str, object]) -> None:
        outcome, kind = str(found["outcome"]), str(found["kind"])
        self.networks += 1
        self.comparisons += int(str(found["comparisons"]))
        self.outcomes[outcome] += 1
        if found["runtime"]:
            self.runtime[str(found["runtime"])[:80]] += 1
        if outcome != "equal":
            self.kinds[kind] += 1
            kept = self.examples.setdefault(kind, [])
            if len(kept) < KEPT_OF_A_KIND:
                kept.append({"seed": seed, "detail": str(found["detail"])[:500]})

    def table(self, work: Work = NETWORKS) -> str:
        rate = self.networks / max(self.seconds, 1e-9)
        done = f"{self.networks} {work.what} in {self.seconds:.0f} s ({rate:.1f} a second)"
        lines = [
            f"{done}, {self.comparisons} comparisons",
            *(f"{count:8} {outcome}" for outcome, count in self.outcomes.most_common()),
            "of which:",
        ]
        for kind, count in self.kinds.most_common(40):
            seeds = ", ".join(str(example["seed"]) for example in self.examples[kind][:4])
            lines.append(f"{count:8} {kind} (seeds {seeds})")
        lines.append(f"{work.remarks}:")
        lines += [f"{count:8} {reason}" for reason, count in self.runtime.most_common(40)]
        return "\n".join(lines)


class Driver:
    """The processes and what they found."""

    def __init__(self, folder: Path, seconds: float, jobs: int, first: int, work: Work = NETWORKS) -> None:
        self._work = work
        self._folder = folder
        self._path = folder / "tally.json"
        self._tally = Tally.load(self._path)
        self._tally.next = max(self._tally.next, first)
        self._jobs = jobs
        self._deadline = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._shrunk: Counter[str] = Counter()

    def run(self) -> Tally:
        """Returns at the deadline, or a second later."""
        before, start = self._tally.seconds, time.monotonic()
        threads = [threading.Thread(target=self._check, daemon=True) for _ in range(self._jobs)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(min(SAVED_EVERY, max(0.1, self._deadline - time.monotonic())))
            with self._lock:
                self._tally.seconds = before + time.monotonic() - start
                self._tally.save(self._path)
        return self._tally

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _check(self) -> None:
        while self._left() > 0:
            with Worker(self._work) as worker:
                for _ in range(self._work.of_a_process):
                    if self._left() <= 0 or not self._one(worker):
                        break

    def _one(self, worker: Worker) -> bool:
        """Check one seed; whether the process can go on."""
        with self._lock:
            seed = self._tally.next
            self._tally.next += 1
        limit = min(self._work.seconds, self._left())
        found = worker.ask(seed, limit)
        if found is None and limit < self._work.seconds and self._left() <= 0:
            return False
        verdict = found or worker.failure()
        with self._lock:
            self._tally.add(seed, verdict)
        if verdict["outcome"] not in ("equal", "refused"):
            self._shrink(seed, verdict)
        return found is not None

    def _shrink(self, seed: int, verdict: Mapping[str, object]) -> None:
        kind = str(verdict["kind"])
        with self._lock:
            most = SHRUNK_DIFFERENCES if verdict["outcome"] == "different" else SHRUNK_OF_A_KIND
            if self._shrunk[kind] >= most or self._left() < 5:
                return
            self._shrunk[kind] += 1
        seconds = min(SHRINK_SECONDS, self._left() - 4)
        command = self._work.command("--only", str(seed), "--shrink", str(seconds))
        with (self._folder / f"seed-{seed}.txt").open("wb") as file:
            try:
                subprocess.run(command, stdout=file, stderr=file, timeout=self._left(), check=False, **_PLACE)
            except subprocess.TimeoutExpired:
                file.write(b"\nnot shrunk in time\n")


class Worker:
    """A process that checks one seed after the other."""

    def __init__(self, work: Work) -> None:
        self._command = work.command("--serve")

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **_PLACE
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, seed: int, seconds: float) -> dict[str, object] | None:
        """The verdict on a network; None if the process ended or the time did."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{seed}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else b""
        return dict(json.loads(line)) if line.endswith(b"\n") else None

    def failure(self) -> dict[str, object]:
        """What to note of a process that gave no verdict."""
        time.sleep(0.1)
        status = self._process.poll()
        detail = "took too long" if status is None else f"the process ended with exit status {status}"
        return {"outcome": "crashed", "kind": f"crashed: {detail}", "detail": detail, "comparisons": 0, "runtime": ""}


def cores() -> int:
    return len(os.sched_getaffinity(0))
