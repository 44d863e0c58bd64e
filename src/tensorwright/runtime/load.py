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
    copy: bool = False,
) -> Engine:
    """The engine of a plan that is given as the path of a file or as bytes.

    Weights in a file are mapped: the file may be deleted or replaced afterwards, but must not be altered in place,
    which may give wrong answers or end the process. With `copy` they are read into memory of this process, and whatever
    happens to the file later is of no concern; processes that load the same plan do not share them then.

    Raises:
        PlanError: it is no plan, damaged, of another version or for another machine.
        ExecutionError: there is not enough memory.
        OSError: the file cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        opened = open_buffer(bytes(source) if copy else source)
    else:
        opened = open_plan(source, copy=copy)
    from tensorwright.runtime.engine import Engine

    engine = Engine(opened.plan, allocator, threads)
    try:
        opened.verify()
    except BaseException:
        engine.close()
        raise
    return engine
