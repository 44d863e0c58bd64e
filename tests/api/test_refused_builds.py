"""A build to which the system refuses something once, in turn, succeeds or ends with a clean error; nothing is left."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import tensorwright as tw
import tensorwright.build.build
from runtime.test_faults import NO_MEMORY, NO_SPACE, NO_THREADS, TOO_MANY, everywhere, failing, handles
from tensorwright.codegen import pool
from tensorwright.codegen.cpu import pool as cpu_pool
from tensorwright.tune.cpu import machine
from tensorwright.tune.cpu.bench import CpuBench

TARGETS = {
    "files": [(os, name, NO_SPACE) for name in ("open", "fsync", "replace")],
    "handles": [(os, "open", TOO_MANY)],
    "memory": [(mmap, "mmap", NO_MEMORY)],
    "compilation": [(cpu_pool, "compile_object", MemoryError("no memory left"))],
    "threads": [(threading.Thread, "start", NO_THREADS)],
    "processes": [(subprocess.Popen, "_execute_child", NO_MEMORY)],
}


class Quiet(tw.ILogger):
    def log(self, severity, msg):
        pass


def children():
    return sorted("".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split())


def softmax(factor):
    network = tw.NetworkDefinition()
    x = network.add_input("x", tw.float32, (3, 5))
    scale = network.add_constant((1, 1), np.array([[factor]], np.float32)).get_output(0)
    product = network.add_elementwise(x, scale, tw.ElementWiseOperation.PROD).get_output(0)
    network.mark_output(network.add_softmax(network.add_softmax(product).get_output(0)).get_output(0))
    return network


@pytest.mark.parametrize("what", TARGETS)
def test_what_the_system_refuses_once(tmp_path, monkeypatch, rng, what):
    monkeypatch.setattr(pool, "IN_PROCESS", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setenv("TENSORWRIGHT_CHECK_PLAN", "0")
    monkeypatch.setattr(sys.modules["tensorwright.build.build"], "remember_machine", lambda *_: None)
    monkeypatch.setattr(CpuBench, "machine", lambda _: None)  # Takes half a second each time.
    logger, numbers = Quiet(), iter(range(1000))
    x = rng.standard_normal((3, 5)).astype(np.float32)

    def work():
        cache = tmp_path / f"t{next(numbers)}"
        with tw.build(softmax(3.0), level=1, threads=2, timing_cache=cache, logger=logger) as engine:
            assert next(iter(engine(x).values())).sum() == pytest.approx(3, rel=1e-5)

    work()
    before = handles(), threading.active_count(), children()

    def check(number):
        assert (handles(), threading.active_count(), children()) == before, number
        assert all(entry.name.startswith((".t", "t")) for entry in tmp_path.iterdir()), number
        assert not [entry for entry in tmp_path.iterdir() if len(entry.name) > 16], number

    everywhere(TARGETS[what], work, check)
    work()


@pytest.mark.parametrize("number", [0, 1])
def test_measuring_the_machine_ends_when_threads_are_refused(number):
    before = threading.active_count()
    arrays = [np.ones(64, np.uint8) for _ in range(3)]
    with failing(TARGETS["threads"], number), pytest.raises(tw.BuildError, match="refused to start 2 more threads"):
        machine._round(lambda *_: None, arrays, 64, 1)
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(10)
    assert threading.active_count() == before
