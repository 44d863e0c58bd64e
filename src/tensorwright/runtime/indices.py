"""Indices that an inference was given and that lie outside their axes."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from tensorwright.base.errors import ExecutionError
from tensorwright.tensor.dim import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorwright.devices.device import Device
    from tensorwright.plan.plan import IndexUse, Plan
    from tensorwright.runtime.bindings import Sizes

_Limits = tuple[int, ...]
_Words = ctypes.Array[ctypes.c_int64]


class IndexWatch:
    """Looks at how far the indices of the last inference reach.

    Memory of this process is looked at where it is, that of other devices is copied. On those, inferences on raw
    addresses may go on when the call returns, and are not watched.
    """

    def __init__(self, plan: Plan, device: Device, where: str) -> None:
        self._plan = plan
        self._device = device
        self._where = where
        self._address = 0
        self._words: list[_Words] = []
        self._sizes: Sizes | None = None
        self._limits: list[_Limits] = []

    def use_memory(self, address: int) -> None:
        """Look at the arena that starts at this address from now on."""
        self._address = address
        kinds = [ctypes.c_int64 * (2 * len(use.extents)) for use in self._plan.indices]
        here = self._device.has_host_memory
        places = [address + use.place for use in self._plan.indices]
        self._words = [kind.from_address(place) if here else kind() for kind, place in zip(kinds, places, strict=True)]

    def check(self, sizes: Sizes) -> None:
        """Refuse what the inference that has just ended was given.

        Raises:
            ExecutionError: an index is out of range; its message names node, index and range.
        """
        if sizes is not self._sizes:
            self._learn(sizes)
        if not self._device.has_host_memory:
            self._download()
        for number, (words, limits) in enumerate(zip(self._words, self._limits, strict=True)):
            for found, limit in zip(words, limits, strict=True):
                if found > limit:
                    raise self._refusal(self._plan.indices[number], words, limits)

    def _download(self) -> None:
        for use, words in zip(self._plan.indices, self._words, strict=True):
            self._device.download(ctypes.addressof(words), self._address + use.place, ctypes.sizeof(words))

    def _learn(self, sizes: Sizes) -> None:
        values = {symbol.name: value for symbol, value in zip(self._plan.symbols, sizes.symbols, strict=True)}
        self._limits = [_limits(use, values) for use in self._plan.indices]
        self._sizes = sizes

    def _refusal(self, use: IndexUse, found: _Words, limits: _Limits) -> ExecutionError:
        axes = len(use.extents)
        place = next(number for number, limit in enumerate(limits) if found[number] > limit)
        index = -1 - found[place] if place < axes else found[place]
        least, most = -1 - limits[place % axes], limits[axes + place % axes]
        return ExecutionError(
            f"{self._where}: node '{use.node}' was given the index {index}; expected {least} to {most} for an axis of "
            f"{most + 1}; check the inputs"
        )


def _limits(use: IndexUse, values: Mapping[str, int]) -> _Limits:
    """What may not be exceeded by the complements of the smallest indices, then by the largest ones."""
    largest = [evaluate(extent, values) - 1 for extent in use.extents]
    return (*(largest if use.signed else [-1] * len(largest)), *largest)
