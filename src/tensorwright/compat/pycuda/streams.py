"""Streams and events."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from tensorwright.compat.machine import machine

if TYPE_CHECKING:
    from tensorwright.devices.device import Stream as InnerStream


class Stream:
    """Work that is done in order while the caller goes on. When it is collected, its work is waited for."""

    def __init__(self, flags: int = 0) -> None:
        del flags
        self.stream = machine().create_stream()
        self._finalizer = weakref.finalize(self, machine().is_finishing, self.stream)
        self._finalizer.atexit = False

    @property
    def handle(self) -> int:
        """What `context.enqueue` and its like take."""
        return self.stream.handle

    def __int__(self) -> int:
        return self.handle

    def synchronize(self) -> None:
        """Wait until all work is done, and raise the first error since the last call."""
        self.stream.synchronize()

    def is_done(self) -> bool:
        """Whether all work is done."""
        return self.stream.query()

    def wait_for_event(self, evt: Event) -> None:
        """Work enqueued from now on starts after the event."""
        self.stream.wait_event(evt.event)


class Event:
    """A mark in the work of a stream."""

    def __init__(self, flags: int = 0) -> None:
        del flags
        self.event = machine().create_event()

    @property
    def handle(self) -> int:
        """What `context.enqueue` takes."""
        return self.event.handle

    def record(self, stream: Stream | None = None) -> Event:
        """Put the mark behind all work that the stream holds now."""
        self.event.record(stream_of(stream))
        return self

    def synchronize(self) -> Event:
        """Wait until the work before the mark is done."""
        self.event.synchronize()
        return self

    def query(self) -> bool:
        """Whether the work before the mark is done."""
        return self.event.query()

    def time_since(self, event: Event) -> float:
        """Milliseconds from `event` to this one."""
        return event.event.elapsed_time(self.event)

    def time_till(self, event: Event) -> float:
        """Milliseconds from this one to `event`."""
        return self.event.elapsed_time(event.event)


def stream_of(stream: Stream | int | None) -> InnerStream:
    """The stream behind an object or a handle; None for the default stream."""
    if isinstance(stream, Stream):
        return stream.stream
    return machine().find_stream(stream or 0)
