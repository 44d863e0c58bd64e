"""Teams start late, stop early, and come back after a fork."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import native_plans
from tensorwright.base.errors import ExecutionError
from tensorwright.devices.cpu import team as team_module
from tensorwright.runtime.engine import Engine


def team_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("tensorwright-team")]


@pytest.fixture
def x(rng):
    return rng.standard_normal((7, native_plans.WIDTH), np.float32)


def test_one_thread_needs_no_team(x):
    before = team_threads()
    with Engine(native_plans.plan(), threads=1) as engine:
        engine(x)
        assert team_threads() == before


def test_threads_start_with_the_first_run_and_stop_at_close(x):
    before = set(team_threads())
    engine = Engine(native_plans.plan(), threads=3)
    context = engine.create_execution_context()
    assert set(team_threads()) == before
    context(x)
    mine = set(team_threads()) - before
    assert len(mine) == 2
    context(x)
    assert set(team_threads()) - before == mine
    context.close()
    assert not any(thread.is_alive() for thread in mine)


def test_threads_stop_when_the_context_is_forgotten(x):
    before = set(team_threads())
    engine = Engine(native_plans.plan(), threads=2)
    context = engine.create_execution_context()
    context(x)
    mine = set(team_threads()) - before
    assert mine
    del context
    gc.collect()
    assert not any(thread.is_alive() for thread in mine)


def test_sleeping_threads_wake_up(x):
    with Engine(native_plans.plan(), threads=2) as engine:
        for _ in range(3):
            threading.Event().wait(0.02)  # Long enough for the workers to stop spinning.
            np.testing.assert_array_equal(engine(x)["y"], native_plans.expected(x))


def test_many_runs_in_a_row_agree(x):
    with Engine(native_plans.plan(), threads=2) as engine:
        for _ in range(500):
            np.testing.assert_array_equal(engine(x)["y"], native_plans.expected(x))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_gets_threads_of_its_own(x):
    with Engine(native_plans.plan(), threads=2) as engine:
        engine(x)
        child = os.fork()
        if child == 0:
            right = all(np.array_equal(engine(x)["y"], native_plans.expected(x)) for _ in range(10))
            engine.close()
            os._exit(0 if right else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        np.testing.assert_array_equal(engine(x)["y"], native_plans.expected(x))


def test_threads_that_cannot_start_are_an_error_and_leave_nothing_behind(x, monkeypatch):
    class Stubborn(threading.Thread):
        def start(self):
            if self.name.endswith("2"):
                raise RuntimeError("can't start new thread")
            super().start()

    before = set(team_threads())
    engine = Engine(native_plans.plan(), threads=3)
    with monkeypatch.context() as patch:
        patch.setattr(team_module.threading, "Thread", Stubborn)
        with pytest.raises(ExecutionError, match="refused to start 2 more threads: can't start new thread"):
            engine(x)
    assert set(team_threads()) == before
    np.testing.assert_array_equal(engine(x)["y"], native_plans.expected(x))
    engine.close()


@pytest.mark.parametrize("ending", ["pass", "import sys; sys.exit(3)", "engine.close()", "del engine"])
def test_a_program_ends_while_threads_wait(ending, tmp_path):
    path = tmp_path / "a.plan"
    Engine(native_plans.plan()).save(path)
    program = f"""
import numpy as np
from tensorwright.runtime.load import load
engine = load({str(path)!r}, threads=2)
engine(np.ones((2, 4), np.float32))
{ending}
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stderr == ""
    assert result.returncode == (3 if "exit(3)" in ending else 0)
