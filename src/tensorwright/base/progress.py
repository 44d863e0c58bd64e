"""How long work tells how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Hears how far a build is. Steps may be reported from any thread."""

    def phase(self, name: str, steps: int) -> None:
        """A phase of so many steps begins; the one before has ended."""
        ...

    def step(self, description: str) -> None:
        """One step of the phase is done."""
        ...

    def done(self) -> None:
        """The work has ended."""
        ...


class SilentProgress:
    """A progress that nobody hears."""

    def phase(self, name: str, steps: int) -> None:
        pass

    def step(self, description: str) -> None:
        pass

    def done(self) -> None:
        pass
