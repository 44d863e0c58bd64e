"""The forms of what comes to a stage in later calls."""

from __future__ import annotations

import pytest

import tensorwright as tw
from tensorwright.staged.forms import foreseen
from tensorwright.tensor.dim import bounds, tuning_value
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType


@pytest.mark.parametrize(("extent", "tuned"), [(0, 1), (1, 1), (5, 8), (8, 8), (300, 500), (500, 500)])
def test_extents_that_follow_from_data_are_tuned_for_powers_of_two(extent: int, tuned: int) -> None:
    type = TensorType(FLOAT32, (tw.symbol("found", 0, 1, 500), 4))
    made = foreseen({"boxes": type}, {"boxes": TensorType(FLOAT32, (extent, 4))})["boxes"]
    assert isinstance(made, TensorType)
    assert (tuning_value(made.shape[0]), bounds(made.shape[0]), made.shape[1]) == (tuned, (0, 500), 4)


def test_extents_of_inputs_are_tuned_for_what_is_there() -> None:
    type = TensorType(FLOAT32, (tw.symbol("height", 1, 224, 512), 3))
    made = foreseen({"map": type}, {"map": TensorType(FLOAT32, (300, 3))})["map"]
    assert isinstance(made, TensorType)
    assert tuning_value(made.shape[0]) == 300
