"""What a forked child finds of locks that other threads held."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tensorwright.base.fork import cached_property


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_properties_are_computed_in_a_child_while_the_parent_computes_one() -> None:
    inside, gate = threading.Event(), threading.Event()

    class Slow:
        @cached_property
        def number(self) -> int:
            inside.set()
            gate.wait(10)
            return 3

    thread = threading.Thread(target=lambda: Slow().number)
    thread.start()
    inside.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        gate.set()
        os._exit(Slow().number)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    gate.set()
    thread.join()
    assert status == 3
