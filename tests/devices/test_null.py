"""The null device, with both its halves: what is built for it is right, and nothing takes it for the processor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphs import binary, given, network, unary
from tensorwright.base.errors import ExecutionError, PlanError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.devices.null.memory import NullMemory
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.load import load
from tensorwright.tensor.dim import symbol

CONFIG = BuildConfig(level=3, device="null", timing_cache="")
GRAPH = network(binary("add", unary("exp", given("x", symbol("batch", 1, 1, 4), 3)), 1.0))


def test_a_saved_plan_computes(tmp_path: Path, rng: np.random.Generator) -> None:
    Engine(build(GRAPH, CONFIG)).save(tmp_path / "null.plan")
    engine = load(tmp_path / "null.plan")
    for batch in (1, 4, 2):
        x = rng.standard_normal((batch, 3), dtype=np.float32)
        np.testing.assert_allclose(engine(x)["out0"], np.exp(x) + 1, rtol=1e-6)
    buffers = engine.run_buffers({"x": np.ones((2, 3), np.float32)})
    np.testing.assert_allclose(np.asarray(buffers["out0"]), np.exp(np.ones((2, 3))) + 1, rtol=1e-6)


def test_builds_are_reproducible(tmp_path: Path) -> None:
    config = replace(CONFIG, timing_cache=tmp_path / "timings.json")
    assert Engine(build(GRAPH, config)).serialize() == Engine(build(GRAPH, config)).serialize()


def test_it_has_addresses_of_its_own() -> None:
    engine = Engine(build(GRAPH, CONFIG))
    context = engine.create_execution_context()
    x, y = np.ones((1, 3), np.float32), np.empty((1, 3), np.float32)
    with pytest.raises(ExecutionError, match="the null device has no 12 bytes at"):
        context.execute(1, [x.ctypes.data, y.ctypes.data])


def test_raw_addresses_and_lent_memory() -> None:
    memory = NullMemory()
    engine = Engine(build(GRAPH, CONFIG), allocator=None)
    device = engine._device
    allocate = device.allocator.allocate
    here = np.arange(6, dtype=np.float32)
    x, y, own = (allocate(size, 64, 0) for size in (24, 24, engine.device_memory_size))
    assert x is not None
    assert y is not None
    device.upload(x, here.ctypes.data, 24)
    context = engine.create_execution_context_without_device_memory()
    context.device_memory = own  # type: ignore[assignment]
    context.execute(2, [x, y])
    found = np.empty(6, np.float32)
    device.download(found.ctypes.data, y, 24)
    np.testing.assert_allclose(found, np.exp(here) + 1, rtol=1e-6)
    with pytest.raises(ExecutionError):
        memory.view(x, 24)


def test_plans_say_what_they_are_for() -> None:
    plan = build(GRAPH, CONFIG)
    assert (plan.stamp.device, plan.stamp.target) == ("null", "numpy")
    other = build(GRAPH, BuildConfig(level=0, threads=1))
    with pytest.raises(PlanError, match="built for the device cpu, this is null"):
        Engine(other, device=Engine(plan)._device)
