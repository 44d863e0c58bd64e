"""The order of inferences that share memory but not a stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tensorwright.devices.cuda.stream import DEFAULT, CudaEvent, CudaStream

if TYPE_CHECKING:
    from tensorwright.devices.cuda.context import Context


class Turns:
    """Who used each piece of memory last: the next one, in another stream, waits for that on the GPU."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._last: dict[int, tuple[CudaStream, CudaEvent | None]] = {}

    @contextmanager
    def turn(self, memory: int, stream: CudaStream) -> Iterator[None]:
        """Put work on memory into a stream, behind the work before on the same memory."""
        last, event = self._last.get(memory, (stream, None))
        if last.handle != stream.handle:
            stream.wait_event(event or self._mark(last))
        yield
        # A stream of somebody else may not be there any more when the next one asks what it holds.
        is_theirs = stream.is_borrowed and stream.handle != DEFAULT
        self._last[memory] = stream, self._mark(stream) if is_theirs else None

    def _mark(self, stream: CudaStream) -> CudaEvent:
        event = CudaEvent(self._context)
        event.record(stream)
        return event
