"""Arrays into layouts and back, whole or at some places."""

from __future__ import annotations

import numpy as np
import pytest

from tensorwright.tensor.arrange import from_layout, to_layout
from tensorwright.tensor.layout import PLAIN, Layout


@pytest.mark.parametrize("layout", [PLAIN, Layout(4), Layout(8)], ids=str)
@pytest.mark.parametrize("shape", [(2, 8, 3), (2, 11, 3, 2), (1, 3, 1)])
def test_what_was_put_into_a_layout_comes_back(
    rng: np.random.Generator, layout: Layout, shape: tuple[int, ...]
) -> None:
    array = rng.standard_normal(shape)
    memory = to_layout(array, layout).reshape(-1)
    np.testing.assert_array_equal(from_layout(memory, layout, shape), array)
    places = tuple(rng.integers(0, extent, 20) for extent in shape)
    np.testing.assert_array_equal(from_layout(memory, layout, shape, places), array[places])


def test_of_a_number_there_is_one_place(rng: np.random.Generator) -> None:
    number = rng.standard_normal(())
    np.testing.assert_array_equal(from_layout(np.asarray(number), PLAIN, (), ()), [number])
