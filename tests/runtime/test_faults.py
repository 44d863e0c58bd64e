"""What the system may refuse is refused once, in turn: each time a clean error or none, and nothing is left."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import resource
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

import native_plans
from tensorwright.base.errors import TensorwrightError
from tensorwright.devices.cpu import code
from tensorwright.devices.cpu.memory import PageAllocator
from tensorwright.plan.file import serialize_plan, write_plan
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.load import load

PLAN = native_plans.plan(threads=3)
CONTENT = serialize_plan(PLAN)
NO_SPACE = OSError(errno.ENOSPC, "no space left")
TOO_MANY = OSError(errno.EMFILE, "too many open files")
NO_MEMORY = OSError(errno.ENOMEM, "cannot allocate memory")
NO_THREADS = RuntimeError("can't start new thread")
CLEAN = (OSError, TensorwrightError)

SAVING = [(os, name, NO_SPACE) for name in ("open", "fsync", "replace", "fchmod", "fchown")]
LOADING = [
    (os, "open", TOO_MANY),
    (os, "fstat", NO_MEMORY),
    (os, "dup", TOO_MANY),
    (os, "readv", OSError(errno.EIO, "input/output error")),
    (mmap, "mmap", NO_MEMORY),
    (code, "_make_executable", OSError(errno.EACCES, "permission denied")),
    (threading.Thread, "start", NO_THREADS),
]


class Accountant:
    """An allocator that remembers what is out."""

    def __init__(self):
        self.pages, self.living = PageAllocator(), set()

    def allocate(self, size, alignment, flags):
        address = self.pages.allocate(size, alignment, flags)
        self.living.add(address)
        return address

    def free(self, address):
        self.living.remove(address)
        self.pages.free(address)


@contextmanager
def failing(targets, number):
    """The call with this number, of all calls of the targets, fails. Tells whether there was one."""
    calls = {"left": number, "failed": False}

    def wrapped(function, error):
        def call(*arguments, **options):
            calls["left"] -= 1
            if calls["left"] == -1:
                calls["failed"] = True
                raise type(error)(*error.args)  # A new one: its traceback keeps frames alive.
            return function(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name, error in targets:
            patch.setattr(owner, name, wrapped(getattr(owner, name), error))
        yield calls


def everywhere(targets, work, check):
    """Have every call fail in turn, until none is left; returns how many there were."""
    for number in range(200):
        with failing(targets, number) as calls, suppress(*CLEAN):
            work()
        gc.collect()
        check(number)
        if not calls["failed"]:
            return number
    raise AssertionError("no end")


def handles():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_a_save_that_is_refused_anything_leaves_the_old_file_and_nothing_else(tmp_path):
    path, new = tmp_path / "a.plan", native_plans.plan(name="new")
    write_plan(PLAN, path)
    before, contents = handles(), {CONTENT, serialize_plan(new)}

    def check(number):
        assert path.read_bytes() in contents
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.plan"]
        assert handles() == before, number

    assert everywhere(SAVING, lambda: write_plan(new, path), check) >= 4
    assert path.read_bytes() == serialize_plan(new)


@pytest.mark.parametrize("room", [0, 100, 4096, len(CONTENT) - 1])
def test_a_save_on_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, room):
    path = tmp_path / "a.plan"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_plan(PLAN, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.plan"]


@pytest.mark.parametrize("copy", [False, True])
def test_a_load_that_is_refused_anything_leaves_nothing(tmp_path, copy, rng):
    path = tmp_path / "a.plan"
    write_plan(PLAN, path)
    x = rng.standard_normal((3, native_plans.WIDTH), np.float32)
    accountant = Accountant()
    before = handles(), threading.active_count()

    def work():
        with load(path, allocator=accountant, copy=copy) as engine:
            np.testing.assert_array_equal(engine(x)["y"], native_plans.expected(x))

    def check(number):
        assert not accountant.living, number
        assert (handles(), threading.active_count()) == before, number

    work()
    assert everywhere(LOADING, work, check) >= 6
    work()


def test_contexts_that_are_refused_memory_leave_nothing(rng):
    accountant = Accountant()
    engine = Engine(PLAN, accountant)
    held = set(accountant.living)

    def check(number):
        assert accountant.living == held, number

    def work():
        with engine.create_execution_context() as context:
            context(rng.standard_normal((3, native_plans.WIDTH), np.float32))

    targets = [(accountant, "allocate", MemoryError("nothing left")), (threading.Thread, "start", NO_THREADS)]
    assert everywhere(targets, work, check) == 4
    work()


def test_what_is_no_file_any_more_is_an_error(tmp_path):
    path = tmp_path / "gone" / "a.plan"
    with pytest.raises(FileNotFoundError):
        write_plan(PLAN, path)
    with pytest.raises(FileNotFoundError):
        load(path)
    assert not Path(path.parent).exists()
