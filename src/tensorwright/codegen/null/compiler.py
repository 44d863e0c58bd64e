"""Text to bytes: there is nothing to compile, only to check."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tensorwright.base.errors import BuildError


class NullCompiler:
    """Remembers modules. Their machine code is their text."""

    def submit(self, name: str, source: str) -> None:
        """Nothing takes long enough to begin early."""

    def compile(self, name: str, source: str) -> bytes:
        try:
            compile(source, name, "exec")
        except SyntaxError as error:
            raise BuildError(f"generated code is not valid Python (a defect of tensorwright): {error}") from error
        return source.encode()

    def compile_all(self, modules: Mapping[str, str], done: Callable[[str], None]) -> None:
        for name, source in modules.items():
            self.compile(name, source)
            done(name)
