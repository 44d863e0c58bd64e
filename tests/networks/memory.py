"""Memory between guards."""

from __future__ import annotations

import numpy as np

GUARD = 4096
"""Bytes before and behind that nobody may write."""

POISONS = (0xFF, 0xA5, 0x7F)
"""Not a number in all floating types, a small number, and a large or not a number."""


class Guarded:
    """Some bytes whose address is a multiple of the alignment."""

    def __init__(self, size: int, alignment: int) -> None:
        self._whole = np.empty(size + 2 * GUARD + alignment, np.uint8)
        start = GUARD + -(self._whole.ctypes.data + GUARD) % alignment
        self.bytes = self._whole[start : start + size]
        self.guards = self._whole[:start], self._whole[start + size :]
        self.address = self._whole.ctypes.data + start

    def fill(self, poison: int) -> None:
        """Poison it and its guards."""
        self._whole[:] = poison

    def is_intact(self, poison: int) -> bool:
        """Whether the guards are as `fill` left them."""
        return all(bool((guard == poison).all()) for guard in self.guards)
