"""What is not finite reaches the outputs that are defined by it, and with `strict_nans` no others."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from regions.convolutions import Window
from regions.products import Product
from targets import SINGLE
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.kernels.cpu.catalogue import tactics
from tensorwright.kernels.tactic import Config, Offer, offers
from tensorwright.tune.cpu.kernel_runner import run_kernel
from tensorwright.tune.estimate import Roofline
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import whole_output
from tensorwright.tune.search import Limits, Search

TARGET = TARGETS[SINGLE[0]]
CATALOGUE = offers(tactics(), TARGET)
ODD = (np.inf, -np.inf, np.nan, 3e38)


def convolution(rng, odd, channels=9):
    region = Window((1, channels, 13, 13), 2 * channels, (3, 3), begin=(1, 1), tail="bias relu").region(rng)
    arrays = random_inputs(region, {}, rng)
    arrays[0][0, 4, 6, 7] = odd
    return region, arrays, whole_output(region, arrays, {}).values


def product(rng, odd):
    region = Product((250, 200), (200, 300), constant=True, tail="columns").region(rng)
    arrays = random_inputs(region, {}, rng)
    arrays[0][100, 50] = odd
    return region, arrays, whole_output(region, arrays, {}).values


def representatives(offer: Offer, region) -> list[Config]:
    """One config for each assignment of layouts."""
    by_layouts = groupby(offer.configs(region), key=lambda config: (config.inputs, config.output))
    return [next(group) for _, group in by_layouts]


def disturbed(actual, expected):
    """Where a result is wrong; numbers beyond float32 are infinite."""
    with np.errstate(over="ignore"):
        rounded = expected.astype(np.float32)
    same = np.isclose(actual, rounded, rtol=1e-4, atol=1e-4, equal_nan=True)
    return np.count_nonzero(~same)


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("network", [convolution, product])
def test_tactics_that_do_not_spread_keep_what_is_not_finite_where_it_belongs(rng, network, odd):
    region, arrays, expected = network(rng, odd)
    with np.errstate(invalid="ignore", over="ignore"):
        found = {
            (offer.name, repr(config)): disturbed(
                run_kernel(region, offer.emit(region, config), TARGET, arrays), expected
            )
            for offer in CATALOGUE
            if not offer.spreads and not offer.joins
            for config in representatives(offer, region)
        }
    assert len(found) >= 2
    assert not any(found.values()), found


def test_winograd_spreads_an_infinity_over_its_tile(rng):
    region, arrays, expected = convolution(rng, np.inf, channels=32)
    (offer,) = (offer for offer in CATALOGUE if offer.name == "winograd convolution")
    kernel = offer.emit(region, offer.configs(region)[0])
    assert disturbed(run_kernel(region, kernel, TARGET, arrays), expected) > 0


def test_strict_nans_leave_out_what_spreads(rng):
    limits = Limits(None, 1, strict_nans=True)
    assert {offer.name for offer in CATALOGUE if not limits.admit(offer)} == {"winograd convolution", "matmul_strassen"}
    region, _, _ = convolution(rng, np.inf, channels=32)
    found = Search(CATALOGUE, Roofline(1e11, 1e10, 1e-7), limits).one(region)
    assert "winograd convolution" not in {candidate.trial.tactic for candidate in found.candidates}
