"""Where libraries of NVIDIA lie: in packages for Python, or where the system looks for libraries."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tensorwright.base.errors import ExecutionError

PACKAGE = "nvidia"
"""Below which packages for Python keep libraries of NVIDIA, each in a folder ``lib``."""
INSTALL = "pip install 'tensorwright[cuda-libraries]'"


@dataclass(frozen=True)
class Library:
    """A library by the title that messages give it, and the files that may be it, the first first."""

    title: str
    files: tuple[str, ...]


def open_library(library: Library) -> ctypes.CDLL:
    """The library, loaded into this process.

    Raises:
        ExecutionError: it is not installed, or cannot be loaded; the message says what was tried and what to do.
    """
    failures = []
    for file in library.files:
        for place in chain(_installed(file), [file]):
            try:
                return ctypes.CDLL(place)
            except OSError as error:
                failures.append(str(error))
    raise ExecutionError(f"{library.title} was not found: {INSTALL} ({'; '.join(failures)})")


def _installed(file: str) -> Iterator[str]:
    """Paths of a file in packages for Python."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from map(str, sorted(Path(folder).glob(f"*/lib/{file}")))
