"""Steps with everything that they need to run: launches of kernels and calls of libraries, with addresses and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tensorwright.devices.cuda.code import CudaFunction, Launch
from tensorwright.devices.cuda.libraries.calls import PreparedCall


class Placed(Protocol):
    """A step that can be put into a stream."""

    @property
    def is_kernel(self) -> bool:
        """Whether the step behind it may start before it has ended."""
        ...

    def put(self, stream: int, *, early: bool) -> None:
        """Put it into a stream. early: it may start before what is in front of it has ended, if it waits itself."""
        ...


@dataclass(frozen=True)
class PlacedLaunch:
    """A launch of a kernel."""

    function: CudaFunction
    launch: Launch
    is_kernel = True

    def put(self, stream: int, *, early: bool) -> None:
        self.function.launch(replace(self.launch, dependent=self.launch.dependent and early), stream)


@dataclass(frozen=True)
class PlacedCall:
    """A call of a library, which may be several kernels and more, so that nothing overlaps with it."""

    call: PreparedCall
    addresses: tuple[int, ...]
    workspace: int
    is_kernel = False

    def put(self, stream: int, *, early: bool) -> None:
        self.call.run(self.addresses, self.workspace, stream)


def put_all(steps: Sequence[Placed], stream: int) -> None:
    """Put steps into a stream, of which the first has to wait for everything."""
    early = False
    for step in steps:
        step.put(stream, early=early)
        early = step.is_kernel
