"""Plans from files and bytes to engines.

The weights are verified by another thread while this one imports the rest of the runtime, and NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorwright.plan.file import open_buffer, open_plan

if TYPE_CHECKING:
    import os

    from tensorwright.devices.device import Allocator
    from tensorwright.runtime.engine import Engine


def load(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview,
    *,
    threads: int | None = None,
    allocator: Allocator | None = None,
) -> Engine:
    """The engine of a plan that is given as the path of a file or as bytes.

    Weights in a file are mapped: the file may be deleted afterwards, but must not be altered in place.

    Raises:
        PlanError: it is no plan, damaged, of another version or for another machine.
        ExecutionError: there is not enough memory.
        OSError: the file cannot be read.
    """
    opened = open_buffer(source) if isinstance(source, bytes | bytearray | memoryview) else open_plan(source)
    from tensorwright.runtime.engine import Engine

    engine = Engine(opened.plan, allocator, threads)
    try:
        opened.verify()
    except BaseException:
        engine.close()
        raise
    return engine
