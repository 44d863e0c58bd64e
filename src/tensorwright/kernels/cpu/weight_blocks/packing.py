"""How weights of a few bits and their scales lie: panels of columns, words of 32 bits along the reduction."""

from __future__ import annotations

import numpy as np

from tensorwright.kernels.tactic import Array, Packing

WORD = 32
"""Bits."""


def word_packing(width: int) -> Packing:
    """``uint8[N, K · bits / 8]`` as ``uint32[panels, words, width]``: neighbours of the reduction share a word."""

    def pack(array: Array) -> Array:
        words = np.ascontiguousarray(array).view("<u4")
        return _panels(words, width)

    return Packing(f"words of {WORD} bits, panels of {width}", pack)


def block_packing(width: int) -> Packing:
    """Scales or zero points ``[N, blocks]`` as ``[panels, blocks, width]``."""
    return Packing(f"blocks, panels of {width}", lambda array: _panels(array, width))


def _panels(array: Array, width: int) -> Array:
    """``[N, k]`` as ``[panels, k, width]``, with zeros behind the last column."""
    columns, inner = array.shape
    padded = np.pad(array, ((0, -columns % width), (0, 0)))
    return np.ascontiguousarray(padded.reshape(-1, width, inner).transpose(0, 2, 1))
