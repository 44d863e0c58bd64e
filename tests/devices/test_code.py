"""Code becomes executable and is never writable at the same time."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

import native_plans
from tensorwright.base.errors import PlanError
from tensorwright.devices.cpu import code as code_module
from tensorwright.devices.cpu.code import CodeImage, ExecutableMemory, syscall_address


def permissions(address: int) -> str:
    for line in Path("/proc/self/maps").read_text().splitlines():
        borders, flags, *_ = line.split()
        low, high = (int(border, 16) for border in borders.split("-"))
        if low <= address < high:
            return flags
    raise AssertionError(f"{address:#x} is not mapped")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
def test_code_is_executable_and_not_writable():
    memory = ExecutableMemory(native_plans.plan().executable.code)
    assert permissions(memory.address) == "r-xp"


def test_code_stays_while_an_entry_is_in_use():
    plan = native_plans.plan()
    image = CodeImage(plan.executable)
    assert all(callable(entry) for entry in (image.run, image.worker, image.stop))


def test_a_system_that_forbids_executable_memory_is_named(monkeypatch):
    class Refusing:
        def __init__(self, *_, **__):
            pass

        def mprotect(self, *_):
            return -1

        def __getattr__(self, _):
            return lambda *_: None

    monkeypatch.setattr(code_module.ctypes, "CDLL", Refusing)
    with pytest.raises(PlanError, match=r"refused to make .* executable"):
        ExecutableMemory(b"\xc3")


def test_other_systems_get_a_clear_error(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(PlanError, match="running plans needs Linux"):
        ExecutableMemory(b"\xc3")
    assert syscall_address() == 0


def test_the_system_call_is_found_on_linux():
    assert (syscall_address() != 0) == (sys.platform == "linux")


def test_code_without_an_entry_is_refused():
    executable = native_plans.plan().executable
    entries = {name: at for name, at in executable.entries.items() if name != "stop"}
    with pytest.raises(PlanError, match=r"has the entries \['run', 'worker'\], expected \['run', 'stop', 'worker'\]"):
        CodeImage(replace(executable, entries=entries))
