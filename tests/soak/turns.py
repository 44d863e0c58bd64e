"""What a thread does next: one of many small dealings with engines, contexts, streams, events and forks, by chance."""

from __future__ import annotations

import copy
import gc
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import native_plans
from tensorwright.base.errors import ExecutionError
from tensorwright.devices.cpu.device import CpuDevice
from tensorwright.plan.file import serialize_plan
from tensorwright.runtime.context import ExecutionContext
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.load import load

Array = npt.NDArray[np.float32]
MOST_ROWS = 64
FORK_SECONDS = 60.0


class Wrong(Exception):
    """An answer that is wrong, or a child process that did not end well."""


@dataclass(frozen=True)
class Shared:
    """What all threads use at the same time."""

    engine: Engine
    content: bytes
    device: CpuDevice


def shared() -> Shared:
    plan = native_plans.plan()
    return Shared(Engine(plan, threads=2), serialize_plan(plan), CpuDevice())


def drawn(rng: random.Random) -> Array:
    return np.random.default_rng(rng.getrandbits(32)).standard_normal((rng.randint(1, MOST_ROWS), 4), np.float32)


def check(found: Array, x: Array) -> None:
    if not np.array_equal(found, native_plans.expected(x)):
        raise Wrong(f"{x.shape[0]} rows are computed wrong")


def of_all(all_: Shared, rng: random.Random) -> None:
    """The engine that all threads share runs with its own context."""
    x = drawn(rng)
    check(all_.engine({"x": x})["y"], x)


def of_a_context(all_: Shared, rng: random.Random) -> None:
    """A few runs with a context, which is closed, dropped, or left to the collector in a cycle."""
    context = all_.engine.create_execution_context()
    for _ in range(rng.randint(1, 20)):
        x = drawn(rng)
        check(context({"x": x})["y"], x)
    end = rng.randrange(3)
    if end == 0:
        context.close()
    elif end == 1:
        cycle: list[object] = [context]
        cycle.append(cycle)


def of_a_file(all_: Shared, rng: random.Random) -> None:
    """A plan is saved and loaded, mapped or copied, and its file deleted while the engine lives."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "engine.plan"
        all_.engine.save(path)
        engine = load(path, threads=rng.choice((1, 2, 3)), copy=rng.random() < 0.5)
    x = drawn(rng)
    check(engine({"x": x})["y"], x)
    if rng.random() < 0.5:
        engine.close()


def of_an_engine(all_: Shared, rng: random.Random) -> None:
    """An engine is closed while its context lives, or dropped before it, or copied, which is refused."""
    engine = load(all_.content, threads=rng.choice((1, 2, 4)))
    context = engine.create_execution_context()
    x = drawn(rng)
    if rng.random() < 0.3:
        engine.close()
        try:
            check(context({"x": x})["y"], x)
        except ExecutionError:
            return
    elif rng.random() < 0.5:
        del engine
    else:
        try:
            copy.copy(engine)
        except ExecutionError:
            pass
        else:
            raise Wrong("an engine was copied")
    check(context({"x": x})["y"], x)


def of_a_stream(all_: Shared, rng: random.Random) -> None:
    """Work in one or two streams that wait for each other's events, some of it dropped before it has run."""
    streams = [all_.device.create_stream() for _ in range(rng.randint(1, 2))]
    event, contexts, waiting = all_.device.create_event(), list[ExecutionContext](), list[tuple[Array, Array]]()
    for _ in range(rng.randint(1, 8)):
        stream = rng.choice(streams)
        context = all_.engine.create_execution_context()
        x, y = _enqueued(all_, context, rng, stream)
        event.record(stream)
        rng.choice(streams).wait_event(event)
        waiting.append((x, y))
        if rng.random() < 0.5:
            contexts.append(context)
    for stream in streams:
        stream.synchronize()
    event.synchronize()
    for x, y in waiting:
        check(y, x)


def _enqueued(all_: Shared, context: ExecutionContext, rng: random.Random, stream: object) -> tuple[Array, Array]:
    x = drawn(rng)
    y = np.full_like(x, np.nan)
    context.set_input_shape("x", x.shape)
    context.enqueue(None, [x.ctypes.data, y.ctypes.data], stream)  # type: ignore[arg-type]
    return x, y


def of_lent_memory(all_: Shared, rng: random.Random) -> None:
    """A context in lent memory, full of what others left there."""
    context = all_.engine.create_execution_context_without_device_memory()
    size, alignment = all_.engine.device_memory_size, all_.engine.device_memory_alignment
    memory = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, size + alignment, np.uint8)
    context.device_memory = -(-memory.ctypes.data // alignment) * alignment
    x = drawn(rng)
    check(context({"x": x})["y"], x)


def of_errors(all_: Shared, rng: random.Random) -> None:
    """Calls that are refused, after which the context works."""
    context, x = all_.engine.create_execution_context(), drawn(rng)
    for wrong in ({"x": x.astype(np.float64)}, {"z": x}, {"x": x[:, :3]}, {"x": np.zeros((MOST_ROWS + 1, 4), "f")}):
        try:
            context(wrong)
        except ExecutionError:
            continue
        raise Wrong(f"{wrong} was taken")
    check(context({"x": x})["y"], x)


def of_a_profile(all_: Shared, rng: random.Random) -> None:
    context, steps = all_.engine.create_execution_context(), all_.engine.num_layers
    if len(context.profile({"x": drawn(rng)}, steps)) != steps + 1:
        raise Wrong("a profile lacks steps")


def of_a_fork(all_: Shared, rng: random.Random) -> None:
    """A child, forked while other threads work, uses what it inherited and what it makes itself."""
    seed = rng.getrandbits(32)
    child = os.fork()
    if child == 0:
        _child(all_, random.Random(seed))
    deadline = time.monotonic() + FORK_SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status:
                raise Wrong(f"a child process ended with status {status}")
            return
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise Wrong("a child process hangs")


def _child(all_: Shared, rng: random.Random) -> None:
    try:
        for turn in (of_all, of_a_context, of_a_stream, of_an_engine):
            turn(all_, rng)
        gc.collect()
    except BaseException:  # noqa: BLE001  # Whatever it is, the parent hears of it.
        traceback.print_exc(file=sys.stderr)
        os._exit(1)
    os._exit(0)


Turn = Callable[[Shared, random.Random], None]
TURNS: tuple[tuple[Turn, int], ...] = (
    (of_all, 20), (of_a_context, 10), (of_an_engine, 4), (of_a_file, 2), (of_a_stream, 6), (of_lent_memory, 4),
    (of_errors, 4), (of_a_profile, 1), (of_a_fork, 1),
)  # fmt: skip
"""With how often each is dealt."""
