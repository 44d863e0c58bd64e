"""Builds that end early, or whose cache is of no use, leave nothing behind and lose nothing."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tensorwright as tw
from tensorwright.api.logger import SHARED_LOGGER
from tensorwright.build.build import TIMINGS_KEPT

PHASES = ("generating kernels", "compiling kernels", "timing kernels", "compiling the network")
CALLS = [(phase, call) for phase in PHASES for call in ("start", "step", "finish")]
CALLS.remove((PHASES[-1], "step"))  # Everything is compiled already.


class Stop(Exception):
    """An exception of the user's own."""


class Monitor(tw.IProgressMonitor):
    """Cancels in a phase, or fails in one of its calls."""

    def __init__(self, phase, call="cancel"):
        self.phase, self.call = phase, call

    def heard(self, call, phase):
        if phase == self.phase and call == self.call:
            raise Stop(call)

    def phase_start(self, phase_name, parent_phase, num_steps):
        self.heard("start", phase_name)

    def step_complete(self, phase_name, step):
        self.heard("step", phase_name)
        return not (self.call == "cancel" and phase_name == self.phase)

    def phase_finish(self, phase_name):
        self.heard("finish", phase_name)


class Recorder(tw.ILogger):
    def __init__(self, fails=False):
        self.messages, self.fails = [], fails

    def log(self, severity, msg):
        self.messages.append((severity, msg))
        if self.fails:
            raise Stop("log")


def children():
    """The processes that this one has started."""
    return sorted("".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split())


@pytest.fixture
def builder(monkeypatch):
    monkeypatch.setattr(SHARED_LOGGER, "_used", None)
    found = tw.Builder(Recorder())
    before = children(), threading.active_count()
    yield found
    assert (children(), threading.active_count()) == before


