"""The process in which one engine runs: ``python -m benchmarks.engines ENGINE MODEL THREADS INPUT OUTPUT PRECISION``.

It pins itself to as many cores as it has threads, loads the model, writes the output for the input file to the output
file and says ``ready SECONDS`` (import and load). Then, for every line ``run N`` on standard input, it runs N times and
answers with the times in nanoseconds; ``memory`` is answered with the peak resident size in bytes.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WARM_SECONDS = 0.3


def serve(arguments: Sequence[str], engines: Mapping[str, Callable[[Path, int, str], Any]]) -> None:
    name, model, threads, source, destination, precision = arguments
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    array = np.load(source)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Engines print to the standard output; it belongs to the answers.
    start = time.perf_counter()
    engine = engines[name](Path(model), int(threads), precision)
    output = engine(array)
    loaded = time.perf_counter() - start
    np.save(destination, output)
    until = time.perf_counter() + WARM_SECONDS
    while time.perf_counter() < until:
        engine(array)
    print(f"ready {loaded}", file=answers, flush=True)
    for line in sys.stdin:
        command = line.split()
        if command[0] == "run":
            print(" ".join(map(str, _times(engine, array, int(command[1])))), file=answers, flush=True)
        elif command[0] == "memory":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=answers, flush=True)


def _times(engine: Any, array: np.ndarray[Any, Any], count: int) -> list[int]:
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        engine(array)
        times.append(time.perf_counter_ns() - start)
    return times
