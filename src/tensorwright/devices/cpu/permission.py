"""The system's permission to use tile registers: their state is large, so that Linux keeps it only for who asks."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Collection
from functools import cache

from tensorwright.devices.cpu.instruction_sets import TILES

_ARCH_PRCTL = 158
_REQUEST_PERMISSION = 0x1023
_TILE_DATA = 18


def refused_tiles(features: Collection[str]) -> frozenset[str]:
    """Those features of a processor that this process may not use, because the system does not permit it."""
    tiles = frozenset(TILES).intersection(features)
    return frozenset() if not tiles or tiles_are_permitted() else tiles


@cache
def tiles_are_permitted() -> bool:
    """Ask once for this process and all that it forks (arch_prctl(2), ARCH_REQ_XCOMP_PERM, since Linux 5.16)."""
    if sys.platform != "linux":
        return False
    arguments = (ctypes.c_long(number) for number in (_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA))
    return bool(ctypes.CDLL(None).syscall(*arguments) == 0)
