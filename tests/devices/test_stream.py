"""Streams keep order, return before the work is done, and hand errors to whoever waits."""

from __future__ import annotations

import gc
import os
import threading
import time

import pytest

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.cpu.device import CpuDevice
from tensorwright.devices.cpu.stream import CpuEvent, CpuStream, find_event, find_stream


def test_work_is_done_in_order_and_after_the_call():
    stream, gate, done = CpuStream(), threading.Event(), []
    stream.enqueue(gate.wait)
    for number in range(100):
        stream.enqueue(lambda number=number: done.append(number))
    assert done == []
    assert not stream.query()
    gate.set()
    stream.synchronize()
    assert done == list(range(100))
    assert stream.query()


def test_two_streams_work_at_the_same_time():
    first, second, meet = CpuStream(), CpuStream(), threading.Barrier(2, timeout=10)
    first.enqueue(meet.wait)
    second.enqueue(meet.wait)
    first.synchronize()
    second.synchronize()


def test_the_first_error_surfaces_once_and_later_work_is_done():
    stream, done = CpuStream(), []

    def fail(message):
        raise ValueError(message)

    stream.enqueue(lambda: fail("first"))
    stream.enqueue(lambda: fail("second"))
    stream.enqueue(lambda: done.append(1))
    with pytest.raises(ValueError, match="first"):
        stream.synchronize()
    assert done == [1]
    stream.synchronize()


def test_a_stream_cannot_wait_for_itself():
    stream = CpuStream()
    stream.enqueue(stream.synchronize)
    with pytest.raises(ExecutionError, match="cannot wait for itself"):
        stream.synchronize()


def test_handles_lead_back_to_living_streams_and_events():
    stream, event = CpuStream(), CpuEvent()
    assert find_stream(stream.handle) is stream
    assert find_event(event.handle) is event
    assert stream.handle != event.handle
    handles = stream.handle, event.handle
    del stream, event
    gc.collect()
    with pytest.raises(ExecutionError, match=f"no stream has the handle {handles[0]}"):
        find_stream(handles[0])
    with pytest.raises(ExecutionError, match=f"no event has the handle {handles[1]}"):
        find_event(handles[1])


def test_zero_is_the_default_stream():
    assert find_stream(0) is find_stream(0)
    assert find_stream(find_stream(0).handle) is find_stream(0)


def test_a_dropped_stream_finishes_its_work():
    stream, gate, done = CpuStream(), threading.Event(), threading.Event()
    stream.enqueue(gate.wait)
    stream.enqueue(done.set)
    thread = stream._thread
    del stream
    gc.collect()
    gate.set()
    assert done.wait(10)
    thread.join(10)
    assert not thread.is_alive()


def test_an_event_is_reached_with_the_work_before_it():
    stream, gate, event = CpuStream(), threading.Event(), CpuEvent()
    assert event.query()
    event.synchronize()
    stream.enqueue(gate.wait)
    event.record(stream)
    assert not event.query()
    gate.set()
    event.synchronize()
    assert event.query()


def test_a_stream_waits_for_an_event_of_another():
    first, second, gate, event, done = CpuStream(), CpuStream(), threading.Event(), CpuEvent(), []
    first.enqueue(gate.wait)
    first.enqueue(lambda: done.append("first"))
    event.record(first)
    second.wait_event(event)
    second.enqueue(lambda: done.append("second"))
    assert not second.query()
    gate.set()
    second.synchronize()
    assert done == ["first", "second"]


def test_waiting_for_an_event_without_a_mark_is_no_wait():
    stream = CpuStream()
    stream.wait_event(CpuEvent())
    stream.synchronize()


def test_elapsed_time_covers_the_work_in_between():
    stream, start, end = CpuStream(), CpuEvent(), CpuEvent()
    start.record(stream)
    stream.enqueue(lambda: time.sleep(0.01))
    end.record(stream)
    end.synchronize()
    assert start.elapsed_time(end) >= 10
    assert end.elapsed_time(start) <= -10


def test_elapsed_time_of_events_that_are_not_reached_is_refused():
    stream, gate, reached, pending = CpuStream(), threading.Event(), CpuEvent(), CpuEvent()
    reached.record(stream)
    stream.synchronize()
    with pytest.raises(ExecutionError, match="the end event was never recorded"):
        reached.elapsed_time(pending)
    stream.enqueue(gate.wait)
    pending.record(stream)
    with pytest.raises(ExecutionError, match="the start event is not reached yet"):
        pending.elapsed_time(reached)
    gate.set()
    stream.synchronize()


def test_an_event_of_another_device_is_refused():
    with pytest.raises(ExecutionError, match="expected an event of the CPU, found object"):
        CpuStream().wait_event(object())


def test_the_device_makes_and_finds_streams_and_events():
    device = CpuDevice()
    stream, event = device.create_stream(), device.create_event()
    assert device.find_stream(stream.handle) is stream
    assert device.find_event(event.handle) is event


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_stream_works_in_a_forked_child():
    stream = CpuStream()
    stream.synchronize()
    child = os.fork()
    if child == 0:
        done = []
        stream.enqueue(lambda: done.append(1))
        stream.synchronize()
        os._exit(0 if done == [1] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