def network(builder, factor):
    made = builder.create_network(1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    x = made.add_input("x", tw.float32, (3, 5))
    scale = made.add_constant((1, 1), np.array([[factor]], np.float32)).get_output(0)
    product = made.add_elementwise(x, scale, tw.ElementWiseOperation.PROD).get_output(0)
    made.mark_output(made.add_softmax(product).get_output(0))
    return made


def configured(builder, cache, monitor=None):
    config = builder.create_builder_config()
    config.threads, config.builder_optimization_level = 1, 1
    config.set_timing_cache(cache)
    config.progress_monitor = monitor
    return config


def test_a_cancelled_build_keeps_its_timings(builder, tmp_path):
    cache = tmp_path / "timings.json"
    with pytest.raises(tw.BuildError, match="progress monitor cancelled the build") as caught:
        builder.build_engine(network(builder, 2.0), configured(builder, cache, Monitor("timing kernels")))
    assert caught.value.__notes__ == [TIMINGS_KEPT]
    assert (tw.Logger.INFO, f"the build ended early; {TIMINGS_KEPT}") in builder.logger.messages
    assert cache.stat().st_size > 100
    known = tw.TimingCache()
    with pytest.raises(tw.BuildError):
        builder.build_engine(network(builder, 2.0), configured(builder, known, Monitor("timing kernels")))
    assert len(known.serialize()) > 100


@pytest.mark.parametrize(("phase", "call"), CALLS)
def test_a_failing_monitor_ends_the_build_with_its_own_exception(builder, tmp_path, phase, call):
    before = set(tmp_path.iterdir())
    with pytest.raises(Stop, match=call):
        builder.build_engine(network(builder, 3.0), configured(builder, tmp_path / "t", Monitor(phase, call)))
    assert {entry.name for entry in set(tmp_path.iterdir()) - before} <= {"t", ".t.lock"}


def test_a_failing_logger_ends_the_build_with_its_own_exception(builder, tmp_path):
    builder.logger.fails = True
    (tmp_path / "t").write_text("no cache")
    with pytest.raises(Stop, match="log"):
        builder.build_engine(network(builder, 4.0), configured(builder, tmp_path / "t"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["t"]


def test_an_unusable_cache_is_one_warning_and_no_more(builder, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    engine = builder.build_engine(network(builder, 5.0), configured(builder, tmp_path / "pipe"))
    assert engine.num_bindings == 2
    (message,) = builder.logger.messages
    assert message[0] == tw.Logger.WARNING
    assert "is not readable and is ignored" in message[1]


def test_an_unusable_calibration_cache_is_two_warnings_and_no_more(builder, tmp_path, rng):
    (tmp_path / "folder").mkdir()
    config = configured(builder, "")
    config.builder_optimization_level = 0
    config.set_flag(tw.BuilderFlag.INT8)
    batches = [{"x": rng.standard_normal((3, 5)).astype("float32")}]
    config.int8_calibrator = tw.Calibrator(batches, cache=tmp_path / "folder")
    builder.logger.messages.clear()
    assert builder.build_engine(network(builder, 6.0), config).report["calibration"]
    found = [text for severity, text in builder.logger.messages if severity == tw.Logger.WARNING]
    assert ["cannot be read" in found[0], "cannot be written" in found[1]] == [True, True]
    assert not list((tmp_path / "folder").iterdir())


def test_threads_that_could_not_be_loaded_are_not_built(builder):
    with pytest.raises(tw.BuildError, match="threads is 2000; expected an integer from 1 to 1024"):
        builder.create_builder_config().threads = 2000


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (1 << 45, r"bindings\[0\].shape: expected no negative dimension and at most"),
        (1 << 60, r"symbols\[0\]: expected an integer from 0 to"),
        (1 << 41, "arena_bytes|workspace_bytes|bindings"),
    ],
)
def test_what_could_not_be_loaded_is_not_built(builder, batch, message):
    made = builder.create_network(1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    x = made.add_input("x", tw.float32, (tw.symbol("N", 1, 1, batch), 5))
    between = made.add_softmax(x).get_output(0)
    both = made.add_concatenation([between, made.add_softmax(between).get_output(0)]).get_output(0)
    made.mark_output(made.add_softmax(made.add_softmax(both).get_output(0)).get_output(0))
    config = configured(builder, "")
    config.builder_optimization_level = 0
    with pytest.raises(tw.BuildError, match=message):
        builder.build_engine(made, config)


@pytest.mark.parametrize(("threads", "batch"), [(1024, 8), (1, 1 << 30)])
def test_what_is_built_can_be_loaded(builder, threads, batch, monkeypatch):
    monkeypatch.setenv("TENSORWRIGHT_CHECK_PLAN", "0")  # It looks at every byte of 20 GiB.
    made = builder.create_network(1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    x = made.add_input("x", tw.float32, (tw.symbol("N", 1, 1, batch), 5))
    made.mark_output(made.add_softmax(x).get_output(0))
    config = configured(builder, "")
    config.threads, config.builder_optimization_level = threads, 0
    engine = tw.load(builder.build_serialized_network(made, config))
    assert (engine.threads, engine.bindings[0].type.max_bytes) == (threads, 20 * batch)


def test_a_build_is_cancelled_from_another_thread(builder, tmp_path):
    cancellation = tw.Cancellation()

    class Elsewhere(Monitor):
        def step_complete(self, phase_name, step):
            thread = threading.Thread(target=cancellation.cancel)
            thread.start()
            thread.join()
            return True

    config = configured(builder, tmp_path / "t", Elsewhere(""))
    config.options = replace(config.options, cancellation=cancellation)
    with pytest.raises(tw.BuildError, match="the build was cancelled"):
        builder.build_engine(network(builder, 7.0), config)
    assert cancellation.is_cancelled
    with pytest.raises(tw.BuildError, match="the build was cancelled"):
        tw.build(network(builder, 7.0), cancellation=cancellation, timing_cache="")


def test_a_build_ends_when_its_time_is_over(builder, tmp_path, monkeypatch):
    now = iter(range(0, 10**6, 2))
    monkeypatch.setattr("tensorwright.base.cancellation.time.monotonic", lambda: float(next(now)))
    with pytest.raises(tw.BuildError, match=r"has taken \d+\.\d s; max_seconds is 7; allow more"):
        tw.build(network(builder, 8.0), max_seconds=7, level=0, timing_cache="")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_model_size": 3}, "has 4 bytes of constants; max_model_size is 3"),
        ({"max_memory": 3}, "has 4 bytes of constants; max_memory is 3"),
        ({"max_memory": 70}, "the network needs .* bytes of memory: .* of weights, .* of activations, .* of scratch"),
    ],
    ids=str,
)
def test_what_is_too_large_is_not_built(builder, limits, message):
    made = network(builder, 9.0)
    made.mark_output(made.add_softmax(made.add_softmax(made.get_input(0)).get_output(0)).get_output(0))
    options = {"level": 0, "timing_cache": "", "threads": 1}
    with pytest.raises(tw.BuildError, match=message):
        tw.build(made, **options, **limits)
    tw.build(made, **options, **dict.fromkeys(limits, 10_000))


def test_a_file_that_is_too_large_is_not_read(builder, tmp_path):
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    for source in (path, str(path), bytes(1001)):
        with pytest.raises(tw.BuildError, match=r"the model has \d+ bytes; max_model_size is 1000"):
            tw.build(source, max_model_size=1000)
