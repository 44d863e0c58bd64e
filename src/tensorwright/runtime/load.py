"""Plans from files and bytes to engines.

The weights are verified by another thread while this one imports the rest of the runtime, and NumPy.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tensorwright.base.errors import PlanError
from tensorwright.plan.file import open_buffer, open_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorwright.devices.device import Allocator
    from tensorwright.plan.signature import PublicKey
    from tensorwright.runtime.engine import Engine


def load(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview,
    *,
    threads: int | None = None,
    allocator: Allocator | None = None,
    copy: bool = False,
    trusted: Sequence[PublicKey] | None = None,
) -> Engine:
    """The engine of a plan that is given as the path of a file or as bytes.

    Weights in a file are mapped: the file may be deleted or replaced afterwards, but must not be altered in place,
    which may give wrong answers or end the process. With `copy` they are read into memory of this process, and whatever
    happens to the file later is of no concern; processes that load the same plan do not share them then.

    trusted: public keys, as files or bytes in PEM: a plan that none of them has signed, or that was changed since, is
    refused before anything is made of it. None for the files that the environment variable TENSORWRIGHT_TRUSTED names;
    without it every plan is loaded.

    Raises:
        PlanError: it is no plan, damaged, of another version, for another machine or not to be trusted.
        ExecutionError: there is not enough memory.
        OSError: the file cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        opened = open_buffer(bytes(source) if copy else source, trusted=trusted)
    elif not isinstance(source, str | os.PathLike):
        raise PlanError(f"load: expected the path of a plan, or its bytes, found {type(source).__name__}")
    else:
        opened = open_plan(source, copy=copy, trusted=trusted)
    from tensorwright.runtime.engine import Engine

    engine = Engine(opened.plan, allocator, threads)
    try:
        opened.verify()
    except BaseException:
        engine.close()
        raise
    return engine
