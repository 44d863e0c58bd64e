"""Memory of outputs."""

from __future__ import annotations

import numpy as np
import pytest

from tensorwright.base.errors import ExecutionError
from tensorwright.runtime import arrays
from tensorwright.runtime.arrays import OutputMemory, output_maker


def test_arrays_can_be_made_while_arrays_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process that is forked while another thread makes an array finds the maker as that left it."""
    make = output_maker((3, 5), np.dtype(np.float32), OutputMemory())
    inside: list[arrays.Array] = []
    real = np.zeros

    def zeros(size: int, dtype: type[np.uint8]) -> arrays.Array:
        monkeypatch.setattr(np, "zeros", real)
        inside.append(make()[0])
        return real(size, dtype)

    monkeypatch.setattr(np, "zeros", zeros)
    made = [make()[0] for _ in range(3 * arrays.SLOTS)] + inside
    for number, array in enumerate(made):
        array[...] = number
    assert [float(array.max()) for array in made] == list(range(len(made)))


def test_arrays_without_elements_may_have_large_extents() -> None:
    make = output_maker((0, 1 << 40, 1 << 20), np.dtype(np.uint8), OutputMemory())
    assert make()[0].shape == make()[0].shape == (0, 1 << 40, 1 << 20)
    with pytest.raises(ExecutionError, match="beyond any array"):
        output_maker((0, 1 << 40, 1 << 23), np.dtype(np.uint8), OutputMemory())


def test_arrays_may_have_as_many_axes_as_those_of_numpy() -> None:
    most = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32
    make = output_maker((1,) * most, np.dtype(np.float32), OutputMemory())
    assert make()[0].ndim == most
