"""What tuning asks of a device: to run kernels, to time them, and what the machine reaches at best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import Kernel
from tensorwright.tensor.arrange import Places
from tensorwright.tune.machine import Capacities, Machine

Array = npt.NDArray[np.generic]

POISON = 0xA5
"""What every byte of integers is before a kernel writes them; floating-point numbers are NaN."""


def is_poison(array: Array) -> npt.NDArray[np.bool_]:
    """Which elements no kernel seems to have written."""
    if array.dtype.kind not in "iub":
        return np.isnan(np.asarray(array, dtype=np.float64))
    pattern = np.full(array.dtype.itemsize, POISON, np.uint8).view(array.dtype)
    return np.asarray(array == pattern)


class Prepared(Protocol):
    """A kernel's machine code and its operands in the memory of the device."""

    def run(self, places: Places | None = None) -> Array:
        """Run all tasks into memory poisoned before; the output, row-major, or its elements at some places."""
        ...


class Bench(Protocol):
    """Runs kernels on a device."""

    @property
    def is_here(self) -> bool:
        """Whether kernels for the target can run on this machine."""
        ...

    @property
    def lacking(self) -> str:
        """What this machine lacks to run them, where that can be said; empty if nothing."""
        ...

    @property
    def capacities(self) -> Capacities:
        """The levels of memory of the machine."""
        ...

    def prepare(
        self,
        region: Region,
        kernel: Kernel,
        compiled: bytes,
        arrays: Sequence[Array],
        symbols: Mapping[str, int],
        sources: Mapping[int, Prepared],
        alike: Sequence[Prepared] = (),
    ) -> Prepared:
        """A kernel ready to run.

        compiled: its machine code. arrays: row-major inputs. sources: for inputs, by number, the prepared kernel whose
        output they are; they read that memory, which is in their layout, in place of a copy of the array. alike:
        kernels of the same region that were prepared for the same arrays; inputs that lie as theirs may be theirs.
        """
        ...

    def race(self, contestants: Sequence[Sequence[Prepared]], cold_bytes: Sequence[int]) -> list[float]:
        """Seconds of one thread's share of the kernels of each contestant, run one after another.

        Contestants take turns. cold_bytes: for each contestant, the memory that copies of the constants of each of its
        kernels take together, so that no copy stays in a cache.
        """
        ...

    def read_speed(self, size: int) -> float | None:
        """GB/s at which all threads together read so many bytes, in parts of their own, over and over.

        None if they are so few or so many that this is the speed of a level of memory.
        """
        ...

    def machine(self) -> Machine:
        """What the machine reaches at best, measured now."""
        ...
