"""LLVM ends the process where it finds no memory: there has to be enough before it is asked for anything."""

from __future__ import annotations

from tensorwright.base.errors import BuildError
from tensorwright.base.pages import map_pages

ROOM = 64 << 20
"""Bytes that any module may take."""
ROOM_PER_CHARACTER = 256
"""Bytes that a character of a module may take besides."""


def require_memory(text: str) -> None:
    """Refuse to compile a module for which there may be too little memory.

    Raises:
        BuildError: so much cannot be mapped.
    """
    size = ROOM + ROOM_PER_CHARACTER * len(text)
    try:
        map_pages(size).close()
    except OSError as error:
        raise BuildError(
            f"building takes more memory than there is: to compile a module, LLVM may need {size} bytes, which cannot "
            f"be mapped ({error}); allow the process more, or build with less going on at the same time"
        ) from error
