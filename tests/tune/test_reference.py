"""What candidates are compared with: all of a small output, places of a large one, and the same numbers either way."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import drawn, given
from tensorwright.graph.graph import apply
from tensorwright.graph.region import region_of
from tensorwright.ops.convolution import Convolution
from tensorwright.tune import reference
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import Expected, expected_output


def test_places_of_large_outputs_are_as_the_whole(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    x, weights = given("x", 1, 16, 12, 12), drawn(rng, 24, 16, 3, 3)
    region = region_of([apply(Convolution((1, 1), (1, 1), (1, 1), (1, 1)), x, weights)])
    arrays = random_inputs(region, {}, rng)

    def expected() -> Expected:
        found = expected_output(region, arrays, {}, rng, 512)
        assert found is not None
        return found

    whole = expected()
    assert whole.places is None
    monkeypatch.setattr(reference, "QUICK_FLOPS", 0)
    some = expected()
    assert some.values.shape == (512,)
    np.testing.assert_allclose(some.values, whole.values[some.places], rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(reference, "MOST_STEPS", 512 * 16 * 9 - 1)
    assert expected().places is None, "where sums are too long for so many places, all are computed"
