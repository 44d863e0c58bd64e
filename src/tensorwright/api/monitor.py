"""Progress of builds: monitors that users subclass, and a bar on the terminal."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tensorwright.base.errors import BuildError
from tensorwright.base.text import printable

if TYPE_CHECKING:
    from rich.progress import TaskID


class IProgressMonitor:
    """Hears how far a build is; subclass it. It may be called from several threads, but never at once."""

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """A phase of so many steps begins."""

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Step number `step` of the phase is done. Return False to cancel the build."""
        return True

    def phase_finish(self, phase_name: str) -> None:
        """The phase has ended."""


class MonitoredProgress:
    """Hands the progress of a build to a monitor, and cancels the build on the thread that started the phase."""

    def __init__(self, monitor: IProgressMonitor) -> None:
        self._monitor = monitor
        self._lock = threading.Lock()
        self._phase: str | None = None
        self._thread = threading.get_ident()
        self._step = 0
        self._cancelled = ""

    def phase(self, name: str, steps: int) -> None:
        """A phase of so many steps begins; the one before has ended.

        Raises:
            BuildError: the monitor has cancelled the build.
        """
        self.done()
        self._raise_if_cancelled()
        self._phase, self._step, self._thread = name, 0, threading.get_ident()
        self._monitor.phase_start(name, None, steps)

    def step(self, description: str) -> None:
        """One step of the phase is done.

        Raises:
            BuildError: the monitor has cancelled the build.
        """
        with self._lock:
            phase = self._phase or ""
            if not self._cancelled and self._monitor.step_complete(phase, self._step) is False:
                self._cancelled = f"in phase '{phase}', after step {self._step} ({description})"
            self._step += 1
        if self._cancelled and threading.get_ident() == self._thread:
            self.done()
            self._raise_if_cancelled()

    def done(self) -> None:
        """The phase has ended."""
        if self._phase is not None:
            phase, self._phase = self._phase, None
            self._monitor.phase_finish(phase)

    def _raise_if_cancelled(self) -> None:
        if self._cancelled:
            raise BuildError(f"the progress monitor cancelled the build {self._cancelled}")


class ProgressBar:
    """A bar on standard error, with the time that is left. Nothing is drawn where that is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("[dim]{task.fields[detail]}"),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None

    def phase(self, name: str, steps: int) -> None:
        """A phase of so many steps begins; the one before has ended."""
        self._finish()
        self._bar.start()
        self._task = self._bar.add_task(name, total=steps, detail="")

    def step(self, description: str) -> None:
        """One step of the phase is done."""
        from rich.markup import escape

        if self._task is not None:
            self._bar.update(self._task, advance=1, detail=escape(printable(description)[:40]))

    def done(self) -> None:
        """The build has ended."""
        self._finish()
        self._bar.stop()

    def _finish(self) -> None:
        if self._task is not None:
            total = self._bar.tasks[self._task].total
            self._bar.update(self._task, completed=total, detail="")
            self._task = None
