"""Objects that stand for something outside Python, of which a copy would be a second owner."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex

from tensorwright.base.errors import ExecutionError


class Unique:
    """Base of classes whose objects are neither copied nor pickled."""

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise ExecutionError(
            f"an object of {type(self).__name__} cannot be copied: it owns memory and threads; refer to the same "
            "object, create another one, or hand on the bytes of engine.serialize()"
        )
