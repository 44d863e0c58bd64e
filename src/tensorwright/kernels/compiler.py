"""What turns the source of kernels into machine code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol


class Compiler(Protocol):
    """Compiles modules for one target and remembers them."""

    def submit(self, name: str, source: str) -> None:
        """Have a module compiled, if it is not yet, while the caller goes on; `name` identifies its text."""
        ...

    def compile(self, name: str, source: str) -> bytes:
        """The machine code of one module.

        Raises:
            BuildError: the module cannot be compiled.
        """
        ...

    def compile_all(self, modules: Mapping[str, str], done: Callable[[str], None]) -> None:
        """Compile all modules; `done` hears the name of each that was not compiled before.

        Raises:
            BuildError: a module cannot be compiled.
        """
        ...
