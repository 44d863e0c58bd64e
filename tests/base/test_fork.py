"""What a forked child finds of locks that other threads held."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from tensorwright.base.fork import cached_property, importing


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


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forks_wait_for_modules_that_are_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slowly_imported.py").write_text("import threading; threading.Event().wait(0.05)")
    monkeypatch.syspath_prepend(tmp_path)
    inside = threading.Event()

    def use() -> None:
        with importing:
            inside.set()
            importlib.import_module("slowly_imported")

    thread = threading.Thread(target=use)
    thread.start()
    inside.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # For ever it would wait for the thread that it does not have.
        importlib.import_module("slowly_imported")
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    thread.join()
    del sys.modules["slowly_imported"]
